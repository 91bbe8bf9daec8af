"""Times the whole tumour study against the tutorial way in Keras, on the same machine, in one call.

    python benchmarks/keras_tutorial.py --data brain-tumor-mri.zip [--sample 640] [--images 320] [--env FOLDER]
        [--contenders "plain CNN" VGG16] [--keras-size 224] [--keras-epochs 12]
        [--set data.size_px=112 --set contender.VGG16.training.epochs=6]

Measured: `clearmargin run tumor` with these contenders, from the zip to the report, nothing cached, and where its time
goes. Then Keras with VGG16 alone on the same split, images, weights and processor, in an environment of its own:
start, one epoch with its validation pass, prediction of the test part. Extrapolated: Keras's other epochs, and with
``--images`` its other images. What is extrapolated is printed as such. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch

from clearmargin.environment import describe_environment
from clearmargin.files import read_table
from clearmargin.models.weights import load_pretrained
from clearmargin.pixels import cache_folder
from clearmargin.recipe import dump_recipe, load_recipe
from clearmargin.records import PARTS
from clearmargin.weight_places import ENVIRONMENT_VARIABLE
from interleaved import busy_processors
from peers import KERAS, environment

CONTENDER = "VGG16"
PROGRESS = re.compile(r"(?P<doing>.+?) \d+/\d+")  # as the command says it when nobody looks on
START = "start, and listing the images"


@dataclass(frozen=True)
class Ours:
    """What our side took and reached, and the facts that Keras's side needs.

    Attributes
    ----------
    profile
        Seconds by what the command said it was doing.
    accuracies
        On the test part, by contender.
    """

    seconds: float
    profile: dict[str, float]
    load: float
    epochs: int
    size_px: int
    accuracies: dict[str, float]
    split: pd.DataFrame
    versions: str


def draw_sample(data: Path, images: int, folder: Path) -> Path:
    """A zip of so many images, drawn with a fixed seed: the data set of both sides."""
    sampled = folder / data.name
    with zipfile.ZipFile(data) as source, zipfile.ZipFile(sampled, "w") as target:
        names = sorted(name for name in source.namelist() if not name.endswith("/"))
        for name in sorted(random.Random(0).sample(names, min(images, len(names)))):
            target.writestr(name, source.read(name))
    return sampled


def run_ours(data: Path, weights: Path, changes: list[str], contenders: list[str], work: Path) -> Ours:
    """Run the study in a process of its own, with an empty cache, and read the run folder it leaves."""
    recipe = load_recipe("tumor", changes, data=str(data))
    chosen = [contender for contender in recipe.contender if contender.name in contenders]
    if len(chosen) < len(contenders):
        raise SystemExit(f"--contenders: expected of {[one.name for one in recipe.contender]}, got {contenders}.")
    page, out = work / "study.toml", work / "run"
    page.write_text(dump_recipe(recipe.model_copy(update={"contender": chosen})), encoding="utf-8")
    command = shutil.which("clearmargin", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit(f"There is no clearmargin command beside {sys.executable}: install the package there first.")
    variables = os.environ | {"CLEARMARGIN_CACHE": str(work / "cache"), ENVIRONMENT_VARIABLE: str(weights)}
    load, start = busy_processors(), time.perf_counter()
    profile = profiled([command, "run", str(page), "--data", str(data), "--out", str(out)], variables)
    seconds = time.perf_counter() - start
    models = [_json(path) for path in (out / "contenders").glob("*/model.json")]
    (model,) = (model for model in models if model["name"] == CONTENDER)
    facts, contenders_done = _json(out / "environment.json"), _json(out / "evaluation.json")["contenders"]
    return Ours(
        seconds=seconds,
        profile=profile,
        load=load,
        epochs=model["training"]["epochs_run"],
        size_px=model["preprocessing"]["size_px"],
        accuracies={name: contenders_done[name]["metrics"]["accuracy"]["value"] for name in contenders},
        split=read_table(out / "split.csv", text=("name", "label", "group", "part")),
        versions=f"clearmargin {facts['clearmargin']}, torch {facts['torch']}, Python {facts['python']}",
    )


def profiled(words: list[str], variables: dict[str, str]) -> dict[str, float]:
    """Run a command; seconds from each thing it says it does to the next, added up by their names."""
    seconds: dict[str, float] = {}
    doing, since = START, time.perf_counter()
    with subprocess.Popen(words, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said = PROGRESS.match(line)
            if said is not None and said["doing"] != doing:
                now = time.perf_counter()
                seconds[doing] = seconds.get(doing, 0.0) + now - since
                doing, since = said["doing"], now
    seconds[doing] = seconds.get(doing, 0.0) + time.perf_counter() - since
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with status {process.returncode}.")
    return seconds


def lay_out(data: Path, split: pd.DataFrame, images: int | None, folder: Path) -> dict[str, tuple[int, int]]:
    """Write the images of each part into class folders, as Keras wants them; return (written, whole) by part."""
    numbers = {label: f"{number:03d}" for number, label in enumerate(sorted(split["label"].unique()))}
    counts: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(data) as archive:
        for part in PARTS:
            for number in numbers.values():
                (folder / part / number).mkdir(parents=True)
            rows = split.loc[split["part"] == part, ["name", "label"]].to_numpy().tolist()
            chosen = rows if images is None else random.Random(0).sample(rows, min(images, len(rows)))
            for place, (name, label) in enumerate(chosen):
                path = folder / part / numbers[label] / f"{place:06d}{Path(name).suffix.lower()}"
                path.write_bytes(archive.read(name))
            counts[part] = (len(chosen), len(rows))
    return counts


def run_keras(python: Path, images: Path, weights: Path, size_px: int, work: Path) -> dict[str, Any]:
    script, out = Path(__file__).with_name("keras_side.py"), work / "keras.json"
    options = ["--weights", str(weights), "--size", str(size_px), "--out", str(out)]
    variables = os.environ | {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": str(work / "keras")}
    load = busy_processors()
    subprocess.run([str(python), str(script), str(images), *options], env=variables, check=True)
    return _json(out) | {"load": load}


def keras_total(measured: dict[str, Any], counts: dict[str, tuple[int, int]], epochs: int) -> float:
    """Seconds of Keras's whole study: start, all epochs with validation, prediction of the test part."""
    whole = {part: measured["seconds"][part] * total / written for part, (written, total) in counts.items()}
    return measured["start_seconds"] + epochs * (whole["train"] + whole["validation"]) + whole["test"]


