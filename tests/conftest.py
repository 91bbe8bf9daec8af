"""Small data every test can make, and a cache that is thrown away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY_RECIPE = """
name = "Tiny"
[data]
size_px = 16
color = "gray"
[[contender]]
name = "one layer"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "max" }]
[[contender]]
name = "two layers"
layers = [{ conv = 4, kernel = 3, batch_norm = true, activation = "relu" }, { pool = "max" }, { dropout = 0.2 },
          { conv = 8, kernel = 3, activation = "relu" }, { pool = "global_average" }]
[training]
epochs = 3
batch_size = 16
learning_rate = 1e-2
[training.augmentation]
flip_horizontal = true
[evaluation]
resamples = 200
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that wants it skips where it is not."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real data sets are not on this machine (../shared/data)")
    return SHARED / "data"


def _draw_images(folder: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """Class folders of 20x24 grey PNGs; the place of a bright square tells the class, with noise."""
    random = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(count):
            pixels = random.integers(0, 90, (20, 24))
            corner = 3 + 5 * number
            pixels[corner : corner + 5, corner : corner + 5] += random.integers(60, 160)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{image:03d}.png")
    return folder


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., Path]:
    """The function that draws class folders: (folder, {class: images}, seed) -> folder."""
    return _draw_images


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 40, 30 and 30 images, and one file that is not an image at all."""
    folder = _draw_images(tmp_path_factory.mktemp("images"), {"alpha": 40, "beta": 30, "gamma": 30})
    (folder / "beta" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two plain CNNs on 16 px that train in a second."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path
