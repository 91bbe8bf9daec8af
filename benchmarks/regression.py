"""Fails when a fast path has clearly lost its speed: ratios against the naive way, in one process and in turns.

    python benchmarks/regression.py

No data are needed, and no seconds are compared with other days' seconds: each ratio is between neighbours in time on
the same machine, and the least that passes is well below what is usual, so that a busy machine does not fail it.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clearmargin.pixels import open_pixels
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from small_networks_torch import BATCH, our_way, plain_way

ROUNDS = 5
IMAGES = 15 * BATCH
FILES = 3000


def main() -> None:
    """Measure every pair; exit with 1 when one is too slow."""
    random = np.random.default_rng(0)
    digits = {
        "train": random.integers(0, 256, (IMAGES, 28, 28, 1), dtype=np.uint8),
        "train_labels": random.integers(0, 10, IMAGES),
    }
    torch.manual_seed(0)
    our, plain = our_way("mnist-tutorial", digits), plain_way("mnist-tutorial", digits)
    with tempfile.TemporaryDirectory() as name:
        archive = _archive(Path(name) / "images.zip", random)
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object], float]] = {
            "training an epoch of the MNIST network / plain PyTorch on ready tensors": (
                our.epoch, plain.epoch, 1.1,
            ),
            "decoding, measuring and storing small JPEG files from a zip / a loop with Pillow that only decodes": (
                lambda: _decode(archive, Path(name)), lambda: _pillow(archive), 0.35,
            ),
        }  # fmt: skip
        failed = [what for what, (ours, naive, least) in pairs.items() if not _fast_enough(what, ours, naive, least)]
    sys.exit(1 if failed else 0)


def _fast_enough(what: str, ours: Callable[[], object], naive: Callable[[], object], least: float) -> bool:
    ours()
    naive()
    ratios = [_seconds(naive) / _seconds(ours) for _ in range(ROUNDS)]
    middle = statistics.median(ratios)
    print(f"{what}: {middle:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), at least {least} expected")
    return middle >= least


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _archive(path: Path, random: np.random.Generator) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FILES):
            content = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "JPEG")
            archive.writestr(f"{number % 2}/{number:05d}.jpg", content.getvalue())
    return path


def _decode(archive: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        open_pixels(open_source(str(archive)), Preprocessing(32), cache=Path(cache))


def _pillow(archive: Path) -> np.ndarray:
    """What a person would write: names, labels and pixels of every file, one after the other."""
    rows = []
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            with Image.open(io.BytesIO(files.read(name))) as image:
                rows.append(np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)))
    return np.stack(rows)


if __name__ == "__main__":
    main()
