"""Times one epoch of the tutorial's MNIST and CIFAR-10 networks: Keras, two plain PyTorch loops, and this project.

    python benchmarks/small_networks.py --mnist mnist/ --cifar10 cifar10-images.zip [--images 20000] [--rounds 3]

Every side is a process of its own that trains on the same images with the same network, optimiser and batch size
(128), warms up on 20 batches, and then times one epoch; the sides take turns, A B C D A B C D …, so that a ratio is
between neighbours in time. What each then says of 2,000 test images is its accuracy. Keras gets an environment of its
own, made when missing (1.7 GB).

- ``clearmargin``: `train_epoch` on the pixel store, as a study runs it (precision "auto").
- ``PyTorch, image by image``: float32, NCHW, a Dataset that decodes one file of an image folder after the other into a
  tensor, DataLoader; of MNIST, which comes as one array, one image of it after the other.
- ``PyTorch, tensors``: the same loop on float tensors that are ready in memory: what is left when nothing is decoded.
- ``Keras``: `model.fit` on float arrays in memory, TensorFlow on the processor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from clearmargin.pixels import open_pixels
from clearmargin.recipe import load_recipe
from clearmargin.sources import open_source
from interleaved import Side, busy_processors, markdown, take_turns
from limits import describe, measure_limits
from peers import KERAS, environment

HERE = Path(__file__).parent
OURS = "clearmargin"
TESTED = 2000


def write_arrays(recipe: str, data: Path, images: int, folder: Path) -> Path:
    """Some training and test images and their class numbers as an NPZ, and the training images as files beside it.

    uint8 of shape (images, height, width, channels); JPEG files by class and number where the images have colours.
    """
    source = open_source(data)
    pixels = open_pixels(source, load_recipe(recipe).data.preprocessing)
    classes = sorted({sample.label for sample in pixels.samples})
    arrays = {}
    for part, count in (("train", images), ("test", TESTED)):
        rows = [row for row, sample in enumerate(pixels.samples) if (sample.part == "test") == (part == "test")]
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:count])
        arrays[part] = pixels.rows.read(rows)
        arrays[f"{part}_labels"] = np.array([classes.index(pixels.samples[row].label) for row in rows])
    path = folder / f"{recipe}.npz"
    np.savez(path, **arrays)
    if arrays["train"].shape[-1] == 3:
        for number, (image, label) in enumerate(zip(arrays["train"], arrays["train_labels"], strict=True)):
            place = folder / recipe / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number:06d}.jpg", quality=95)
    return path


def main() -> None:
    """Measure and print a table for each network."""
    options = _arguments()
    ours, keras = sys.executable, environment(KERAS, options.env)
    plain = str(HERE / "small_networks_torch.py")
    sides = {
        OURS: (ours, plain, "ours"),
        "PyTorch, image by image": (ours, plain, "by-image"),
        "PyTorch, tensors": (ours, plain, "tensors"),
        "Keras": (str(keras), str(HERE / "small_networks_keras.py"), "keras"),
    }
    print(f"{busy_processors():.1f} processors busy with other work (0 is idle)")
    limits = measure_limits()
    with tempfile.TemporaryDirectory() as folder:
        for recipe, data in (("mnist-tutorial", options.mnist), ("cifar10", options.cifar10)):
            if data is None:
                continue
            arrays = write_arrays(recipe, data, options.images, Path(folder))
            turns = take_turns(
                [
                    Side(name, [python, script, recipe, str(arrays), mode])
                    for name, (python, script, mode) in sides.items()
                ],
                options.rounds,
            )
            print(f"\n{describe(limits)}")
            print(f"{recipe}: {options.images:,} images, batches of 128, {options.rounds} rounds\n")
            print(markdown(turns, OURS, limits, passes=3), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", type=Path, help="folder with the IDX files")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10 in any layout that is read")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--env", type=Path, help="Keras's environment; in the temporary folder by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
