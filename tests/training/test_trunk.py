import shutil
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clearmargin.errors import DiskError
from clearmargin.mapped_rows import ArrayRows
from clearmargin.models.inputs import to_input
from clearmargin.models.vgg16 import VGG16
from clearmargin.recipe import Augmentation, Contender
from clearmargin.training import trunk as trunk_module
from clearmargin.training.trunk import TrunkCache, state_digest

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CHANGES = Augmentation(flip_horizontal=True, rotate_degrees=10, brightness=0.1, noise=0.1)
ROWS = np.arange(20)
BATCH = 8


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(trunk_module, "MOST_AT_ONCE", BATCH)


def trunk(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    return layers.requires_grad_(False)


@pytest.fixture
def make(tmp_path, pictures):
    """A cache over 20 images of 8 pixels; ``made.images.reads`` says which were computed."""
    images = pictures(20)

    def make(seed=0, precision=torch.float32, key="images", mean=MEAN, view=0, augmentation=CHANGES):
        images.reads.clear()
        cache = TrunkCache(
            tmp_path,
            trunk(seed),
            images,
            key,
            mean,
            STD,
            precision,
            view=view,
            augmentation=augmentation,
        )
        cache.images = images
        return cache

    return make


def read(cache: TrunkCache, rows=ROWS) -> np.ndarray:
    """Activations as float32 (rows, channels, height, width)."""
    return torch.from_numpy(cache.read(np.asarray(rows))).view(torch.bfloat16).float().permute(0, 3, 1, 2).numpy()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cached_rows_equal_the_forward_pass_in_bfloat16(make, precision):
    cache = make(precision=precision)
    assert cache.compute(ROWS) == 20
    with torch.inference_mode():
        inputs = to_input(cache.images.values, MEAN, STD).to(precision)
        expected = trunk().to(precision)(inputs).to(torch.bfloat16).float().numpy()
    assert cache.shape == (20, 4, 4, 4)
    np.testing.assert_array_equal(read(cache), expected)


def test_computed_rows_are_not_computed_again(make):
    cache = make()
    assert cache.compute(np.array([3, 1])) == 2
    assert cache.compute(np.array([1, 2, 3, 4])) == 2
    assert cache.images.reads == [3, 1, 2, 4]
    again = make()  # as another process would
    assert again.compute(np.array([4, 3, 2, 1])) == 0
    assert again.images.reads == []
    assert again.compute(ROWS) == 16


def test_parts_are_computed_apart(make):
    train, test = np.arange(0, 20, 2), np.arange(1, 20, 2)
    cache = make()
    cache.compute(train)
    assert sorted(cache.images.reads) == train.tolist()
    with pytest.raises(ValueError, match="10 rows of the trunk cache are not computed yet"):
        cache.read(test)
    with pytest.raises(ValueError, match="1 rows"):
        cache.read(np.array([0, 1]))
    before = read(cache, train)
    cache.compute(test)
    np.testing.assert_array_equal(read(cache, train), before)


def test_of_large_images_fewer_are_computed_at_once(make, monkeypatch):
    monkeypatch.setattr(trunk_module, "MOST_AT_ONCE", 16)
    assert make().batch_size == 16
    sizes = {}
    for side in (112, 224, 300, 1024):
        cache = TrunkCache.__new__(TrunkCache)
        cache._images = ArrayRows(np.empty((1, side, side, 3), np.uint8))
        sizes[side] = cache.batch_size
    assert sizes == {112: 16, 224: 16, 300: 8, 1024: 1}


@pytest.mark.parametrize("view", [0, 1])
def test_equal_images_are_computed_once_unless_they_are_changed_by_lot(make, monkeypatch, view):
    cache, computed = make(view=view), []
    cache.images.values[[3, 9, 15]] = cache.images.values[1]
    original = cache._pass

    def counted(network, rows, images):
        computed.extend(rows.tolist())
        return original(network, rows, images)

    monkeypatch.setattr(cache, "_pass", counted)
    cache.compute(ROWS[:12])
    cache.compute(ROWS)  # 15 was not asked for before: nothing is remembered between two calls
    assert sorted(computed) == ([row for row in range(20) if row not in (3, 9)] if view == 0 else ROWS.tolist())
    equal = read(cache, [1, 3, 9, 15])
    assert (equal == equal[0]).all() == (view == 0)
    again = make(view=view)
    again.images.values[[3, 9, 15]] = again.images.values[1]
    assert again.compute(ROWS) == 0
    np.testing.assert_array_equal(read(again), read(cache))


def test_progress_counts_what_is_missing(make):
    cache, seen = make(), []
    cache.compute(np.array([5]))
    cache.compute(ROWS, lambda *args: seen.append(args))
    assert seen == [(8, 19, ""), (16, 19, ""), (19, 19, "")]
    cache.compute(ROWS, lambda *args: seen.append(args))
    assert len(seen) == 3


def test_an_interrupted_pass_goes_on(make):
    def stop(done, total, note):
        if done == 2 * BATCH:
            raise KeyboardInterrupt

    cache = make()
    with pytest.raises(KeyboardInterrupt):
        cache.compute(ROWS, stop)
    again = make()
    assert again.compute(ROWS) == 20 - 2 * BATCH
    whole = make(key="others")
    whole.compute(ROWS)
    np.testing.assert_array_equal(read(again), read(whole))


KILLED = """
import os, sys
import numpy as np, torch
from pathlib import Path
from torch import nn
from clearmargin.mapped_rows import MappedRows
from clearmargin.training import trunk
trunk.SYNC_EVERY, trunk.MOST_AT_ONCE = 1, 8
folder = Path(sys.argv[1])
np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8).tofile(folder / "images")
torch.manual_seed(0)
layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
images = MappedRows(folder / "images", (20, 8, 8, 3), np.uint8)
cache = trunk.TrunkCache(folder, layers, images, "images", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), torch.float32)

def write_and_die(path, content, write=trunk.write_bytes):
    write(path, content)
    os._exit(9)

trunk.write_bytes = write_and_die
cache.compute(np.arange(20))
"""


def test_what_a_killed_process_marked_is_whole(make, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == 9
    cache = make()
    assert cache.compute(ROWS) == 12  # the first batch was on the disk, marked and whole
    whole = make(key="others")
    whole.compute(ROWS)
    np.testing.assert_array_equal(read(cache), read(whole))


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["activations.bin", "checksums.bin"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "zeros", "noise"])
def test_a_damaged_file_is_made_anew(make, tmp_path, name, damage):
    cache = make()
    cache.compute(ROWS)
    sound = read(cache)
    path = files(tmp_path)[name]
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        noise = np.random.default_rng(1).bytes(len(content))
        damaged = {"empty": b"", "cut": content[:-1], "longer": content + b"x", "zeros": bytes(len(content))}
        path.write_bytes(damaged.get(damage, noise))
    again = make()
    with pytest.raises(ValueError, match="not computed yet"):
        again.read(ROWS)
    assert again.compute(ROWS) == 20
    np.testing.assert_array_equal(read(again), sound)


def test_one_damaged_row_is_computed_again(make, tmp_path):
    cache = make()
    cache.compute(ROWS)
    sound = read(cache)
    path = files(tmp_path)["activations.bin"]
    content = bytearray(path.read_bytes())
    content[7 * len(content) // 20 + 3] ^= 1
    path.write_bytes(content)
    again = make()
    assert again.compute(ROWS) == 1
    assert again.images.reads == [7]
    np.testing.assert_array_equal(read(again), sound)


def test_two_at_work_on_the_same_images_do_not_disturb_each_other(make):
    first, second = make(), make()
    first.compute(np.arange(10))
    second.compute(np.arange(5, 20))
    np.testing.assert_array_equal(read(first, range(5, 10)), read(second, range(5, 10)))
    third = make()
    assert third.compute(ROWS) == 0
    np.testing.assert_array_equal(read(third, range(10)), read(first, range(10)))
    np.testing.assert_array_equal(read(third, range(5, 20)), read(second, range(5, 20)))


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"key": "other images"}, {"mean": (0, 0, 0)}, {"precision": torch.bfloat16}, {"view": 1}],
)
def test_whatever_changes_the_activations_changes_the_place(make, tmp_path, other):
    make().compute(ROWS)
    assert make(**other).compute(ROWS) == 20
    assert len(list((tmp_path / "trunk").iterdir())) == 2
    assert make().compute(ROWS) == 0


