"""Whether memory grows with the number of images: the same study on 1x and 20x of them, each in its own process.

The images are made on the fly (noise with a bright square, JPEG), so that nothing else differs but their number.

    python benchmarks/memory.py [--images 100] [--size 64] [--times 20]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """
name = "Memory"
[data]
size_px = {size}
[[contender]]
name = "plain CNN"
layers = [{{ conv = 16, kernel = 3, activation = "relu" }}, {{ pool = "max" }},
          {{ conv = 32, kernel = 3, activation = "relu" }}, {{ pool = "global_average" }}]
[[contender]]
name = "VGG16"
architecture = "vgg16"
freeze_through = "block4"
[training]
epochs = 1
[evaluation]
resamples = 200
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--times", type=int, default=20)
    asked = parser.parse_args()
    peaks = {}
    for factor in (1, asked.times):
        with tempfile.TemporaryDirectory() as folder:
            peaks[factor] = peak_megabytes(Path(folder), factor * asked.images, asked.size)
        print(f"{factor}x: {factor * asked.images} images of {asked.size} px, peak {peaks[factor]:.0f} MB", flush=True)
    print(f"{asked.times}x / 1x: {peaks[asked.times] / peaks[1]:.3f}")


def peak_megabytes(folder: Path, images: int, size: int) -> float:
    """Run the study on this many images; the most memory its process held."""
    random = np.random.default_rng(0)
    for number in range(images):
        label = number % 2
        (folder / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 120, (size, size)).astype(np.uint8)
        pixels[10 + 40 * label : 40 + 40 * label, 20:50] += 100
        Image.fromarray(pixels).save(folder / "images" / str(label) / f"{number}.jpg")
    (folder / "recipe.toml").write_text(RECIPE.format(size=size))
    words = ["run", str(folder / "recipe.toml"), "--data", str(folder / "images"), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "clearmargin", *words], check=True, capture_output=True)
    return json.loads((folder / "run" / "environment.json").read_text())["peak_memory_bytes"] / 1e6


if __name__ == "__main__":
    main()
