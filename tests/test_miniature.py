"""Small pictures of many tiny images at once: to the bit those of one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmargin.miniature import MOST_TOGETHER_PX, SIDE_PX, miniature, miniatures

KINDS = ("noise", "plain", "framed", "dim", "spots", "ramps")
Kind = st.sampled_from(KINDS)
Side = st.integers(1, MOST_TOGETHER_PX)


def drawn(kind: str, height: int, width: int, seed: int, images: int = 4) -> np.ndarray:
    """Images that look unlike each other, with frames of any brightness, spots on black, next to no contrast, ramps."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (images, height, width))
    if kind == "plain":
        noise[:] = random.integers(0, 256)
    elif kind == "dim":
        noise //= 24
    elif kind == "ramps":
        noise = (np.arange(width) * random.integers(0, 9) + np.arange(height)[:, None] + noise // 60) % 256
        noise = np.broadcast_to(noise, (images, height, width))
    elif kind == "framed":
        for one in noise:
            above, below = random.integers(0, max(1, height // 3), 2)
            before, behind = random.integers(0, max(1, width // 3), 2)
            inner = one[above : height - below, before : width - behind].copy()
            one[:] = random.integers(0, 256)
            one[above : height - below, before : width - behind] = inner
    elif kind == "spots":
        haze = random.integers(0, 14, noise.shape) * random.integers(0, 2, (images, 1, 1))
        noise[:] = haze
        for one in noise:
            top, left = random.integers(0, height), random.integers(0, width)
            one[top : top + random.integers(1, 12), left : left + random.integers(1, 12)] = random.integers(0, 255)
    return noise.astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(Kind, Side, Side, st.integers(0, 10**6))
def test_together_they_are_what_each_is_alone(kind: str, height: int, width: int, seed: int) -> None:
    pixels = drawn(kind, height, width, seed)
    greys = [Image.fromarray(one) for one in pixels]
    for together, grey in zip(miniatures(pixels), greys, strict=True):
        assert together.shape == (SIDE_PX, SIDE_PX)
        assert np.array_equal(together, miniature(grey))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_and_the_smallest_too(kind: str) -> None:
    for height, width in (
        (MOST_TOGETHER_PX, MOST_TOGETHER_PX),
        (1, MOST_TOGETHER_PX),
        (8, 8),
        (1, 1),
        (28, 28),
        (32, 32),
    ):
        pixels = drawn(kind, height, width, 3)
        greys = [Image.fromarray(one) for one in pixels]
        assert np.array_equal(miniatures(pixels), [miniature(grey) for grey in greys])
