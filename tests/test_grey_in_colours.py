"""Grey scans that are stored in three equal channels: handled as one channel, to the same values."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clearmargin.decoding import prepare, prepare_all
from clearmargin.framing import framed
from clearmargin.records import Preprocessing

HOWS = [
    Preprocessing(24),
    Preprocessing(24, fit="stretch", trim=True),
    Preprocessing(24, fit="crop", intensity="standardised"),
    Preprocessing(24, color="gray"),
]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("shape", [(90, 77), (700, 513), (33, 40), (1, 90), (300, 1)])
def test_three_equal_channels_are_framed_as_one(how: Preprocessing, shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    grey[: shape[0] // 4] = 0
    three = np.stack([grey] * 3, axis=2)
    prepared, alone = prepare(three, how), prepare(grey, how)
    in_colours = framed(Image.fromarray(three), Image.fromarray(grey), how)  # as if nobody had looked
    assert np.array_equal(prepared.pixels, np.asarray(in_colours)[..., : how.channels])
    assert np.array_equal(prepared.pixels, alone.pixels)
    assert np.array_equal(prepared.miniature, alone.miniature)
    assert prepared.facts.appearance == alone.facts.appearance
    assert prepared.facts.pixel_sha256 == alone.facts.pixel_sha256
    assert (prepared.facts.mode, alone.facts.mode) == ("RGB", "L")
    ((_, together), *_) = prepare_all([three, three], how)
    assert np.array_equal(together.pixels, prepared.pixels)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("place", [(0, 0), (150, 30), (256, 5), (299, 76)])  # the middle line, ends of strips
def test_one_pixel_in_another_colour_is_a_colour(how: Preprocessing, channel: int, place: tuple[int, int]) -> None:
    three = np.repeat(np.random.default_rng(1).integers(0, 200, (300, 77, 1), dtype=np.uint8), 3, axis=2)
    three[(*place, channel)] = 255
    image = Image.fromarray(three)
    wanted = framed(image.convert("RGB" if how.color == "rgb" else "L"), image.convert("L"), how)
    assert np.array_equal(prepare(three, how).pixels.squeeze(), np.asarray(wanted))


def test_the_colour_of_one_pixel_is_measured() -> None:
    three = np.full((90, 77, 3), 100, np.uint8)
    assert prepare(three, HOWS[0]).facts.appearance.colourfulness == 0
    three[3, 4, 2] = 255
    assert prepare(three, HOWS[0]).facts.appearance.colourfulness == pytest.approx(155 / 90 / 77, abs=1e-3)
