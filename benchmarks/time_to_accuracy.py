"""How much sooner a fast recipe is as good as the tutorial's network in Keras: seconds of training.

    python benchmarks/time_to_accuracy.py mnist-fast --data mnist/ --target 0.99 --epochs 12
    python benchmarks/time_to_accuracy.py cifar10-fast --data cifar10-images.zip --target 0.776 --epochs 10

Ours is `clearmargin run RECIPE`, whose settings were chosen on validation images: it trains to its end, and is asked
about the test images once. Keras learns from the same training images with the tutorial's network and is asked about
the test images after every epoch, until it reaches the target or has had all its epochs; where it does not reach it,
the ratio is a lower bound. Counted are the seconds of learning, of ours with a look at the validation images after each
epoch; not imports, tracing, decoding, and what follows. Keras gets an environment of its own, made when missing (1.7
GB).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import clearmargin as cm
from clearmargin.files import read_table
from clearmargin.pixels import open_pixels
from clearmargin.recipe import load_recipe
from clearmargin.runs import Run
from clearmargin.sources import open_source
from interleaved import Side, busy_processors, one_turn
from limits import describe, measure_limits
from peers import KERAS, environment

TUTORIALS = {"mnist-fast": "mnist-tutorial", "cifar10-fast": "cifar10"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(TUTORIALS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", type=float, required=True, help="accuracy on the test images, 0 to 1")
    parser.add_argument("--epochs", type=int, default=12, help="that Keras has at most")
    asked = parser.parse_args()
    keras = environment(KERAS)
    print(f"{busy_processors():.1f} processors busy with other work (0 is idle)")
    print(describe(measure_limits()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        run = cm.run(asked.recipe, data=asked.data, out=folder / "run")
        whole = time.perf_counter() - started
        arrays = write_arrays(run, asked.recipe, asked.data, folder / "arrays.npz")
        script = str(Path(__file__).with_name("small_networks_keras.py"))
        words = [TUTORIALS[asked.recipe], str(arrays), str(asked.target), str(asked.epochs)]
        theirs = one_turn(Side("Keras", [str(keras), script, *words])).facts
    report(run, whole, theirs, asked.target)


def write_arrays(run: Run, recipe: str, data: Path, path: Path) -> Path:
    """The training and test images of a run as an NPZ: uint8 (images, height, width, channels), and class numbers."""
    pixels = open_pixels(open_source(data), load_recipe(recipe).data.preprocessing)
    rows = {sample.name: row for row, sample in enumerate(pixels.samples)}
    arrays: dict[str, np.ndarray] = {}
    split = read_table(run.folder / "split.csv", text=("name", "label", "group", "part"))
    classes = sorted(split["label"].unique())
    for part in ("train", "test"):
        own = split[split["part"] == part]
        arrays[part] = pixels.rows.read(np.array([rows[name] for name in own["name"]]))
        arrays[f"{part}_labels"] = np.array([classes.index(label) for label in own["label"]])
    np.savez(path, **arrays)
    return path


def report(run: Run, whole: float, theirs: dict[str, Any], target: float) -> None:
    (name,) = run.contenders
    training = run.contenders[name].description["training"]
    reached = run.evaluation["contenders"][name]["metrics"]["accuracy"]
    seconds = float(training["seconds"])
    print(
        f"\nclearmargin: {training['epochs_run']} epochs, {seconds:.1f} s of training; the whole command {whole:.0f} s"
    )
    print(f"  test accuracy {reached['value']:.4f} ({reached['low']:.4f} to {reached['high']:.4f})")
    epochs = theirs["accuracies"]
    print(f"Keras: {len(epochs)} epochs, {theirs['seconds']:.1f} s of training; test accuracy after each:")
    print("  " + ", ".join(f"{accuracy:.4f}" for accuracy in epochs))
    if reached["value"] < target:
        print(f"clearmargin did not reach {target}: no ratio")
        return
    there = epochs[-1] >= target
    print(f"ratio {theirs['seconds'] / seconds:.1f}" + ("" if there else ", and Keras is not there yet: a lower bound"))


if __name__ == "__main__":
    main()
