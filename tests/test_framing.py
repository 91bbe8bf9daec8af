import numpy as np
import pytest

from clearmargin.decoding import prepare
from clearmargin.records import Preprocessing

GENERATOR = np.random.default_rng(0)
CONTENT = GENERATOR.integers(40, 120, (40, 40)).astype(np.uint8)


def within(content, height=80, width=100, frame=0):
    image = np.zeros((height, width), np.uint8)
    image[20:60, 30:70] = content
    if frame:
        image[:frame] = image[-frame:] = image[:, :frame] = image[:, -frame:] = 255
    return image


@pytest.mark.parametrize("frame", [0, 3])
def test_trimming_leaves_the_content_whatever_frame_and_margin(frame):
    pixels = prepare(within(CONTENT, frame=frame), Preprocessing(40, color="gray", trim=True)).pixels
    assert np.array_equal(pixels[..., 0], CONTENT)


def test_trimming_a_blank_image_keeps_it():
    assert (prepare(np.full((30, 50), 9, np.uint8), Preprocessing(16, "stretch", trim=True)).pixels == 9).all()


def test_standardised_is_the_same_for_a_darker_copy():
    how = Preprocessing(40, color="gray", trim=True, intensity="standardised")
    bright, dark = (prepare(within(image), how).pixels.astype(int) for image in (CONTENT, CONTENT // 2))
    low, high = np.percentile(CONTENT, [1, 99], method="inverted_cdf")
    expected = np.round((CONTENT.astype(float) - low) * 255 / (high - low)).clip(0, 255)
    assert np.array_equal(bright[..., 0], expected)
    assert np.abs(bright - dark).mean() < 4


def test_standardised_keeps_hues_and_leaves_plain_images():
    how = Preprocessing(40, intensity="standardised")
    grey = prepare(np.repeat(within(CONTENT)[..., None], 3, axis=2), how).pixels
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert (prepare(np.full((9, 9), 77, np.uint8), how).pixels == 77).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 200)])
def test_thin_images_pass(shape):
    image = GENERATOR.integers(0, 256, shape).astype(np.uint8)
    assert prepare(image, Preprocessing(16, trim=True, intensity="standardised")).pixels.shape == (16, 16, 3)


def test_facts_and_miniature_do_not_depend_on_it():
    image = within(CONTENT)
    plain, other = (
        prepare(image, how) for how in (Preprocessing(16), Preprocessing(16, trim=True, intensity="standardised"))
    )
    assert plain.facts == other.facts
    assert np.array_equal(plain.miniature, other.miniature)
