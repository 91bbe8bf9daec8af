"""Reads chunks of images from standard input and writes them decoded: run as a program, see `chunk_processes`."""

import os
import pickle
import sys

from clearmargin.chunk_decoding import decode_chunk


def main() -> None:
    """Until the input ends."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
        while True:
            try:
                asked = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(decode_chunk(*asked), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


if __name__ == "__main__":
    main()
