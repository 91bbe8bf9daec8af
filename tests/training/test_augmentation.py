import numpy as np
import pytest
import torch

from clearmargin.recipe import Augmentation
from clearmargin.training.augmentation import alternately, augment

EVERYTHING = Augmentation(
    flip_horizontal=True,
    flip_vertical=True,
    rotate_degrees=20,
    shift_fraction=0.1,
    shift_px=2,
    scale_fraction=0.1,
    brightness=0.2,
    contrast=0.2,
    noise=0.1,
    cutout_fraction=0.25,
)


def images(batch=32, side=16, dtype=torch.float32) -> torch.Tensor:
    made = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return made.contiguous(memory_format=torch.channels_last)


def changed(inputs, seed=0, **settings) -> torch.Tensor:
    return augment(inputs, Augmentation(**settings), torch.Generator().manual_seed(seed))


def test_the_same_state_gives_the_same_images_and_another_others():
    first, again, other = (
        augment(images(), EVERYTHING, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )  # fmt: skip
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_settings_nothing_changes():
    assert torch.equal(changed(images()), images())
    assert not Augmentation().active
    assert EVERYTHING.active


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [Augmentation(), EVERYTHING, Augmentation(noise=0.1), Augmentation(contrast=0.5)])
def test_shape_and_type_are_kept_and_channels_last(dtype, settings):
    inputs = images(dtype=dtype)
    outputs = augment(inputs, settings, torch.Generator().manual_seed(0))
    assert (outputs.shape, outputs.dtype) == (inputs.shape, inputs.dtype)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inputs, images(dtype=dtype))  # what went in is left as it is
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize(
    ("settings", "mirrors"),
    [
        ({"flip_horizontal": True}, [(), (3,)]),
        ({"flip_vertical": True}, [(), (2,)]),
        ({"flip_horizontal": True, "flip_vertical": True}, [(), (2,), (3,), (2, 3)]),
    ],
)
def test_flips_are_exact_mirror_images(settings, mirrors):
    inputs = images(batch=64)
    outputs = changed(inputs, **settings)
    found = [
        [torch.equal(output, image.flip([axis - 1 for axis in axes])) for axes in mirrors]
        for image, output in zip(inputs, outputs, strict=True)
    ]
    assert all(sum(matches) == 1 for matches in found)
    assert np.array(found).mean(axis=0) == pytest.approx(1 / len(mirrors), abs=0.2)  # each as often


@pytest.mark.parametrize(
    "setting", ["rotate_degrees", "shift_fraction", "scale_fraction", "brightness", "contrast", "noise"]
)
def test_each_image_of_a_batch_is_changed_differently(setting):
    same = images(batch=1).expand(16, -1, -1, -1)
    outputs = changed(same, **{setting: 0.3})
    assert len({output.numpy().tobytes() for output in outputs}) == 16
    assert not torch.equal(outputs, same)


def test_movement_stays_within_the_values_of_the_image():
    inputs = images()
    outputs = changed(inputs, rotate_degrees=180, shift_fraction=0.5, scale_fraction=0.5)
    for image, output in zip(inputs, outputs, strict=True):
        assert image.min() - 1e-5 <= output.min()
        assert output.max() <= image.max() + 1e-5


def test_no_edge_appears_where_nothing_was():
    ones = torch.ones(8, 1, 12, 12)
    assert torch.allclose(changed(ones, rotate_degrees=45, shift_fraction=0.5, scale_fraction=0.5), ones)


def centre(image: torch.Tensor) -> tuple[float, float]:
    """Centre of mass in pixels: down, right."""
    places = torch.arange(image.shape[-1], dtype=torch.float32)
    mass = image.sum()
    return (float((image.sum(dim=1) * places).sum() / mass), float((image.sum(dim=0) * places).sum() / mass))


