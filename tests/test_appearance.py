import io
import json
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from clearmargin.appearance import appearance, appearances, margins
from clearmargin.decoding import prepare
from clearmargin.jpeg import jpeg_quality
from clearmargin.lettering import LINE_MARKS
from clearmargin.records import Preprocessing

GENERATOR = np.random.default_rng(0)


def noise(height=60, width=80):
    return GENERATOR.integers(0, 256, (height, width)).astype(np.uint8)


def measured(pixels, colour=None):
    return appearance(Image.fromarray(pixels), None if colour is None else Image.fromarray(colour))


def test_brightness_contrast_and_shares_are_those_of_the_pixels():
    pixels = noise()
    found = measured(pixels)
    assert found.brightness == pytest.approx(pixels.mean(), abs=1e-3)
    assert found.contrast == pytest.approx(pixels.std(), abs=1e-3)
    assert found.dark_share == pytest.approx((pixels <= 8).mean(), abs=1e-5)
    assert found.bright_share == pytest.approx((pixels >= 247).mean(), abs=1e-5)


def test_sharpness_is_the_laplacian_over_the_spread():
    pixels = noise()
    laplacian = ndimage.laplace(pixels.astype(float))[1:-1, 1:-1]
    expected = np.sqrt((laplacian**2).mean()) / pixels[1:-1, 1:-1].std()
    assert measured(pixels).sharpness == pytest.approx(expected, rel=1e-3)


def test_blurring_lowers_sharpness_and_size_hardly_matters():
    picture = Image.fromarray(noise(64, 64)).resize((256, 256), Image.Resampling.BICUBIC)
    sharp = appearance(picture).sharpness
    assert appearance(picture.filter(ImageFilter.GaussianBlur(4))).sharpness < sharp / 3
    larger = appearance(picture.resize((1024, 1024), Image.Resampling.BICUBIC)).sharpness
    assert larger == pytest.approx(sharp, rel=0.25)


def test_a_frame_ends_where_its_grey_level_does_and_the_margin_with_the_blank_lines():
    pixels = np.zeros((60, 80), np.uint8)
    pixels[20:50, 30:70] = noise(30, 40)
    found = measured(pixels)
    assert (found.border_left_px, found.border_top_px, found.border_right_px, found.border_bottom_px) == (
        30,
        20,
        10,
        10,
    )
    assert (found.margin_left, found.margin_top) == (30 / 80, pytest.approx(20 / 60, abs=1e-4))
    assert found.edge_level == 0
    pixels[:3] = pixels[-3:] = pixels[:, :3] = pixels[:, -3:] = 255
    framed = measured(pixels)
    sides = (framed.border_left_px, framed.border_top_px, framed.border_right_px, framed.border_bottom_px)
    assert sides == (3, 3, 3, 3)
    assert framed.edge_level == 255


def test_a_stripe_on_a_black_margin_is_as_wide_as_it_is():
    pixels = np.zeros((60, 80), np.uint8)
    pixels[20:50, 30:70] = noise(30, 40)
    pixels[:4] = 200
    found = measured(pixels)
    assert found.border_top_px == 4
    assert found.margin_top == pytest.approx(20 / 60, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 3), (200, 1)])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_plain_and_tiny_images_have_finite_values(shape, value):
    found = measured(np.full(shape, value, np.uint8))
    assert (found.brightness, found.contrast, found.sharpness) == (value, 0, 0)
    assert found.border_left_px == shape[1]
    assert found.text_marks == 0


def test_a_grey_image_stored_as_rgb_has_no_colour():
    pixels = noise()
    assert measured(pixels, np.stack([pixels] * 3, axis=2)).colourfulness == 0
    coloured = np.stack([pixels, pixels // 2, pixels // 4], axis=2)
    expected = (coloured.max(2).astype(int) - coloured.min(2)).mean()
    assert measured(pixels, coloured).colourfulness == pytest.approx(expected, abs=1e-3)


def test_letters_are_counted_and_anatomy_is_not():
    disc = np.hypot(*np.mgrid[-128:128, -128:128]) < 90
    head = Image.fromarray(np.where(disc, 150 + noise(256, 256) // 6, 0).astype(np.uint8))
    assert appearance(head).text_marks == 0
    ImageDraw.Draw(head).text((8, 8), "W 5234 L 8081", fill=255)
    assert appearance(head).text_marks >= LINE_MARKS


@pytest.mark.parametrize("quality", [5, 30, 49, 50, 75, 92, 100])
def test_jpeg_quality_is_the_one_it_was_saved_with(quality):
    buffer = io.BytesIO()
    Image.fromarray(noise()).save(buffer, "JPEG", quality=quality)
    assert prepare(buffer.getvalue(), Preprocessing(16)).facts.jpeg_quality == quality


@pytest.mark.parametrize("tables", [None, {}, {1: [1] * 64}, {0: [1, 2, 3]}])
def test_without_a_luminance_table_there_is_no_quality(tables):
    assert jpeg_quality(tables) == 0


def test_facts_survive_json():
    columns = prepare(noise(), Preprocessing(16)).facts.as_columns()
    assert json.loads(json.dumps(columns)) == columns
    assert {"pixel_sha256", "jpeg_quality", "brightness", "text_marks"} <= set(columns)


@pytest.mark.parametrize(("side", "most_seconds"), [(512, 0.03), (28, 0.001)])  # idle: 1.1 ms and 0.05 ms
def test_it_costs_little(side, most_seconds):
    image = Image.fromarray(noise(side, side)).filter(ImageFilter.GaussianBlur(2))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        appearance(image)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < most_seconds


@pytest.mark.parametrize("shape", [(28, 28), (32, 20), (2, 3), (1, 1), (100, 120), (128, 128)])
def test_measured_together_or_alone_is_the_same(shape):
    """Framed, blank, half blank and coloured ones among them."""
    height, width = shape
    colours = GENERATOR.integers(0, 256, (12, height, width, 3)).astype(np.uint8)
    colours[1] = 77
    colours[2, : height // 2] = 0
    colours[3, :, : width // 3] = 250
    colours[4, [0, -1]] = colours[4][:, [0, -1]] = 255
    colours[5, : height // 3], colours[5, height // 3 : height // 2] = 255, 0
    images = [Image.fromarray(one) for one in colours]
    greys = [image.convert("L") for image in images]
    pixels = np.array([np.asarray(grey) for grey in greys])
    assert appearances(pixels) == [appearance(grey) for grey in greys]
    assert appearances(pixels, colours) == [appearance(*pair) for pair in zip(greys, images, strict=True)]
    for grey, found in zip(greys, appearances(pixels), strict=True):
        blank = np.ptp(np.asarray(grey).astype(int), axis=1) <= 12
        top = height if blank.all() else int((~blank).argmax())
        assert found.margin_top == pytest.approx(top / height, abs=1e-4)
        assert margins(np.asarray(grey))[1] == top
