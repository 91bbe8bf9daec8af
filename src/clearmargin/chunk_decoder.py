"""Reads chunks of images from standard input and writes them decoded: run as a program, see `chunk_processes`.

Before it is told where to find them it imports nothing but Python's own modules.
"""

import os
import pickle
import sys

READY = b"\0clearmargin decodes\0"  # what is written before it, by whatever Python runs at its start, is no answer


def main() -> None:
    """Until the input ends."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nor is what a library prints
        sys.path[:], truncated = pickle.load(sys.stdin.buffer)
        from PIL import ImageFile

        from clearmargin.chunk_decoding import decode_chunk

        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        answers.write(READY)
        answers.flush()
        while True:
            try:
                asked = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(decode_chunk(*asked), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


if __name__ == "__main__":
    main()