def test_shifts_are_of_the_asked_for_share_of_the_side():
    dot = torch.zeros(64, 1, 40, 40)
    dot[:, :, 18:22, 18:22] = 1
    moved = torch.tensor([centre(image[0]) for image in changed(dot, shift_fraction=0.1)]) - 19.5
    assert moved.abs().max() <= 4.01
    assert moved.abs().max() > 3  # of 128 draws
    assert moved.mean(dim=0).abs().max() < 1


@pytest.mark.parametrize("most", [1, 3, 16])  # more than the side: mirrored again and again
def test_whole_pixels_are_moved_and_the_border_mirrors(most):
    inputs = images(batch=200, side=12)
    padded = np.pad(inputs.numpy(), ((0, 0), (0, 0), (most, most), (most, most)), mode="reflect")
    moves = set()
    for image, output in zip(padded, changed(inputs, shift_px=most).numpy(), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (12, 12), axis=(1, 2))
        found = np.argwhere((windows == output[:, None, None]).all(axis=(0, 3, 4)))
        assert len(found) >= 1
        moves.add(tuple(found[0] - most))
    if most == 1:
        assert moves == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    assert len(moves) > most


@pytest.mark.parametrize("side", [1, 5, 10])
def test_one_square_of_the_asked_for_size_is_left_out_anywhere_inside(side):
    ones = torch.ones(400, 3, 12, 12)
    outputs = changed(ones, cutout_fraction=side / 12)
    corners = set()
    for output in outputs:
        down, right = np.nonzero(output[0].numpy() == 0)
        corners.add((int(down.min()), int(right.min())))
        expected = torch.ones(12, 12)
        expected[down.min() : down.min() + side, right.min() : right.min() + side] = 0
        assert torch.equal(output, expected.expand(3, -1, -1))
    for axis in range(2):
        assert {corner[axis] for corner in corners} == set(range(12 - side + 1))
    assert ((changed(ones, cutout_fraction=0.01) == 0).sum(dim=(2, 3)) == 1).all()  # never less than a pixel


def test_which_half_is_flipped_first_is_by_lot():
    rows = np.arange(4000)
    first, other = (alternately(rows, seed, 0).numpy() for seed in (1, 2))
    for sides in (first, other):
        assert abs(sides.mean() - 0.5) < 0.03
        for apart in range(1, 20):  # neither neighbours nor those of a regular pattern share a side
            assert abs((sides[apart:] == sides[:-apart]).mean() - 0.5) < 0.04
    assert abs((first == other).mean() - 0.5) < 0.04
    assert np.array_equal(alternately(rows, 1, 7).numpy(), ~first)
    assert np.array_equal(alternately(rows[::7], 1, 2).numpy(), first[::7])


def test_turns_keep_the_distance_from_the_middle():
    dot = torch.zeros(64, 1, 41, 41)
    dot[:, :, 8:11, 19:22] = 1  # 11 pixels above the middle
    moved = torch.tensor([centre(image[0]) for image in changed(dot, rotate_degrees=30)]) - 20
    angle = torch.atan2(moved[:, 1], -moved[:, 0]).rad2deg()
    assert moved.norm(dim=1) == pytest.approx(torch.full((64,), 11.0), abs=0.2)
    assert angle.abs().max() <= 31
    assert angle.min() < -20
    assert angle.max() > 20


def test_brightness_contrast_and_noise_are_of_the_asked_for_size():
    inputs = images(batch=64, side=24)
    means, stds = inputs.mean(dim=(1, 2, 3)), inputs.std(dim=(1, 2, 3))
    brighter = changed(inputs, brightness=0.5)
    shift = brighter.mean(dim=(1, 2, 3)) - means
    assert 0.4 < shift.abs().max() <= 0.501
    assert torch.allclose(brighter.std(dim=(1, 2, 3)), stds, atol=1e-5)
    gain = changed(inputs, contrast=0.5).std(dim=(1, 2, 3)) / stds
    assert 0.499 <= gain.min() < 0.6
    assert 1.4 < gain.max() <= 1.501
    assert (changed(inputs, noise=0.5) - inputs).std().item() == pytest.approx(0.5, rel=0.02)
