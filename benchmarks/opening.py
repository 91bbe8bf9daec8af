"""Opening a zip of many small images for the first time, and again, beside a loop with Pillow that only decodes.

    python benchmarks/opening.py --data cifar10-images.zip [--rounds 3] [--recipe cifar10-fast]

The first time images are decoded, measured and stored, in the temporary folder; the loop keeps them in memory. Both
sides take turns in one process, who begins changing, after the zip was read once and what was written has reached the
disk. They are opened again in a process of its own, timed once modules are imported.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from clearmargin.pixels import open_pixels
from clearmargin.recipe import load_recipe
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from interleaved import busy_processors, spread

SUFFIXES = (".jpg", ".jpeg", ".png")


def pillow(archive: Path, how: Preprocessing) -> float:
    """Seconds of the loop a person would write, for images in colours."""
    began = time.perf_counter()
    with zipfile.ZipFile(archive) as files:
        names = [name for name in files.namelist() if name.lower().endswith(SUFFIXES)]
        images = np.empty((len(names), how.size_px, how.size_px, 3), np.uint8)
        for place, name in enumerate(names):
            with Image.open(io.BytesIO(files.read(name))) as image:
                images[place] = np.asarray(image.convert("RGB"))
    return time.perf_counter() - began


def ours(archive: Path, how: Preprocessing) -> tuple[float, float, float]:
    """Seconds: the first time; again, in a process of its own; and of these the listing."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CLEARMARGIN_CACHE"] = cache
        began = time.perf_counter()
        open_pixels(open_source(archive), how)
        first = time.perf_counter() - began
        os.sync()
        again = [sys.executable, __file__, "--data", str(archive), "--again", json.dumps(how.as_json())]
        listed, opened = json.loads(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
        return first, listed + opened, listed


def once_more(archive: Path, how: Preprocessing) -> None:
    """Print the seconds to list and to open what is in the cache, with modules imported before."""
    gc.set_threshold(100_000, 20, 20)  # as the command does
    began = time.perf_counter()
    source = open_source(archive)
    listed = time.perf_counter()
    open_pixels(source, how)
    print(json.dumps([listed - began, time.perf_counter() - listed]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a zip of images that have the recipe's size")
    parser.add_argument("--recipe", default="cifar10-fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.again is not None:
        once_more(asked.data, Preprocessing(**asked.again))
        return
    how = load_recipe(asked.recipe).data.preprocessing
    print(f"{busy_processors():.2f} processors busy with other work before the start")
    asked.data.read_bytes()
    turns = []
    for number in range(asked.rounds):
        if number % 2:
            opened = ours(asked.data, how)
            os.sync()
            turns.append((pillow(asked.data, how), *opened))
        else:
            turns.append((pillow(asked.data, how), *ours(asked.data, how)))
        os.sync()
    loop, first, again, listing = map(list, zip(*turns, strict=True))
    print(f"the loop with Pillow:  {spread(loop, '.2f')} s")
    print(f"the first time:        {spread(first, '.2f')} s")
    print(f"again:                 {spread(again, '.2f')} s, of them {spread(listing, '.2f')} listing the archive")
    ratios = [one / other for one, other in zip(loop, first, strict=True)]
    print(f"the first time is {spread(ratios, '.2f')} times as fast as the loop")


if __name__ == "__main__":
    main()
