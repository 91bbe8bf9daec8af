"""How much of a bare loop's speed the cached pass of VGG16's frozen layers reaches, in one process.

Three things take turns (A B C A B C …) on the same images: the pass that fills the cache, as a study runs it; a bare
loop in bfloat16; and a bare loop in float32. The bare loops only call the network on a tensor that is ready.

    python benchmarks/trunk.py --data ../shared/data/brain-tumor-mri.zip [--images 64] [--rounds 5] [--size 224]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from clearmargin.environment import describe_environment
from clearmargin.models import build_network, set_first_weights
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, to_input
from clearmargin.models.precision import fastest_precision
from clearmargin.pixels import cache_folder, open_pixels
from clearmargin.recipe import Contender
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from clearmargin.training.trunk import BATCH, TrunkCache


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    asked = parser.parse_args()
    pixels = open_pixels(open_source(asked.data), Preprocessing(asked.size))
    contender = Contender(name="VGG16", architecture="vgg16", freeze_through="block5")
    network = build_network(contender, (3, asked.size, asked.size), 4)
    set_first_weights(network, contender, 0, cache_folder())
    trunk = network.trunk
    assert trunk is not None
    rows = np.arange(min(asked.images, len(pixels.samples)))
    inputs = to_input(pixels.rows.read(rows), IMAGENET_MEAN, IMAGENET_STD)
    speeds: dict[str, list[float]] = {"cached pass": [], "bare bfloat16": [], "bare float32": []}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = TrunkCache(
                Path(folder), trunk, pixels.rows, pixels.key, IMAGENET_MEAN, IMAGENET_STD, fastest_precision()
            )
            started = time.perf_counter()
            cache.compute(rows)
            speeds["cached pass"].append(len(rows) / (time.perf_counter() - started))
        speeds["bare bfloat16"].append(bare_loop(trunk, inputs, torch.bfloat16))
        speeds["bare float32"].append(bare_loop(trunk, inputs, torch.float32))
    machine = describe_environment()
    print(f"{machine['processor']}, {machine['cores']} cores, {', '.join(machine['features'])}")
    print(f"torch {torch.__version__}, Python {platform.python_version()}, chosen format {fastest_precision()}")
    for name, values in speeds.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:14} {statistics.median(values):6.2f} images/s ({spread})")
    for name in ("bare bfloat16", "bare float32"):
        ratios = [a / b for a, b in zip(speeds["cached pass"], speeds[name], strict=True)]
        print(f"cached pass / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def bare_loop(trunk: nn.Sequential, inputs: torch.Tensor, precision: torch.dtype) -> float:
    """Images per second of nothing but the network, channels last, in this format."""
    import copy

    network = copy.deepcopy(trunk).to(precision).to(memory_format=torch.channels_last).eval()
    ready = inputs.to(dtype=precision, memory_format=torch.channels_last)
    with torch.inference_mode():
        network(ready[:BATCH])
        started = time.perf_counter()
        for batch in ready.split(BATCH):
            network(batch)
        return len(inputs) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
