"""One side of `trunk.py`: VGG16's frozen layers on the images of an NPZ, once.

    python benchmarks/trunk_side.py MODE FOLDER BATCH

FOLDER holds ``images.npz`` (uint8 images, and the float32 features of the first of them) and ``trunk.safetensors``.
MODE is ``ours``, ``torch-float32``, ``torch-bfloat16``, ``openvino``, ``onnxruntime`` or ``keras``. The others only
call the network on arrays that are ready, BATCH images at a time; ours reads, normalises and writes as well, and
chooses its batches itself.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

Compute = Callable[[np.ndarray], np.ndarray]  # float32 (batch, 3, height, width) to features of any layout


def main() -> None:
    """Print images per second, and how far the features are from float32's, as JSON."""
    mode, folder, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with np.load(folder / "images.npz") as stored:
        images, reference = stored["images"], stored["features"]
    seconds, features = ours(folder, images) if mode == "ours" else timed(mode, folder, images, batch)
    first = features[: len(reference)].astype(np.float32)
    facts = {
        "images_per_second": len(images) / seconds,
        "multiply_adds": multiply_adds(images.shape[1]),
        "deviation": float(np.abs(first - reference).max() / reference.max()),
    }
    print(json.dumps(facts))


def timed(mode: str, folder: Path, images: np.ndarray, batch: int) -> tuple[float, np.ndarray]:
    """Seconds of all batches after one to warm up, and the features, channels last."""
    inputs = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    maker, _, kind = mode.partition("-")
    compute = {"torch": with_torch, "openvino": with_openvino, "onnxruntime": with_onnxruntime, "keras": with_keras}
    run, prepare = compute[maker](folder, kind, (batch, 3, *images.shape[1:3]))
    batches = [prepare(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
    run(batches[0])
    started = time.perf_counter()
    made = [run(batch) for batch in batches]
    return time.perf_counter() - started, np.concatenate([np.asarray(some, dtype=np.float32) for some in made])


def ours(folder: Path, images: np.ndarray) -> tuple[float, np.ndarray]:
    """The pass that fills the cache, as a study runs it: read, normalise, compute, write."""
    import torch
    from safetensors.torch import load_file

    from clearmargin.mapped_rows import ArrayRows
    from clearmargin.models import build_network
    from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD
    from clearmargin.models.precision import fastest_precision
    from clearmargin.recipe import Contender
    from clearmargin.training.memory import reuse_freed_memory
    from clearmargin.training.trunk import TrunkCache

    contender = Contender(name="VGG16", architecture="vgg16", freeze_through="block5")
    network = build_network(contender, (3, *images.shape[1:3]), 2)
    network.features.load_state_dict(load_file(folder / "trunk.safetensors"))
    assert network.trunk is not None
    reuse_freed_memory()
    rows = np.arange(len(images))
    with tempfile.TemporaryDirectory() as place:
        cache = TrunkCache(
            Path(place), network.trunk, ArrayRows(images), "key", IMAGENET_MEAN, IMAGENET_STD, fastest_precision()
        )
        warm = min(cache.batch_size, len(rows) // 2)
        cache.compute(rows[:warm])
        started = time.perf_counter()
        cache.compute(rows)
        seconds = (time.perf_counter() - started) * len(rows) / (len(rows) - warm)
        return seconds, torch.from_numpy(cache.read(rows)).view(torch.bfloat16).float().numpy()


def with_torch(folder: Path, kind: str, shape: tuple[int, ...]):
    """The network alone, channels last."""
    import torch
    from safetensors.torch import load_file
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for widths in BLOCKS:
        for wide in widths:
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU(inplace=True)]
            channels = wide
        layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers)
    network.load_state_dict(load_file(folder / "trunk.safetensors"))
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[kind]
    network = network.to(dtype).to(memory_format=torch.channels_last).eval()

    def run(batch):
        with torch.inference_mode():
            return network(batch).permute(0, 2, 3, 1).float().numpy()

    return run, lambda batch: torch.from_numpy(batch).to(dtype).to(memory_format=torch.channels_last)


def with_openvino(folder: Path, kind: str, shape: tuple[int, ...]):
    """In the number format that OpenVINO chooses for this processor."""
    import openvino as ov

    model = ov.Core().read_model(onnx_file(folder, shape))
    compiled = ov.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return (lambda batch: compiled(batch)[0].transpose(0, 2, 3, 1)), lambda batch: batch


def with_onnxruntime(folder: Path, kind: str, shape: tuple[int, ...]):
    """In float32, with all cores."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(onnx_file(folder, shape), options, providers=["CPUExecutionProvider"])
    return (lambda batch: session.run(None, {"images": batch})[0].transpose(0, 2, 3, 1)), lambda batch: batch


def with_keras(folder: Path, kind: str, shape: tuple[int, ...]):
    """`keras.applications.VGG16` with the same weights."""
    import keras
    from safetensors.numpy import load_file

    trunk = keras.applications.VGG16(include_top=False, weights=None, input_shape=(*shape[2:], 3))
    stored = load_file(folder / "trunk.safetensors")
    layers = [layer for layer in trunk.layers if isinstance(layer, keras.layers.Conv2D)]
    numbers = sorted({int(name.split(".")[0]) for name in stored})
    for layer, number in zip(layers, numbers, strict=True):
        layer.set_weights([stored[f"{number}.weight"].transpose(2, 3, 1, 0), stored[f"{number}.bias"]])
    run = trunk.predict_on_batch
    return run, lambda batch: np.ascontiguousarray(batch.transpose(0, 2, 3, 1))


def onnx_file(folder: Path, shape: tuple[int, ...]) -> str:
    """The same layers as an ONNX file, made once."""
    path, sides = folder / f"trunk-{shape[0]}.onnx", [side // 32 for side in shape[2:]]
    if not path.exists():
        import onnx
        from onnx import TensorProto, helper, numpy_helper
        from safetensors.numpy import load_file

        stored, nodes, weights = load_file(folder / "trunk.safetensors"), [], []
        place, last = 0, "images"
        for widths in BLOCKS:
            for _ in widths:
                names = [f"{place}.weight", f"{place}.bias"]
                weights += [numpy_helper.from_array(stored[name], name) for name in names]
                conv = helper.make_node("Conv", [last, *names], [f"c{place}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
                nodes += [conv, helper.make_node("Relu", [f"c{place}"], [f"r{place}"])]
                last, place = f"r{place}", place + 2
            nodes.append(helper.make_node("MaxPool", [last], [f"p{place}"], kernel_shape=[2, 2], strides=[2, 2]))
            last, place = f"p{place}", place + 1
        given = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info(last, TensorProto.FLOAT, [shape[0], 512, *sides])
        graph = helper.make_graph(nodes, "trunk", [given], [made], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(model, path)
    return str(path)


def multiply_adds(size: int) -> int:
    """Of one image: 9 · channels in · channels out at every place of every convolution."""
    total, channels = 0, 3
    for block, widths in enumerate(BLOCKS):
        for wide in widths:
            total += 9 * channels * wide * (size // 2**block) ** 2
            channels = wide
    return total


if __name__ == "__main__":
    main()
