"""Foreign images at the gate of a finished run: MNIST digits, CIFAR-10 objects, blank images, noise.

Everything goes through the run's own preprocessing, as files would. Printed for each contender: how many are called
unlike what it was trained on, with Wilson's 95 % interval, beside the false alarms on the run's own test part.

    CLEARMARGIN_DATA=data python benchmarks/gate.py runs/tumor --images 500
"""

from __future__ import annotations

import argparse
import gzip
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clearmargin.evaluation.gate import made_images, read_distances
from clearmargin.evaluation.intervals import wilson
from clearmargin.runs import open_run
from clearmargin.trained import TrainedContender

Images = list[bytes | np.ndarray]


def digits(data: Path, rng: np.random.Generator, images: int) -> Images:
    """MNIST's test images, drawn at random: uint8 (28, 28)."""
    with gzip.open(data / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], dtype=np.uint8).reshape(-1, 28, 28)
    return list(pixels[rng.permutation(len(pixels))[:images]])


def objects(data: Path, rng: np.random.Generator, images: int) -> Images:
    """CIFAR-10's test images, drawn at random: JPEG files."""
    with zipfile.ZipFile(data / "cifar10-images.zip") as archive:
        names = sorted(name for name in archive.namelist() if "test/" in name and name.endswith((".jpg", ".jpeg")))
        return [archive.read(names[place]) for place in rng.permutation(len(names))[:images]]


def foreign(contender: TrainedContender, data: Path, images: int) -> Iterator[tuple[str, np.ndarray]]:
    """Prepared images of each kind, uint8 (images, size_px, size_px, channels)."""
    rng = np.random.default_rng(0)
    for name, listed in (("MNIST digits", digits(data, rng, images)), ("CIFAR-10 objects", objects(data, rng, images))):
        yield name, np.stack([contender.prepare(image, name) for image in listed])
    yield from made_images(contender.preprocessing.shape, each=min(images, 256)).items()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of images")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CLEARMARGIN_DATA", "data")))
    parser.add_argument("--images", type=int, default=500, help="of each kind (at most 256 blank ones and noise)")
    asked = parser.parse_args()
    print("| contender | images | called unlike | share | 95 % |\n|---|---|---|---|---|")
    for contender in open_run(asked.run).contenders.values():
        if contender.decision is None or contender.decision.gate is None:
            print(f"| {contender.name} | has no gate | | | |")
            continue
        gate, test = contender.decision.gate, read_distances(contender.folder / "gate.csv")["test"]
        row(contender.name, "its own test part (false alarms)", gate.unlike(test))
        for kind, pixels in foreign(contender, asked.data, asked.images):
            row(contender.name, kind, gate.unlike(contender.judged(list(pixels))[1]))


def row(contender: str, kind: str, unlike: np.ndarray) -> None:
    """One line of the table."""
    found, n = int(unlike.sum()), len(unlike)
    low, high = wilson(found, n)
    print(f"| {contender} | {kind} | {found} of {n} | {found / n:.3f} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
