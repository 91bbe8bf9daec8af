"""How long the search for candidate pairs takes among many images, and which planted ones it finds.

    python benchmarks/near_copies_scale.py [--images 10000 100000 1000000]

Codes are random, as those of strangers are; a hundredth of them gets a copy in one of the eight orientations, each bit
of it flipped with a chance of 12 %. Each size runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from clearmargin.audit.candidates import BITS, INVERSE, ORIENTATIONS, candidate_pairs

FLIPPED = 0.12


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    asked = parser.parse_args()
    if len(asked.images) == 1:
        measure(asked.images[0])
        return
    for images in asked.images:
        subprocess.run([sys.executable, __file__, "--images", str(images)], check=True)


def measure(images: int) -> None:
    """Search once and print a line."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (ORIENTATIONS, images, BITS // 8), dtype=np.uint8)
    copies = images // 100
    turn = random.integers(ORIENTATIONS, size=copies)
    noise = np.packbits(random.random((copies, BITS)) < FLIPPED, axis=1)
    # original k, turned, looks like image `images - copies + k`; and the reverse
    codes[0, images - copies :] = codes[turn, np.arange(copies)] ^ noise
    codes[INVERSE[turn], np.arange(images - copies, images)] = codes[0, :copies] ^ noise
    start = time.perf_counter()
    pairs = candidate_pairs(codes)
    seconds = time.perf_counter() - start
    found = {tuple(pair) for pair in pairs[:, :2].tolist()}
    share = np.mean([(k, images - copies + k) in found for k in range(copies)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    others = len(pairs) - round(share * copies)
    print(f"{images:>10,} images   {seconds:7.1f} s   peak {peak:7,.0f} MB", end="   ")
    print(f"{share:6.1%} of {copies:,} planted pairs found   {others:,} other pairs", flush=True)


if __name__ == "__main__":
    main()
