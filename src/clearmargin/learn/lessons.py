"""What the page shows, computed: each lesson is a small record of numbers and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearmargin.learn.activations import activate
from clearmargin.learn.curves import PIECES, cards
from clearmargin.learn.kernels import KERNELS, Kernel
from clearmargin.learn.operations import POOLS, convolve, dense, dropout, flatten, pool
from clearmargin.learn.pictures import Picture, Scale, picture
from clearmargin.learn.subject import Subject

PATCH_PX = 7
WORKED_IMAGE, WORKED_KERNEL = ((1, 0), (1, 1)), ((1, -1), (1, -1))
POOLED_NUMBERS = ((1, 3, 2, 1), (4, 6, 5, 2), (3, 1, 1, 0), (2, 2, 4, 8))
POOL_SIZES = (2, 4, 8)
FLAT_MAPS = (((1, 0), (2, 3)), ((0, 1), (1, 0)))
DENSE_WEIGHTS = (
    (0.5, -1.0, 0.5, 0.5, 0.0, -0.5, 1.0, 0.5),
    (-0.5, 0.5, 0.0, 0.5, 1.0, 0.5, 0.0, -1.0),
    (1.0, 0.5, -0.5, 0.0, -1.0, 1.0, -1.0, 0.5),
)
DENSE_BIAS = (-1.0, 0.0, 0.5)
CLASSES = ("rim lesion", "nodule", "no lesion")
DROPOUT_VALUES, DROPOUT_RATE, DROPOUT_SEEDS = 32, 0.5, 12


def lessons(subject: Subject) -> dict[str, Any]:
    """Everything the templates and the script of the page need, for one image."""
    logits = dense(flatten(FLAT_MAPS), DENSE_WEIGHTS, DENSE_BIAS)
    row, column = busiest_patch(subject.pixels)
    return {
        "worked": worked_example(),
        "original": picture(subject.pixels, "pixels"),
        "kernels": [(kernel, filtered(subject.pixels, kernel)) for kernel in KERNELS],
        "numbers": slide(subject.pixels[row : row + PATCH_PX, column : column + PATCH_PX], KERNELS[0]),
        "patch": (row, column),
        "strides": strides(subject.pixels),
        "rim": convolve(np.full((5, 5), 90), KERNELS[3].values, padding="same"),
        "cards": cards(subject.pixels / 255),
        "pooled": {kind: pool(POOLED_NUMBERS, kind) for kind in POOLS},  # type: ignore[arg-type]
        "pooled_numbers": POOLED_NUMBERS,
        "pooled_pictures": pooled_pictures(subject.pixels, POOL_SIZES[1]),
        "pool_sizes": POOL_SIZES,
        "flat_maps": FLAT_MAPS,
        "flat": flatten(FLAT_MAPS),
        "weights": DENSE_WEIGHTS,
        "bias": DENSE_BIAS,
        "classes": CLASSES,
        "logits": logits,
        "odds": np.exp(logits),
        "probabilities": activate(logits, "softmax"),
        "dropout": dropout_example(),
        "data": script_data(subject, (row, column)),
    }


def worked_example() -> list[dict[str, float]]:
    """The tutorial's weighted sum, term by term, with the sum so far."""
    terms = zip(flatten(WORKED_IMAGE), flatten(WORKED_KERNEL), strict=True)
    steps, so_far = [], 0.0
    for pixel, weight in terms:
        so_far += pixel * weight
        steps.append({"pixel": pixel, "weight": weight, "product": pixel * weight, "so_far": so_far})
    return steps


def slide(patch: np.ndarray, kernel: Kernel) -> dict[str, Any]:
    """A patch, what the kernel makes of it, and the terms of the first sum."""
    window = patch[:3, :3]
    return {
        "patch": patch,
        "out": convolve(patch, kernel.values),
        "weights": np.reshape(kernel.weights, (3, 3)),
        "terms": list(zip(flatten(window), kernel.weights, strict=True)),
    }


def filtered(pixels: np.ndarray, kernel: Kernel) -> Picture:
    """The image after a kernel, zeros around it."""
    return picture(convolve(pixels, kernel.values, padding="same"), kernel_scale(kernel.values))


def kernel_scale(values: np.ndarray) -> Scale:
    """A kernel whose weights cancel gives values on both sides of zero; the others give pixels."""
    return "signed" if abs(values.sum()) < 1e-6 else "pixels"


def busiest_patch(pixels: np.ndarray) -> tuple[int, int]:
    """Row and column of the square of `PATCH_PX` in which neighbours differ most from left to right."""
    across = np.abs(convolve(pixels, KERNELS[0].values, padding="same"))
    amounts = pool(across, "sum", PATCH_PX, 1)
    row, column = np.unravel_index(amounts.argmax(), amounts.shape)
    return int(row), int(column)


def strides(pixels: np.ndarray) -> list[dict[str, Any]]:
    """The image blurred with every stride and padding: how large it gets."""
    made = []
    for padding in ("valid", "same"):
        for stride in (1, 2, 3):
            out = convolve(pixels, KERNELS[4].values, stride, padding)
            made.append({"padding": padding, "stride": stride, "side": len(out), "picture": picture(out, "pixels")})
    return made


def pooled_pictures(pixels: np.ndarray, size: int) -> dict[str, Picture]:
    """The image after each kind of pooling."""
    return {
        kind: picture(pool(pixels, kind, size), "positive" if kind == "sum" else "pixels")  # type: ignore[arg-type]
        for kind in POOLS
    }


def dropout_example() -> dict[str, Any]:
    """A row of activations before and after, and the draws behind every seed of the page."""
    values = np.round(np.random.default_rng(7).gamma(2, 1, DROPOUT_VALUES), 1)
    draws = [np.random.default_rng(seed).random(DROPOUT_VALUES) for seed in range(DROPOUT_SEEDS)]
    return {
        "values": values.tolist(),
        "after": dropout(values, DROPOUT_RATE, 0).tolist(),
        "rate": DROPOUT_RATE,
        "draws": [[round(float(draw), 6) for draw in row] for row in draws],
    }


def script_data(subject: Subject, patch: tuple[int, int]) -> dict[str, Any]:
    """What the script works on, for JSON."""
    return {
        "side": subject.side_px,
        "pixels": subject.pixels.reshape(-1).tolist(),
        "patch": patch,
        "patchSide": PATCH_PX,
        "kernels": {
            kernel.key: {"name": kernel.name, "weights": kernel.weights, "divisor": kernel.divisor}
            for kernel in KERNELS
        },
        "pieces": PIECES,
        "dropout": dropout_example(),
    }
