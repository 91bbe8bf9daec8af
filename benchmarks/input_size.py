"""What smaller images cost in accuracy and gain in time: the VGG16 study at several sizes, beside the tutorial's head.

    python benchmarks/input_size.py --data brain-tumor-mri.zip [--sizes 64 112 160 224] [--sample 1600]
        [--freeze block5] [--epochs 8] [--tutorial 224] [--tutorial-epochs 12]

Each size is a whole study in a process of its own, from the zip to the report, with nothing cached: `tumor` with VGG16
as its only contender. All split alike, since the split does not depend on the size; differences to the largest size are
paired. ``--tutorial`` adds the head and settings of the tutorial (all convolutions frozen, Flatten, Dense 256 ReLU,
Dropout 0.5, Adam at 0.001, no augmentation, images stretched) at that size: the accuracy that `keras_tutorial.py`'s
Keras side would reach on this split, trained here because every one of its epochs takes minutes there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch

from clearmargin.environment import describe_environment
from clearmargin.evaluation.class_means import balanced_accuracy_figure, balanced_difference
from clearmargin.files import read_table
from clearmargin.models.weights import load_pretrained
from clearmargin.pixels import cache_folder
from clearmargin.recipe import Recipe, dump_recipe, load_recipe
from clearmargin.weight_places import ENVIRONMENT_VARIABLE
from interleaved import busy_processors
from keras_tutorial import draw_sample

TUTORIAL = """
[[contender]]
name = "VGG16"
architecture = "vgg16"
weights = "imagenet"
freeze_through = "block5"
head = [{{ flatten = true }}, {{ dense = 256, activation = "relu" }}, {{ dropout = 0.5 }}]
[data]
source = "brain-tumor-mri"
size_px = {size_px}
fit = "stretch"
color = "rgb"
[split]
fractions = [0.8, 0.1, 0.1]
[training]
epochs = {epochs}
optimizer = "adam"
learning_rate = 1e-3
schedule = "constant"
"""


@dataclass(frozen=True)
class Study:
    """Seconds from the zip to the report, and which test images were answered rightly: a row each, by name.

    Attributes
    ----------
    best_epoch
        The one that validation chose, from 1.
    """

    name: str
    seconds: float
    best_epoch: int
    test: pd.DataFrame


def shipped(size_px: int, freeze: str, epochs: int) -> Recipe:
    """`tumor` with VGG16 as the only contender, at this size."""
    changes = [
        f"data.size_px={size_px}",
        f"contender.VGG16.freeze_through={freeze}",
        f"contender.VGG16.training.epochs={epochs}",
    ]
    recipe = load_recipe("tumor", changes)
    only = [contender for contender in recipe.contender if contender.name == "VGG16"]
    return recipe.model_copy(update={"contender": only})


def run(name: str, page: Path, data: Path, weights: Path) -> Study:
    """A whole study in a process of its own, with an empty cache."""
    command = shutil.which("clearmargin", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit(f"There is no clearmargin command beside {sys.executable}: install the package there first.")
    with tempfile.TemporaryDirectory(prefix="clearmargin-benchmark-") as folder:
        out = Path(folder) / "run"
        variables = os.environ | {"CLEARMARGIN_CACHE": f"{folder}/cache", ENVIRONMENT_VARIABLE: str(weights)}
        words = [command, "run", str(page), "--data", str(data), "--out", str(out)]
        start = time.perf_counter()
        subprocess.run(words, env=variables, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        (table,) = (out / "contenders").glob("*/predictions.csv")
        predictions = read_table(table, text=("part", "name", "label", "group", "predicted"))
        training = json.loads(table.with_name("model.json").read_text(encoding="utf-8"))["training"]
    test = predictions[predictions["part"] == "test"].sort_values("name", ignore_index=True)
    return Study(name, seconds, training["best_epoch"], test)


def report(studies: list[Study], largest: Study) -> None:
    test = largest.test
    truth, units = (np.unique(test[column], return_inverse=True)[1] for column in ("label", "group"))
    clustered = len(np.unique(units)) < len(units)
    print(f"\n{len(test)} test images, {len(np.unique(units))} groups")
    print("| study | seconds, zip to report | best epoch | balanced accuracy, test part | minus the largest size's |")
    print("|---|---|---|---|---|")
    for study in studies:
        if not study.test["name"].equals(test["name"]):
            raise SystemExit(f"{study.name} tested other images than {largest.name}: nothing can be paired.")
        right, best = (one["predicted"].eq(one["label"]).to_numpy(float) for one in (study.test, test))
        own = balanced_accuracy_figure(right, truth, units, 0.95, clustered)
        words = "" if study is largest else _paired(right - best, truth, units, clustered)
        print(f"| {study.name} | {study.seconds:.0f} | {study.best_epoch} | {_figure(own)} | {words} |")


def _paired(apart: np.ndarray, truth: np.ndarray, units: np.ndarray, clustered: bool) -> str:
    figure, p = balanced_difference(apart, truth, units, 0.95, clustered)
    return f"{_figure(figure)}, p = {p:.3g}"


def _figure(figure: dict[str, object]) -> str:
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a zip of class folders")
    parser.add_argument("--weights", default="imagenet", help="imagenet (default) or a file of VGG16's weights")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112, 160, 224])
    parser.add_argument("--sample", type=int, help="a data set of so many images, drawn with a fixed seed")
    parser.add_argument("--freeze", default="block5", help="VGG16's last frozen block; block4 fine-tunes the fifth")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tutorial", type=int, help="the tutorial's head and settings as well, at this size")
    parser.add_argument("--tutorial-epochs", type=int, default=12, help="the best is kept, by validation")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    machine = describe_environment()
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['platform']}, torch {machine['torch']}")
    print(f"Load before (0 is idle): {busy_processors():.1f}")
    with tempfile.TemporaryDirectory(prefix="clearmargin-benchmark-") as name:
        work = Path(name)
        trunk, page = work / "vgg16.safetensors", work / "study.toml"
        safetensors.torch.save_file(load_pretrained(options.weights, cache=cache_folder()).tensors, trunk)
        data = draw_sample(options.data, options.sample, work) if options.sample else options.data.resolve()
        studies = []
        for size_px in sorted(options.sizes):
            page.write_text(dump_recipe(shipped(size_px, options.freeze, options.epochs)), encoding="utf-8")
            studies.append(run(f"{size_px} px", page, data, trunk))
        largest = studies[-1]
        if options.tutorial:
            page.write_text(TUTORIAL.format(size_px=options.tutorial, epochs=options.tutorial_epochs), encoding="utf-8")
            studies.append(run(f"the tutorial's head, {options.tutorial} px", page, data, trunk))
        report(studies, largest)


if __name__ == "__main__":
    main()
