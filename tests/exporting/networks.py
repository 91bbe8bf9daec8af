"""Layer lists with every kind of layer a recipe may have, and pixels to feed them with."""

from __future__ import annotations

import numpy as np

EVERY_LAYER = [
    {"whitening": 2},
    {"activation": "gelu"},
    {"conv": 8, "kernel": 2, "batch_norm": True, "activation": "maxout", "pieces": 3},
    {"pool": "sum", "size": 3, "stride": 2},
    {"conv": 6, "activation": "elu", "alpha": 0.7},
    {"pool": "max"},
    {"conv": 6, "stride": 2, "padding": "valid", "activation": "leaky_relu", "slope": 0.2},
    {"pool": "average", "size": 2, "stride": 1},
    {"batch_norm": True},
    {"dropout": 0.3},
    {"conv": 8, "kernel": 1, "activation": "tanh"},
    {"pool": "global_max"},
    {"dense": 8, "activation": "maxout"},
    {"dense": 5, "activation": "sigmoid"},
]
EVERY_LAYER_OF_ROWS = [
    {"conv": 8, "activation": "relu"},
    {"pool": "sum"},
    {"conv": 4, "kernel": 2, "batch_norm": True, "activation": "maxout"},
    {"pool": "max", "size": 2, "stride": 1},
    {"pool": "average", "size": 2, "stride": 1},
    {"flatten": True},
    {"dense": 6, "activation": "elu"},
]


def images(count=6, size_px=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, size_px, size_px, channels), dtype=np.uint8)
