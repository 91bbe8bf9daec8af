"""A raw file of rows that stays on disk and is read row by row."""

from __future__ import annotations

import math
import os
import threading
import weakref
import zlib
from pathlib import Path

import numpy as np

from clearmargin.errors import DamagedStoreError, WorkError
from clearmargin.records import Rows

_REMEDY = "Delete the folder it lies in; it is made again on the next run."


class MappedRows:
    """Rows of a raw file, read when asked for: implements `records.Rows`, can be pickled and forked.

    The rows are copied by positioned reads out of the system's file cache. A memory map would be a little
    faster, but where the file system keeps large folios one touched page maps megabytes, and the resident
    memory of a process that visits rows at random grows to the size of the file.

    Parameters
    ----------
    path
        File that holds exactly ``shape`` values of ``dtype`` in C order.
    shape
        (rows, …).
    checksums
        CRC-32 of each row, uint32 of shape (rows,): a row is compared with its own the first time it is read in a
        process. Nothing is compared when None.

    Raises
    ------
    WorkError
        When the file is missing; a `DamagedStoreError` when it has another size.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype | str | type,
        checksums: np.ndarray | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.shape = tuple(int(length) for length in shape)
        self.dtype = np.dtype(dtype)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise WorkError(f"Could not open {self.path}: {error.strerror or error}.") from error
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._check_size(os.fstat(self._descriptor).st_size)
        self._checksums = checksums
        self._sound = np.zeros(self.shape[0], dtype=bool)  # compared, and as they were written

    def _check_size(self, found: int) -> None:
        expected = self.shape[0] * self._row_bytes
        if found != expected:
            raise DamagedStoreError(f"{self.path} is damaged: expected {expected:,} bytes, found {found:,}.", _REMEDY)

    def __reduce__(self) -> tuple:
        return MappedRows, (self.path, self.shape, self.dtype, self._checksums)

    def __repr__(self) -> str:
        return f"MappedRows({self.path.name}, {self.shape}, {self.dtype})"

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copy rows out, in the order asked for: shape (len(rows), …).

        Raises
        ------
        IndexError
            When a row is outside 0 … ``shape[0] - 1``; negative numbers do not count from the end.
        WorkError
            When the file can't be read any more; a `DamagedStoreError` when it was cut off, or when a row is not as
            it was written.
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"Rows are asked for by a list of whole numbers, got {rows.dtype} of shape {rows.shape}.")
        if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):
            raise IndexError(
                f"Rows {rows.min()} to {rows.max()} were asked for; {self.path.name} has {self.shape[0]:,} rows."
            )
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if taken.size:
            target = taken.reshape(-1).data.cast("B")
            for place, row in enumerate(rows.tolist()):
                self._read_row(target[place * self._row_bytes : (place + 1) * self._row_bytes], row)
            if self._checksums is not None:
                self._compare(rows, target, self._checksums)
        return taken

    def _compare(self, rows: np.ndarray, content: memoryview, checksums: np.ndarray) -> None:
        """Compare those rows of what was read that have not been compared yet with their checksums."""
        sound = self._sound[rows]
        if sound.all():
            return
        for place in np.flatnonzero(~sound).tolist():
            row = int(rows[place])
            if zlib.crc32(content[place * self._row_bytes : (place + 1) * self._row_bytes]) != checksums[row]:
                raise DamagedStoreError(f"{self.path} is damaged: row {row:,} is not as it was written.", _REMEDY)
            self._sound[row] = True

    def _read_row(self, target: memoryview, row: int) -> None:
        done = 0
        while done < len(target):  # a read may give less than asked for
            try:
                count = self._read_into(target[done:], row * self._row_bytes + done)
            except OSError as error:
                raise WorkError(f"Could not read {self.path}: {error.strerror or error}.") from error
            if count == 0:
                raise DamagedStoreError(f"{self.path} was cut off while it was in use.", "Run again.")
            done += count

    def _read_into(self, target: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [target], offset)
        with self._lock:  # Windows: moving to the place and reading are two steps
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            content = os.read(self._descriptor, len(target))
        target[: len(content)] = content
        return len(content)


class Subset:
    """Some rows of others, numbered from 0."""

    def __init__(self, rows: Rows, index: np.ndarray) -> None:
        self._rows, self._index = rows, index
        self.shape = (len(index), *rows.shape[1:])
        self.dtype = rows.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read rows by their number in this subset."""
        return self._rows.read(self._index[rows])


class ArrayRows:
    """Rows of an array that is in memory anyway: implements `records.Rows`."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copy rows out, in the order asked for."""
        return self._values[rows]
