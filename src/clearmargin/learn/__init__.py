"""What a CNN computes, small enough to follow by hand: the functions behind ``clearmargin learn``.

They need NumPy only, take one image or map at a time, (height, width) or (channels, height, width), compute in float64,
and agree with PyTorch's layers and with those of this package's own networks.

>>> import numpy as np
>>> from clearmargin.learn import activate, convolve, pool
>>> image = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]], dtype=np.uint8)
>>> edges = convolve(image, [[-1, 1]])  # each pixel's right neighbour minus the pixel itself
>>> edges
array([[0., 9., 0.],
       [0., 9., 0.],
       [0., 9., 0.],
       [0., 9., 0.]])
>>> pool(activate(edges, "relu"), "max", size=2)
array([[9.],
       [9.]])
"""

from __future__ import annotations

from clearmargin.learn.activations import activate
from clearmargin.learn.operations import convolve, dense, dropout, flatten, pool

__all__ = ["activate", "convolve", "dense", "dropout", "flatten", "pool"]
