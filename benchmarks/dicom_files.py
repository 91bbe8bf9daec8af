"""What damaged DICOM files do, and how long sound ones take; on the files that pydicom comes with, nothing is fetched.

python benchmarks/dicom_files.py [--mutations 20000] [--seed 0] [--rounds 200]
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import statistics
import time
from collections import Counter
from pathlib import Path

import pydicom

from clearmargin.dicom import decode_dicom, read_header
from clearmargin.errors import ImageError

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
MAX_PIXELS, LARGEST_BYTES = 50_000_000, 50_000
TIMED = {
    "CT, 128 x 128, not compressed": "CT_small.dcm",
    "CT, 512 x 512, JPEG 2000": "693_J2KI.dcm",
    "MR, 64 x 64, JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "RGB, 240 x 320, not compressed": "examples_rgb_color.dcm",
    "YCbCr, 240 x 320, JPEG, 30 frames": "examples_ybr_color.dcm",
}


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file with a few bytes changed, taken out or put in, or cut off; half of the changes are in its header."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place = chance.randrange(128, min(len(damaged), 2000) if chance.random() < 0.5 else len(damaged))
        match chance.randrange(8):
            case 0:
                del damaged[place : place + chance.randrange(1, 20)]
            case 1:
                damaged[place:place] = chance.randbytes(chance.randrange(1, 8))
            case 2 if chance.random() < 0.2:
                del damaged[place:]
            case 3:
                damaged[place : place + 4] = chance.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])
            case _:
                damaged[place] = chance.randrange(256)
        if len(damaged) < 200:
            break
    return bytes(damaged)


def measure_damage(mutations: int, seed: int) -> None:
    """Decode damaged files; what comes out, how often, and the longest time."""
    sound = [path.read_bytes() for path in sorted(BUNDLED.rglob("*.dcm")) if path.stat().st_size <= LARGEST_BYTES]
    outcomes: Counter[str] = Counter()
    longest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(mutations):
        chance = random.Random(seed * mutations + number)
        content = mutated(chance.choice(sound), chance)
        started = time.perf_counter()
        try:
            decode_dicom(content, MAX_PIXELS, "file")
            outcomes["pictures"] += 1
        except ImageError as error:
            outcomes["errors, the decoder broke down" if "breaks down" in str(error) else "errors"] += 1
        longest = max(longest, time.perf_counter() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{mutations:,} damaged files: " + ", ".join(f"{count:,} {what}" for what, count in outcomes.most_common()))
    print(f"longest {longest:.1f} s, memory grew by {grown:.0f} MB")


def measure_speed(rounds: int) -> None:
    """Median milliseconds of processor-bound wall time, of one thread."""
    for what, name in TIMED.items():
        content = (BUNDLED / name).read_bytes()
        whole, header = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            read_header(io.BytesIO(content))
            between = time.perf_counter()
            decode_dicom(content, MAX_PIXELS, "file")
            header.append(between - started)
            whole.append(time.perf_counter() - between)
        milliseconds = [1e3 * statistics.median(times) for times in (header, whole)]
        print(f"{what:36} header {milliseconds[0]:5.2f} ms, image {milliseconds[1]:6.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    measure_speed(asked.rounds)
    measure_damage(asked.mutations, asked.seed)


if __name__ == "__main__":
    main()