def report(ours: Ours, measured: dict[str, Any], counts: dict[str, tuple[int, int]], size_px: int, epochs: int) -> None:
    seconds, total = measured["seconds"], keras_total(measured, counts, epochs)
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    machine = describe_environment()
    print(f"\nProcessor: {machine['processor']}, {machine['cores']} cores, {machine['platform']}")
    print(f"Load before each side (0 is idle): {ours.load:.1f} and {measured['load']:.1f}")
    print(f"\n{ours.versions}; images of {ours.size_px} px")
    print(f"  measured      {ours.seconds:8.0f} s   whole study: decode, audit, split, train, evaluate, report")
    for name, accuracy in ours.accuracies.items():
        print(f"                {accuracy:8.1%}     of the test images right: {name}")
    for doing, spent in ours.profile.items():
        print(f"                {spent:8.1f} s   {doing}")
    print(f"\n{versions}; images of {size_px} px")
    print(f"  measured      {measured['start_seconds']:8.0f} s   import, build, trace")
    for part, word in (("train", "one epoch"), ("validation", "its validation"), ("test", "test prediction")):
        written, whole = counts[part]
        rate = written / seconds[part]
        print(f"  measured      {seconds[part]:8.1f} s   {word}: {written} of {whole} images, {rate:.1f} images/s")
    print(f"                {measured['test_accuracy']:8.1%}     of these test images right after that one epoch")
    print(f"  extrapolated  {total:8.0f} s   the whole: 1 -> {epochs} epochs, every image of every part")
    print(f"\nKeras (extrapolated) / clearmargin (measured) = {total:.0f} s / {ours.seconds:.0f} s")
    sizes = "" if size_px == ours.size_px else f", Keras at {size_px} px and clearmargin at {ours.size_px}"
    print(f"ratio = {total / ours.seconds:.1f}{sizes}")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a zip of class folders")
    parser.add_argument("--weights", default="imagenet", help="imagenet (default) or a file of VGG16's weights")
    parser.add_argument(
        "--set", dest="changes", metavar="KEY=VALUE", action="append", default=[], help="change the recipe's settings"
    )
    parser.add_argument("--sample", type=int, help="both sides: a data set of so many images, drawn with a fixed seed")
    parser.add_argument("--contenders", nargs="+", default=["plain CNN", CONTENDER], help=f"{CONTENDER} among them")
    parser.add_argument("--keras-epochs", type=int, help="as many as our VGG16 by default")
    parser.add_argument("--images", type=int, help="Keras's side: at most so many images of each part, then scaled")
    parser.add_argument("--keras-size", type=int, help="side of Keras's images in pixels; as ours by default")
    parser.add_argument(
        "--env",
        type=Path,
        help="Keras's environment, made when missing (1.7 GB); in the temporary folder by default",
    )
    options = parser.parse_args()
    if not zipfile.is_zipfile(options.data):
        parser.error(f"--data must be a zip of class folders, got {options.data}")
    if CONTENDER not in options.contenders:
        parser.error(f"--contenders must name {CONTENDER}, got {options.contenders}")
    if options.images is not None and options.images < 1:
        parser.error(f"--images must be at least 1, got {options.images}")
    return options


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="clearmargin-benchmark-") as name:
        work = Path(name)
        trunk = work / "vgg16.safetensors"
        safetensors.torch.save_file(load_pretrained(options.weights, cache=cache_folder()).tensors, trunk)
        python = environment(KERAS, options.env)
        data = draw_sample(options.data, options.sample, work) if options.sample else options.data.resolve()
        ours = run_ours(data, trunk, options.changes, options.contenders, work)
        counts = lay_out(data, ours.split, options.images, work / "images")
        size_px = options.keras_size or ours.size_px
        measured = run_keras(python, work / "images", trunk, size_px, work)
        report(ours, measured, counts, size_px, options.keras_epochs or ours.epochs)


if __name__ == "__main__":
    main()
