"""The files of decoded pixels: what is in them, and how damage to them is noticed.

In the folder of a store lie ``pixels.bin``, uint8, one row after the other; ``miniatures.bin``, the same of small grey
pictures; ``facts.json``, what is known of every row and what could not be read; and ``checksums.bin``, by which all of
it is checked: the SHA-256 of ``facts.json``, a CRC-32 for each row of pixels and of miniatures, and the SHA-256 of
these. A row is compared with its own when it is read for the first time in a process: opening a store stays quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import DamagedStoreError, DiskError, WorkError
from clearmargin.mapped_rows import MappedRows
from clearmargin.miniature import SIDE_PX

PIXELS, MINIATURES, FACTS, CHECKSUMS = "pixels.bin", "miniatures.bin", "facts.json", "checksums.bin"
_DIGEST = 32  # bytes of SHA-256
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # another error of the system may pass


@dataclass(frozen=True)
class PixelStore:
    """A store that is whole, as far as that is known without reading its rows.

    Attributes
    ----------
    rows
        uint8 of shape (images, height, width, channels).
    miniatures
        uint8 of shape (images, side, side).
    facts
        A row for each image, with its ``name``.
    unreadable
        Reasons by name.
    """

    rows: MappedRows
    miniatures: MappedRows
    facts: pd.DataFrame
    unreadable: dict[str, str]


def read_store(folder: Path) -> PixelStore | None:
    """A store; None when there is none.

    Raises
    ------
    DamagedStoreError
        When what is there is not what was written.
    WorkError
        When the system can't read it at the moment, which says nothing of what was written.
    """
    try:
        if not folder.is_dir():
            return None
        checksums = _whole(folder / CHECKSUMS)
        content = (folder / FACTS).read_bytes()
        if hashlib.sha256(content).digest() != checksums[:_DIGEST]:
            raise ValueError(f"{FACTS} is not as it was written")
        page = json.loads(content)
        of_pixels, of_miniatures = np.frombuffer(checksums[_DIGEST:], "<u4").reshape(2, -1)
        names = pd.Series(page["facts"]["name"], dtype=object)  # a name that is not Unicode must pass
        return PixelStore(
            rows=MappedRows(folder / PIXELS, page["shape"], np.uint8, of_pixels),
            miniatures=MappedRows(folder / MINIATURES, (len(names), SIDE_PX, SIDE_PX), np.uint8, of_miniatures),
            facts=pd.DataFrame({column: _quick(said) for column, said in page["facts"].items()} | {"name": names}),
            unreadable=page["unreadable"],
        )
    except OSError as error:
        raise _unreadable(folder, error) from error
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedStoreError(f"The decoded images in {folder} are damaged ({error}).") from error
    except DamagedStoreError as error:
        raise DamagedStoreError(f"The decoded images in {folder} are damaged ({error.damage[:-1]}).") from error
    except WorkError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise _unreadable(folder, error.__cause__) from error


def _quick(column: list[Any]) -> list[Any] | np.ndarray:
    """Numbers as an array, which pandas takes in half the time of a list."""
    return np.array(column) if {*map(type, column)} in ({int}, {float}) else column


def _unreadable(folder: Path, error: OSError) -> WorkError:
    reason = error.strerror or str(error)
    if isinstance(error, _NOT_THERE):
        return DamagedStoreError(f"The decoded images in {folder} are damaged ({reason}).")
    return WorkError(
        f"The decoded images in {folder} can't be read at the moment ({reason}). Nothing was removed: try again. If it "
        "stays so, delete that folder; the images are decoded again on the next run."
    )


def _whole(path: Path) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise ValueError(f"{path.name} is not as it was written")
    return content[:-_DIGEST]


def write_facts(folder: Path, page: dict[str, Any], of_pixels: Sequence[int], of_miniatures: Sequence[int]) -> None:
    """Write ``facts.json``, and ``checksums.bin`` with the CRC-32 of each row of the two files of rows.

    Parameters
    ----------
    page
        ``shape``, ``facts`` by column, ``unreadable``.
    """
    content = json.dumps(page).encode("ascii")
    (folder / FACTS).write_bytes(content)
    checksums = hashlib.sha256(content).digest() + np.array([of_pixels, of_miniatures], "<u4").tobytes()
    (folder / CHECKSUMS).write_bytes(checksums + hashlib.sha256(checksums).digest())


class MendedRows:
    """Rows of a store that is made again when one of them is damaged: implements `records.Rows`.

    Parameters
    ----------
    mend
        Given what is damaged and a way to try whether rows are sound, opens the rows anew.
    """

    def __init__(self, rows: MappedRows, mend: Callable[[DamagedStoreError, np.ndarray], MappedRows]) -> None:
        self._rows, self._mend = rows, mend
        self.shape, self.dtype = rows.shape, rows.dtype

    def __reduce__(self) -> tuple:
        return self._rows.__reduce__()  # elsewhere there is nothing to make them of

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copy rows out, in the order asked for.

        Raises
        ------
        ClearmarginError
            When they are damaged and can't be made again.
        """
        try:
            return self._rows.read(rows)
        except DamagedStoreError as damage:
            try:
                self._rows = self._mend(damage, rows)
            except DiskError as error:
                raise DiskError(f"{damage.damage} It could not be made again. {error}") from damage
            return self._rows.read(rows)
