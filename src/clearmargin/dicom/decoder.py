"""Reads coded frames from standard input and writes them decoded: run as a program, see `decoding_process`.

It imports nothing of this package, and ends when its input does, or when nothing has come for a while.
"""

import json
import logging
import os
import select
import struct
import sys
import warnings
from typing import IO, Any

REQUEST, ANSWER = struct.Struct("<LQ"), struct.Struct("<LQ")
READY = (
    b"\0clearmargin decodes frames\0"  # what is written before it, by whatever Python runs at its start, is no answer
)
MEMORY_BYTES, IDLE_SECONDS = 4 << 30, 30.0
_LIBRARIES = {  # by the end of the transfer syntax; pydicom's own for the others
    **dict.fromkeys(("4.50", "4.51"), ("pillow",)),
    **dict.fromkeys(("4.57", "4.70", "4.80", "4.81"), ("gdcm",)),
    **dict.fromkeys(("4.90", "4.91"), ("pillow", "gdcm")),  # the second for colours of more than 8 bits
}


def _limit() -> None:
    """No more memory than an image can take, and no image of a patient in a core dump."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    least = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (least, hard))


def _decoded(asked: dict[str, Any], frame: bytes) -> tuple[dict[str, Any], bytes]:
    """What it says of a frame and its stored values, little endian."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    syntax = asked.pop("transfer_syntax")
    compressed = asked.pop("compressed")
    source = encapsulate([frame]) if compressed else frame
    plugins = next((names for end, names in _LIBRARIES.items() if syntax.endswith(end)), ("",))
    for plugin in plugins:
        try:
            values, about = get_decoder(syntax).as_array(source, index=0, decoding_plugin=plugin, **asked)
            break
        except Exception:  # whatever a library raises on what it can't read: the next one may
            if plugin == plugins[-1]:
                raise
    photometric = str(about["photometric_interpretation"])
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return {"kind": values.dtype.str, "shape": values.shape, "photometric": photometric}, values.tobytes()


def _asked(requests: IO[bytes]) -> bool:
    """Wait for the next frame; whether it came in time, since a process takes 70 MB."""
    if sys.platform == "win32":  # where pipes can't be waited for so
        return True
    return bool(select.select([requests], [], [], IDLE_SECONDS)[0])


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    while _asked(requests) and len(head := requests.read(REQUEST.size)) == REQUEST.size:
        about, size = REQUEST.unpack(head)
        asked = json.loads(requests.read(about))
        frame = requests.read(size)
        said: dict[str, Any]
        try:
            said, values = _decoded(asked, frame)
        except Exception as error:  # whatever libraries raise on a damaged frame: this process is there for that
            reason = str(error).rpartition("\n")[2].strip()
            said, values = {"error": reason or type(error).__name__}, b""
        text = json.dumps(said).encode()
        answers.write(ANSWER.pack(len(text), len(values)) + text)
        answers.write(values)
        answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # they quote values of the file
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print must not do so between the answers
    _limit()
    import pydicom.encaps
    import pydicom.pixels.decoders  # noqa: F401  now, and not within the time of the first frame

    answers.write(READY)
    answers.flush()
    _serve(sys.stdin.buffer, answers)
