import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.columns import column_statistics
from clearmargin.models import precision
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, channel_statistics, to_input
from clearmargin.models.precision import choose_precision, fastest_precision


class Array:
    """Rows in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.largest = 0

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(rows))
        return self.values[rows]


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.1, 0.0, 1.0), (1.0, 1e-3, 0.5))])
def test_inputs_equal_the_formula(mean, std):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    inputs = to_input(pixels, mean, std)
    expected = (pixels.astype(np.float64) / 255 - np.array(mean)) / np.array(std)  # (batch, height, width, channels)
    assert inputs.dtype == torch.float32
    assert inputs.shape == (4, 3, 5, 6)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(inputs.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=2e-6 / min(std))


def test_inputs_of_one_channel_and_of_pixels_not_in_order():
    pixels = np.arange(96, dtype=np.uint8).reshape(2, 6, 8, 1)
    expected = pixels[:, ::2, ::-1].transpose(0, 3, 1, 2) / 255 / 0.5 - 0.5
    inputs = to_input(pixels[:, ::2, ::-1], (0.25,), (0.5,))
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-6)
    assert pixels[0, 0, 1, 0] == 1  # the pixels are left as they are


@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_statistics_equal_those_of_all_pixels_at_once(images, chunk, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 4, 3, channels), dtype=np.uint8)
    rows = Array(pixels)
    mean, std = channel_statistics(rows, chunk)
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 1, 2)), atol=1e-9)
    assert rows.largest <= chunk


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_channel_is_not_blown_up(value):
    pixels = np.full((300, 4, 4, 1), value, dtype=np.uint8)
    mean, std = channel_statistics(Array(pixels))
    assert mean == pytest.approx((value / 255,))
    assert std == (1e-3,)
    assert to_input(pixels[:1], mean, std).abs().max() < 1e-3


@pytest.mark.parametrize("values", [1.7e12 + np.arange(99.0), np.arange(99) * 1e-200, np.arange(-49, 50) * 1e98])
def test_columns_of_any_size_are_standardised(values):
    mean, std = column_statistics(Array(values[:, None]))
    inputs = to_input(values[:, None], mean, std)
    assert inputs.dtype == torch.float32
    assert inputs.shape == (99, 1, 1)
    assert inputs.std(correction=0).item() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(np.diff(inputs[:, 0, 0]), 1 / np.arange(99).std(), rtol=1e-3)


def test_a_column_that_never_changes_is_zero_whatever_comes_later():
    mean, std = column_statistics(Array(np.full((9, 1), 0.1)))
    assert std == (0.0,)
    assert to_input(np.array([[0.1], [41_360.0]]), mean, std).tolist() == [[[0.0]], [[0.0]]]


def test_a_value_far_off_is_still_a_number():
    assert to_input(np.array([[1e100]]), (0.0,), (1e-100,)).item() == pytest.approx(1e18)


def test_precision_is_what_was_asked_for_or_measured():
    assert choose_precision("float32") == torch.float32
    assert choose_precision("bfloat16") == torch.bfloat16
    assert choose_precision("auto") == fastest_precision() in (torch.float32, torch.bfloat16)
    assert choose_precision("auto") == choose_precision("auto")  # one answer a process


def test_a_machine_keeps_its_answer(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    raced = []

    def race() -> torch.dtype:
        raced.append(torch.bfloat16 if not raced else torch.float32)  # it falls otherwise the second time
        return raced[-1]

    monkeypatch.setattr(precision, "_measured", race)
    fastest_precision.cache_clear()
    for content in (None, None, "damaged", "[]"):
        if content is not None:
            (tmp_path / "precision.json").write_text(content)
        fastest_precision.cache_clear()
        assert fastest_precision() == (torch.float32 if content else torch.bfloat16)
    assert len(raced) == 3  # at first, and each time the file was damaged
    fastest_precision.cache_clear()


def test_of_two_processes_the_first_answer_is_right_for_both(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    answers = {"quick": torch.bfloat16, "slow": torch.float32}
    found, racing = {}, threading.Event()

    def race() -> torch.dtype:
        name = threading.current_thread().name
        if name == "quick":
            racing.set()
            time.sleep(0.2)  # the other has looked, found nothing, and waits
        return answers[name]

    monkeypatch.setattr(precision, "_measured", race)

    def measure() -> None:
        found[threading.current_thread().name] = fastest_precision.__wrapped__()

    threads = [threading.Thread(target=measure, name=name) for name in ("quick", "slow")]
    threads[0].start()
    racing.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert found == {"quick": torch.bfloat16, "slow": torch.bfloat16}


def test_where_nothing_can_be_kept_it_is_measured(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "file"))
    raced = []
    monkeypatch.setattr(precision, "_measured", lambda: raced.append(1) or torch.bfloat16)
    assert fastest_precision.__wrapped__() == torch.bfloat16
    assert raced == [1]


def test_little_work_is_done_in_float32_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("clearmargin.models.precision.fastest_precision", lambda: torch.bfloat16)
    assert choose_precision("auto", little_work=True) == torch.float32
    assert choose_precision("auto") == torch.bfloat16
    assert choose_precision("bfloat16", little_work=True) == torch.bfloat16