def test_what_does_not_change_the_activations_does_not_change_the_place(make):
    make(augmentation=Augmentation()).compute(ROWS)
    assert make(augmentation=CHANGES).compute(ROWS) == 0  # view 0 shows the images as they are
    make(view=1).compute(ROWS)
    more_views = CHANGES.model_copy(update={"cached_views": 5})
    assert make(view=1, augmentation=more_views).compute(ROWS) == 0
    assert make(view=1, augmentation=Augmentation(noise=0.5)).compute(ROWS) == 20


def test_views_differ_and_do_not_depend_on_who_else_is_computed(make):
    whole = [make(view=view, key="whole") for view in (0, 1, 2)]
    for cache in whole:
        cache.compute(ROWS)
    assert not any(np.array_equal(read(one), read(two)) for one, two in pairwise(whole))
    pieces = make(view=1, key="pieces")
    for rows in ([7], [3, 19, 2], np.setdiff1d(ROWS, [2, 3, 7, 19])[::-1]):
        pieces.compute(np.asarray(rows))
    np.testing.assert_array_equal(read(pieces), read(whole[1]))


def test_activations_do_not_depend_on_who_else_is_computed(make, monkeypatch):
    """A network that computes otherwise for every size of a batch, as libraries may in the last digits."""

    class Odd(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + len(inputs)

    plain = trunk()
    monkeypatch.setitem(globals(), "trunk", lambda seed: nn.Sequential(*plain, Odd()))
    whole, pieces, copies = make(key="whole"), make(key="pieces"), make(key="copies")
    whole.compute(ROWS)
    for rows in ([7], [3, 19, 2], np.setdiff1d(ROWS, [2, 3, 7, 19])[::-1]):
        pieces.compute(np.asarray(rows))
    np.testing.assert_array_equal(read(pieces), read(whole))
    values = copies.images.values
    values[[0, 5, 6, 11]] = values[4]  # four images fewer fill the batches
    copies.compute(ROWS)
    others = np.setdiff1d(ROWS, [0, 5, 6, 11])
    np.testing.assert_array_equal(read(copies, others), read(whole, others))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_vgg16_gives_the_same_bits_whoever_shares_the_batch(tmp_path, pictures, precision):
    torch.manual_seed(0)
    layers = VGG16(Contender(name="VGG16", architecture="vgg16", freeze_through="block2"), (3, 32, 32), 2).trunk
    images = pictures(20, side=32)

    def computed(key: str, *parts: np.ndarray) -> np.ndarray:
        cache = TrunkCache(tmp_path, layers, images, key, MEAN, STD, precision)
        for rows in parts:
            cache.compute(rows)
        return cache.read(ROWS)

    whole = computed("whole", ROWS)
    np.testing.assert_array_equal(computed("parts", ROWS[15:], ROWS[3:4], ROWS[:3], ROWS[4:15]), whole)


def test_of_two_processes_one_computes_and_the_other_finds_it_done(make, caplog):
    first, second = make(), make()
    counts = []

    def come_second(done: int, total: int, note: str) -> None:
        if done == BATCH:
            thread.start()
            while not caplog.messages:
                time.sleep(0.01)

    thread = threading.Thread(target=lambda: counts.append(second.compute(ROWS[5:])))
    assert first.compute(ROWS, come_second) == 20
    thread.join()
    assert counts == [0]
    assert sorted(first.images.reads) == ROWS.tolist()
    assert caplog.messages == ["Another process computes the frozen layers of these images: waiting for it."]
    np.testing.assert_array_equal(read(second, ROWS[5:]), read(first, ROWS[5:]))


def test_a_slower_process_does_not_unmark_what_a_faster_one_did(make):
    slow, fast = make(), make()
    fast.compute(ROWS[:10])
    assert slow.compute(ROWS) == 10
    assert make().compute(ROWS) == 0


def test_a_cache_that_was_cleared_in_use_is_one_plain_error(make, tmp_path):
    cache = make()
    cache.compute(ROWS[:5])
    shutil.rmtree(tmp_path / "trunk")
    make().compute(ROWS[5:10])  # another process lays it out anew
    with pytest.raises(DiskError, match=r"were removed while in use: go on with --resume"):
        cache.compute(ROWS)


def test_the_digest_is_over_names_shapes_and_values():
    one = state_digest(trunk())
    assert one == state_digest(trunk())
    assert one != state_digest(trunk(1))
    changed = trunk()
    changed[0].bias[0] += 1e-6
    assert one != state_digest(changed)


def test_a_full_disk_is_one_plain_error(make, monkeypatch):
    cache = make()
    cache.compute(np.arange(3))

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", refuse)
        with pytest.raises(DiskError, match=r"trunk's activations \(No space left on device\).*CLEARMARGIN_CACHE"):
            cache.compute(ROWS)
    assert make().compute(ROWS) == 17


def test_a_cache_that_can_not_be_made_is_one_plain_error(tmp_path, pictures):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="Could not write"):
        TrunkCache(tmp_path / "file", trunk(), pictures(2), "images", MEAN, STD, torch.float32)
