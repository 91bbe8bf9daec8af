import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import WorkError
from clearmargin.mapped_rows import MappedRows


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(-30_000, 30_000, (50, 4, 3)).astype(np.int16)


@pytest.fixture
def rows(tmp_path: Path, values: np.ndarray) -> MappedRows:
    values.tofile(tmp_path / "rows.bin")
    return MappedRows(tmp_path / "rows.bin", values.shape, values.dtype)


@pytest.mark.parametrize("asked", [[3], [49, 0, 7, 7], list(range(50)), []])
def test_rows_come_in_the_order_asked_for(rows, values, asked):
    taken = rows.read(np.array(asked, dtype=np.int64))
    assert taken.dtype == np.int16
    assert np.array_equal(taken, values[asked] if asked else values[:0])


def test_what_is_read_is_a_copy(rows, values):
    taken = rows.read(np.array([1]))
    taken[:] = 0
    assert np.array_equal(rows.read(np.array([1])), values[[1]])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([50], "Rows 50 to 50 were asked for; rows.bin has 50 rows"),
        ([3, -1], "Rows -1 to 3 were asked for"),
        ([0.5], "list of whole numbers"),
        ([True, False], "list of whole numbers"),
        ([[1]], "list of whole numbers"),
    ],
)
def test_other_rows_are_refused(rows, asked, message):
    with pytest.raises(IndexError, match=message):
        rows.read(np.array(asked))


def test_pickled_rows_read_the_same(rows, values):
    again = pickle.loads(pickle.dumps(rows))
    assert (again.shape, again.dtype) == (rows.shape, rows.dtype)
    assert np.array_equal(again.read(np.array([5])), values[[5]])


def test_another_process_reads_the_same(rows, values):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(rows.read, np.array([5, 2])).result(), values[[5, 2]])


def test_threads_do_not_disturb_each_other(rows, values):
    order = [np.random.default_rng(seed).permutation(50) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        for asked, taken in zip(order, pool.map(rows.read, order), strict=True):
            assert np.array_equal(taken, values[asked])


def test_systems_without_positioned_reads(rows, values, monkeypatch):
    monkeypatch.delattr("os.preadv", raising=False)
    assert np.array_equal(rows.read(np.array([7, 3])), values[[7, 3]])


def test_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / "rows.bin").touch()
    assert MappedRows(tmp_path / "rows.bin", (0, 3), np.uint8).read(np.array([], int)).shape == (0, 3)


def test_a_file_of_another_size_is_refused(tmp_path):
    (tmp_path / "rows.bin").write_bytes(bytes(11))
    with pytest.raises(WorkError, match="damaged: expected 12 bytes, found 11"):
        MappedRows(tmp_path / "rows.bin", (4, 3), np.uint8)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WorkError, match=r"Could not open .*No such file"):
        MappedRows(tmp_path / "rows.bin", (4, 3), np.uint8)


def test_a_file_cut_off_in_use_is_noticed(rows):
    rows.path.write_bytes(b"")
    with pytest.raises(WorkError, match="cut off while it was in use"):
        rows.read(np.array([1]))


FLAT = """
import resource, sys
import numpy as np
from clearmargin.mapped_rows import MappedRows
rows = MappedRows(sys.argv[1], (2000, 150_000), np.uint8)
rows.read(np.arange(8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
order = np.random.default_rng(0).permutation(2000)
for start in range(0, 2000, 32):
    rows.read(order[start : start + 32])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_memory_stays_flat_over_a_large_file(tmp_path):
    path = tmp_path / "rows.bin"
    with path.open("wb") as file:
        for _ in range(20):
            file.write(bytes(100 * 150_000))
    run = subprocess.run([sys.executable, "-c", FLAT, str(path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 30  # of 300 MB
