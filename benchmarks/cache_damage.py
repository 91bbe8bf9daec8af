"""Whether damage to the cache is noticed and made good, and what looking for it costs.

Bits are flipped, one at a time and by lot, in the stores of decoded images and of frozen layers' activations, and in
what a zip is known to hold; then everything is opened and read as a study does. What is read must be what was written,
and what is damaged must be told of, except where nothing depends on it. Sound stores must not be called damaged.

    python benchmarks/cache_damage.py [--flips 200] [--seed 0] [--images 60000]
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from clearmargin.mapped_rows import ArrayRows, MappedRows
from clearmargin.pixel_store import CHECKSUMS, FACTS, MINIATURES, PIXELS
from clearmargin.pixels import open_pixels
from clearmargin.records import Preprocessing, Rows, Sample
from clearmargin.sources import open_source
from clearmargin.training.trunk import TrunkCache

FEW = 24  # images of the stores that are damaged
HOW = Preprocessing(32)
ROUNDS = 5


class Noise:
    """A source of seeded images of 32 pixels."""

    kind, findings, simulated = "npz", (), False

    def __init__(self, images: int) -> None:
        self.samples = tuple(Sample(f"{number:06d}", "noise") for number in range(images))

    def fingerprint(self) -> str:
        return f"noise {len(self.samples)}"

    def state(self) -> str:
        return ""

    def read(self) -> Iterator[np.ndarray]:
        lots = np.random.default_rng(0)
        for _ in self.samples:
            yield lots.integers(0, 256, (32, 32, 3), dtype=np.uint8)


class Told(logging.Handler):
    """Counts what was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "damaged" in record.getMessage()


def main() -> None:
    """Try, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=60_000)
    asked = parser.parse_args()
    told, logger = Told(), logging.getLogger("clearmargin")
    logger.addHandler(told)
    logger.propagate = False
    with tempfile.TemporaryDirectory() as place:
        cache, lots = Path(place), random.Random(asked.seed)
        read_pixels(cache)
        (store,) = (cache / "pixels").iterdir()
        for name in (PIXELS, MINIATURES, FACTS, CHECKSUMS):
            damage(f"{name} of decoded images", store / name, lambda: read_pixels(cache), asked.flips, lots, told)
        read_activations(cache)
        (store,) = (cache / "trunk").iterdir()
        for name in ("activations.bin", "checksums.bin"):  # computed again without a word: it takes no time to speak of
            damage(f"{name} of frozen layers", store / name, lambda: read_activations(cache), asked.flips, lots, None)
        archive = zipped(cache / "images.zip")
        os.environ["CLEARMARGIN_CACHE"] = place
        open_source(archive)
        (listing,) = (cache / "listings").iterdir()
        damage("listing of a zip", listing, lambda: read_listing(archive), asked.flips, lots, None)
        costs(cache, asked.images)


def damage(
    what: str, path: Path, read: Callable[[], bytes], flips: int, lots: random.Random, told: Told | None
) -> None:
    """Flip one bit at a time, read, and print how often what is read was right and the damage told of."""
    sound, right, noticed = read(), 0, 0
    for _ in range(flips):
        content = bytearray(path.read_bytes())
        content[lots.randrange(len(content))] ^= 1 << lots.randrange(8)
        path.write_bytes(content)
        before = told.count if told is not None else 0
        right += read() == sound
        noticed += told is not None and told.count > before
    before = told.count if told is not None else 0
    false = sum(read() != sound for _ in range(flips // 10)) + (told.count - before if told is not None else 0)
    said = f", {noticed} told of" if told is not None else ""
    print(f"{what}: {flips} bits flipped, {right} read as written{said}; false alarms {false}", flush=True)


def read_pixels(cache: Path) -> bytes:
    """Everything in the store of a few images, opened anew."""
    inputs = open_pixels(Noise(FEW), HOW, cache=cache)
    assert inputs.miniatures is not None
    rows = np.arange(FEW)
    return inputs.rows.read(rows).tobytes() + inputs.miniatures.read(rows).tobytes() + inputs.facts.to_json().encode()


def zipped(path: Path) -> Path:
    """A zip with so many files in two class folders that its listing is kept."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2_400):
            archive.writestr(f"{number % 2}/{number:06d}.png", b"")
    return path


def read_listing(archive: Path) -> bytes:
    """All that is known of a zip, opened anew."""
    source = open_source(archive)
    return repr((source.kind, source.samples, source.findings)).encode()


def read_activations(cache: Path) -> bytes:
    """Activations of a small frozen network for a few images, opened anew."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(8)).requires_grad_(False)
    images = ArrayRows(np.stack(list(Noise(FEW).read())))
    trunk = TrunkCache(cache, layers, images, "noise", (0.5,) * 3, (0.25,) * 3, torch.float32)
    trunk.compute(np.arange(FEW))
    return trunk.read(np.arange(FEW)).tobytes()


def costs(cache: Path, images: int) -> None:
    """Print what opening a large store takes, and reading it once and again, with and without comparing."""
    open_pixels(Noise(images), HOW, cache=cache)
    source, seconds = Noise(images), []
    for _ in range(ROUNDS):
        began = time.process_time()
        inputs = open_pixels(source, HOW, cache=cache)
        seconds.append(time.process_time() - began)
    print(f"opening {images:,} images: {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    bare = MappedRows(cache / "pixels" / inputs.key / PIXELS, inputs.rows.shape, np.uint8)
    order = np.random.default_rng(0).permutation(images)

    def epoch(rows: Rows) -> float:
        began = time.process_time()
        for start in range(0, images, 32):
            rows.read(order[start : start + 32])
        return time.process_time() - began

    epoch(bare)
    first = epoch(inputs.rows)
    pairs = [(epoch(bare), epoch(inputs.rows)) for _ in range(ROUNDS)]
    without, later = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"reading all of 32 px once: {without:.2f} s without comparing, {first:.2f} s the first time, "
        f"{later:.2f} s later"
    )


if __name__ == "__main__":
    main()
