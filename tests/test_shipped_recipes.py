"""Every recipe that ships runs from data to report, on data small enough for a test."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clearmargin as cm
from clearmargin.recipe import load_recipe, shipped_recipes

pytestmark = pytest.mark.usefixtures("blank_pdf")


def silent(*_: object) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """IDX files as MNIST comes in: ten classes of bars at different places, 300 to learn from and 50 to test."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 50)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 2 : 2 * label + 6, 4:24] = 230
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            with gzip.open(folder / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + values.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """96 images in class folders in train and test, 32 x 32 in colour."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"), train=24, test=8)


def draw_pictures(folder: Path, train: int, test: int) -> Path:
    """So many images of each of three classes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for number, name in enumerate(("cat", "dog", "ship")):
            (folder / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 150, (32, 32, 3), dtype=np.uint8)
                pixels[..., number] += 80
                Image.fromarray(pixels).save(folder / part / name / f"{k:03d}.png")
    return folder


@pytest.mark.parametrize("recipe", [name for name in shipped_recipes() if name.startswith(("mnist", "cifar10"))])
def test_published_parts_that_share_near_copies_are_not_refused(recipe: str) -> None:
    split = load_recipe(recipe).split
    assert (split.use_given, split.near_duplicates) == (True, "drop")  # else the published data end in a refusal


@pytest.mark.parametrize("recipe", ["mnist", "mnist-tutorial"])
def test_digits(recipe: str, digits: Path, tmp_path: Path) -> None:
    run = cm.run(recipe, data=digits, out=tmp_path / "run", overrides=["training.epochs=3"], progress=silent)
    assert run.evaluation["n"] == 50
    assert run.contenders["plain CNN"].description["parameters"]["total"] == 225_034
    assert len(run.contenders["plain CNN"].history) == 3
    report = run.report.read_text(encoding="utf-8")
    assert "One image, in numbers" in report
    assert "A look inside" in report


def test_digits_fast(digits: Path, tmp_path: Path) -> None:
    run = cm.run("mnist-fast", data=digits, out=tmp_path / "run", progress=silent)
    assert run.contenders["fast CNN"].description["parameters"]["total"] == 29_434
    assert len(run.contenders["fast CNN"].history) == 2
    assert "with Muon and Nesterov momentum 0.9" in run.report.read_text(encoding="utf-8")


def test_objects(pictures: Path, tmp_path: Path) -> None:
    changes = ["training.epochs=4", "split.fractions=[0.6,0.2,0.2]", "training.batch_size=8"]
    run = cm.run("cifar10", data=pictures, out=tmp_path / "run", overrides=changes, progress=silent)
    assert run.evaluation["n"] == 24  # the given test part
    rows = run.evaluation["contenders"]["plain CNN"]["per_class"]
    assert [row["class"] for row in rows] == ["cat", "dog", "ship"]
    assert {"precision", "recall"} <= rows[0].keys()
    assert "overfit" in run.report.read_text(encoding="utf-8")


def test_objects_fast(pictures: Path, tmp_path: Path) -> None:
    changes = ["training.epochs=2", "split.fractions=[0.6,0.2,0.2]", "training.batch_size=8"]
    run = cm.run("cifar10-fast", data=pictures, out=tmp_path / "run", overrides=changes, progress=silent)
    model = run.contenders["fast CNN"].description
    assert model["layers"][0]["layer"] == "whitening 2x2"
    assert model["parameters"]["total"] - model["parameters"]["trained"] == 24 * 12  # the filters of the whitening
    report = run.report.read_text(encoding="utf-8")
    assert "with Muon and Nesterov momentum 0.9" in report
    assert "flips left to right in every second epoch and shifts up to 2 pixels" in report


def test_objects_from_imagenet_weights(pictures: Path, tmp_path: Path) -> None:
    changes = ["training.epochs=1", "split.fractions=[0.6,0.2,0.2]", "data.size_px=32"]
    run = cm.run("cifar10-vgg16", data=pictures, out=tmp_path / "run", overrides=changes, progress=silent)
    model = run.contenders["VGG16"].description
    assert model["pretrained_sha256"]
    assert model["parameters"]["trained"] == model["parameters"]["total"] > 14_700_000
    assert "It started from weights learned on ImageNet" in (run.folder / "methods.txt").read_text(encoding="utf-8")


def test_a_table(tmp_path: Path) -> None:
    changes = ["training.epochs=3", "evaluation.repeats=2"]
    run = cm.run("boston", out=tmp_path / "run", overrides=changes, progress=silent)
    assert run.evaluation["n"] == 74
    assert run.contenders["1-D CNN"].description["parameters"]["total"] == 24_833
    assert [row["parameters"] for row in run.contenders["1-D CNN"].description["layers"]] == [192, 0, 24_608, 33]
    assert run.evaluation["references"][0]["value"] == 4.935908
    assert list(run.evaluation["baselines"]) == ["mean predictor", "ridge regression", "gradient-boosted trees"]


def test_tumours(tmp_path: Path) -> None:
    # What leakage would have been worth takes as long as all else: tests/test_leakage_study.py has it.
    changes = ["data.size_px=32", "training.epochs=1", "training.batch_size=16", "audit.leakage=false"]
    pictures = draw_pictures(tmp_path / "pictures", train=10, test=4)
    run = cm.run("tumor", data=pictures, out=tmp_path / "run", overrides=changes, progress=silent)
    assert list(run.contenders) == ["plain CNN", "VGG16", "ResNet-18"]
    assert run.contenders["VGG16"].description["pretrained_sha256"]
    assert 11_000_000 < run.contenders["ResNet-18"].description["parameters"]["total"] < 12_000_000
    assert len(run.evaluation["comparisons"]) == 3
