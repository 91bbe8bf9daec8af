"""Arrays become the pictures they should, and an image the numbers it is made of."""

import io

import numpy as np
import pytest
from PIL import Image

from clearmargin.inside.matrix import SIDE, image_matrix
from clearmargin.inside.pictures import FILTER_PX, LOOK_PX, TILE_PX, filters_png, maps_png, overlay_jpeg, picture_png


def opened(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA")


def test_filters_zero_is_mid_grey_and_the_largest_weight_white_or_black():
    weights = np.zeros((2, 1, 3, 3), dtype=np.float32)
    weights[0, 0, 0, 0], weights[1, 0, 2, 2] = 0.3, -2
    sheet = np.asarray(opened(filters_png(weights)))
    side = FILTER_PX
    assert sheet.shape[0] == side
    assert sheet[2, 2].tolist() == [255, 255, 255, 255]
    assert sheet[side - 2, 2].tolist() == [128, 128, 128, 255]
    assert sheet[side - 2, -2].tolist() == [0, 0, 0, 255]
    assert sheet[2, side + 1, 3] == 0  # the gap is clear


def test_filters_of_colour_images_are_coloured_and_capped():
    weights = np.zeros((70, 3, 3, 3), dtype=np.float32)
    weights[:, 0] = 1
    sheet = np.asarray(opened(filters_png(weights)))
    assert sheet[2, 2].tolist() == [255, 128, 128, 255]
    assert sheet.shape[:2] == (4 * FILTER_PX + 3 * 4, 16 * FILTER_PX + 15 * 4)
    assert opened(filters_png(np.zeros((2, 5, 3, 3), dtype=np.float32))).size  # no channels that are colours


@pytest.mark.parametrize("side", [2, 7, 28, 84, 224, 300])
def test_maps_are_tiles_of_about_one_size(side):
    maps = np.random.default_rng(0).random((5, side, side))
    maps[4] = 3  # a constant one
    width, height = opened(maps_png(maps)).size
    assert TILE_PX / 2 < height <= TILE_PX
    assert width == 5 * height + 4 * 4
    assert len(maps_png(maps)) < 60_000


def test_the_heat_lies_where_the_map_is_high():
    image = np.full((64, 64, 3), 90, dtype=np.uint8)
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 3] = 7
    drawn = np.asarray(opened(overlay_jpeg(image, heat)), dtype=np.int64)[..., :3]
    warmth = drawn[..., 0] - drawn[..., 2]
    half = len(drawn) // 2
    assert warmth[: half // 2, -half // 2 :].mean() > 60
    assert abs(warmth[half:]).mean() < 3
    assert abs(warmth[:, :half]).mean() < 3


@pytest.mark.parametrize("shape", [(28, 28, 1), (16, 16, 3), (500, 500, 3)])
def test_overlays_and_pictures_have_a_bounded_size(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    heat = np.random.default_rng(1).random((3, 3)).astype(np.float32)
    assert LOOK_PX * 0.8 < max(opened(overlay_jpeg(image, heat)).size) <= LOOK_PX
    assert max(opened(picture_png(image)).size) == min(LOOK_PX, shape[0])


def test_a_small_grey_image_keeps_its_numbers():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    made = image_matrix(image)
    assert made["block_px"] == 1
    assert [channel["name"] for channel in made["channels"]] == ["gray"]
    np.testing.assert_array_equal(made["channels"][0]["rows"], image[..., 0])
    assert image_matrix(image.repeat(3, axis=2)) == made  # grey stored as colour


def test_a_small_colour_image_has_three_tables():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    channels = image_matrix(image)["channels"]
    assert [channel["name"] for channel in channels] == ["red", "green", "blue"]
    np.testing.assert_array_equal(np.stack([channel["rows"] for channel in channels], axis=2), image)


@pytest.mark.parametrize(("side", "block"), [(33, 3), (64, 2), (96, 3), (224, 7), (257, 9), (2048, 64)])
def test_a_large_image_is_averaged(side, block):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    made = image_matrix(image)
    rows = np.array(made["channels"][0]["rows"])
    assert made["block_px"] == block
    assert rows.shape == (side // block, side // block)
    assert rows.shape[0] <= SIDE
    assert rows[1, 2] == round(image[block : 2 * block, 2 * block : 3 * block].mean())
