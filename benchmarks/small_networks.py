"""Times one epoch of the tutorial's MNIST and CIFAR-10 networks: Keras, two plain PyTorch loops, and this project.

    python benchmarks/small_networks.py --mnist mnist/ --cifar10 cifar10-images.zip [--images 20000] [--rounds 3]

Every side is a process of its own that trains on the same images with the same network, optimiser and batch size
(128), warms up on 20 batches, and then times one epoch; the sides take turns, A B C D A B C D …, so that a ratio is
between neighbours in time. Keras gets an environment of its own, made when missing (1.7 GB).

- ``clearmargin``: `train_epoch` on the pixel store, as a study runs it (precision "auto").
- ``torch, image by image``: float32, NCHW, a Dataset that turns one image after the other into a tensor, DataLoader.
- ``torch, tensors``: the same loop on float tensors that are ready in memory: what is left when nothing is decoded.
- ``Keras``: `model.fit` on float arrays in memory, TensorFlow on the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from clearmargin.pixels import open_pixels
from clearmargin.recipe import load_recipe
from clearmargin.sources import open_source
from keras_tutorial import _load, _processor, make_environment

HERE = Path(__file__).parent
OURS, BY_IMAGE, TENSORS, KERAS = "clearmargin", "torch, image by image", "torch, tensors", "Keras"


def write_arrays(recipe: str, data: Path, images: int, folder: Path) -> Path:
    """The first so many training images as an NPZ: uint8 (images, height, width, channels), and class numbers."""
    source = open_source(data)
    pixels = open_pixels(source, load_recipe(recipe).data.preprocessing)
    rows = [row for row, sample in enumerate(pixels.samples) if sample.part != "test"]
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:images])
    classes = sorted({sample.label for sample in pixels.samples})
    labels = np.array([classes.index(pixels.samples[row].label) for row in rows])
    path = folder / f"{recipe}.npz"
    np.savez(path, images=pixels.rows.read(rows), labels=labels)
    return path


def measure(python: Path, script: str, network: str, arrays: Path, *options: str) -> float:
    """Images per second of one side."""
    command = [str(python), str(HERE / script), network, str(arrays), *options]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, env=quiet, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["images_per_second"])


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.2f} ({min(values):,.2f} to {max(values):,.2f})"


def main() -> None:
    """Measure and print a table for each network."""
    options = _arguments()
    keras = make_environment(options.env)
    ours = Path(sys.executable)
    sides = {
        OURS: (ours, "small_networks_torch.py", "ours"),
        BY_IMAGE: (ours, "small_networks_torch.py", "by-image"),
        TENSORS: (ours, "small_networks_torch.py", "tensors"),
        KERAS: (keras, "small_networks_keras.py", "keras"),
    }
    print(f"{_processor()}, {os.cpu_count()} threads; {_load():.1f} processors busy with other work (0 is idle)")
    with tempfile.TemporaryDirectory() as folder:
        for network, recipe, data in (
            ("mnist", "mnist-tutorial", options.mnist),
            ("cifar10", "cifar10", options.cifar10),
        ):
            if data is None:
                continue
            arrays = write_arrays(recipe, data, options.images, Path(folder))
            rates: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side, (python, script, mode) in sides.items():
                    rates[side].append(measure(python, script, network, arrays, mode))
            print(f"\n{network}: {options.images:,} images, batches of 128, {options.rounds} rounds")
            for side, values in rates.items():
                ratios = [mine / other for mine, other in zip(rates[OURS], values, strict=True)]
                told = "" if side == OURS else f"   clearmargin is {spread(ratios)} times as fast"
                print(f"  {side:22s} {spread(values):>34s} images/s{told}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", type=Path, help="folder with the IDX files")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10 in any layout that is read")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--env", type=Path, default=Path(tempfile.gettempdir()) / "clearmargin-keras-env")
    return parser.parse_args()


if __name__ == "__main__":
    main()
