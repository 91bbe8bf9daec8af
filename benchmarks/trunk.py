"""VGG16's frozen layers as a study computes them, beside a bare loop and beside other engines, in turns.

    python benchmarks/trunk.py --data brain-tumor-mri.zip [--images 64] [--rounds 5] [--size 224]

Every side is a process of its own on the same images and weights (`trunk_side.py`). OpenVINO, onnxruntime and Keras get
environments of their own, made when missing. How far each side's features are from those in float32 is printed as a
share of the largest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from clearmargin.models import build_network, set_first_weights
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, to_input
from clearmargin.models.precision import fastest_precision
from clearmargin.pixels import cache_folder, open_pixels
from clearmargin.recipe import Contender
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from interleaved import Side, busy_processors, markdown, spread, take_turns
from limits import describe, measure_limits
from peers import ENGINES, KERAS, environment

OURS = "clearmargin"
BATCHES = (1, 8)
COMPARED = 4  # images whose features are compared
HERE = Path(__file__).parent


def lay_out(data: str, images: int, size: int, folder: Path) -> None:
    """Write what every side reads: images, the weights, and the features of the first images in float32."""
    pixels = open_pixels(open_source(data), Preprocessing(size))
    contender = Contender(name="VGG16", architecture="vgg16", freeze_through="block5")
    network = build_network(contender, (3, size, size), 4)
    set_first_weights(network, contender, 0, cache_folder())
    _, different = np.unique(pixels.facts["pixel_sha256"], return_index=True)  # no side computes an image twice
    some = pixels.rows.read(np.sort(different)[: min(images, len(different)) // 8 * 8])
    assert network.trunk is not None
    with torch.inference_mode():
        features = network.trunk.eval()(to_input(some[:COMPARED], IMAGENET_MEAN, IMAGENET_STD)).permute(0, 2, 3, 1)
    np.savez(folder / "images.npz", images=some, features=features.numpy())
    save_file({key: value.contiguous() for key, value in network.features.state_dict().items()},
              folder / "trunk.safetensors")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--without", nargs="*", default=[], help="sides to leave out: openvino, onnxruntime, keras")
    asked = parser.parse_args()
    pythons = {
        "openvino": lambda: environment(ENGINES),
        "onnxruntime": lambda: environment(ENGINES),
        "keras": lambda: environment(KERAS),
    }
    torch_mode = f"torch-{str(fastest_precision()).removeprefix('torch.')}"
    modes = {OURS: ("ours", 0)}
    for name, mode in (("PyTorch", torch_mode), ("OpenVINO", "openvino"), ("onnxruntime", "onnxruntime")):
        modes |= {f"{name}, {batch} at a time": (mode, batch) for batch in BATCHES}
    modes |= {f"Keras, {BATCHES[-1]} at a time": ("keras", BATCHES[-1])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(asked.data, asked.images, asked.size, folder)
        sides = [
            Side(
                side,
                [
                    str(pythons[mode]()) if mode in pythons else sys.executable,
                    *(str(HERE / "trunk_side.py"), mode, name, str(batch)),
                ],
            )
            for side, (mode, batch) in modes.items()
            if mode not in asked.without
        ]
        print(f"{busy_processors():.1f} processors busy with other work (0 is idle)")
        limits = measure_limits()
        turns = take_turns(sides, asked.rounds)
        print(f"\n{describe(limits)}\n{asked.images} images of {asked.size} px, {asked.rounds} rounds\n")
        print(markdown(turns, OURS, limits))
        for side, own in turns.items():
            print(f"deviation from float32, {side}: {spread([turn.facts['deviation'] for turn in own], '.1e')}")


if __name__ == "__main__":
    main()
