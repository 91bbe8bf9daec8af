"""From what the user typed to a path that is there, or an error that helps."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from pathlib import Path

from clearmargin.errors import SourceError
from clearmargin.sources.catalogue import catalogue, find, not_found, resolve
from clearmargin.sources.container import damaged
from clearmargin.sources.datasets import Dataset

_COMPARED_NAMES = 10_000


def locate(data: str | Path) -> Path | Dataset:
    """Existing path of what was asked for, or the record of a data set that is made on the fly.

    Raises
    ------
    SourceError
        Nothing is there; names the nearest name that is.
    """
    dataset = find(data) if isinstance(data, str) else None
    if dataset is None:
        return _existing(data)
    path = resolve(dataset.name)
    if path is not None:
        return path
    if not dataset.files:
        return dataset
    raise not_found(dataset)


def _existing(data: str | Path) -> Path:
    if not str(data).strip():
        raise SourceError(
            "No data given: the path is empty. Expected a folder, an archive, a CSV file or a catalogue name."
        )
    if "://" in str(data):
        raise SourceError(f"{data} is an address on the network; nothing is fetched. Download it and give the file.")
    try:
        path = Path(data).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"There is no {data}.{_suggestion(path, str(data))}") from error
    except ValueError as error:
        raise SourceError(f"{str(data)!r} can't be a path ({error}).") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        raise damaged(Path(data), error) from error
    return path


def _suggestion(path: Path, typed: str) -> str:
    """Nearest name beside the first missing piece of the path, or in the catalogue."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    near = difflib.get_close_matches(missing.name, _names_in(missing.parent), n=1)
    if near:
        return f" Did you mean {missing.parent / near[0]}?"
    names = [dataset.name for dataset in catalogue()]
    known = difflib.get_close_matches(typed, names, n=1)
    if known:
        return f" Did you mean the data set {known[0]!r} of the catalogue?"
    return f" Expected a path, or one of the catalogue: {', '.join(names)}."


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _COMPARED_NAMES)]
    except OSError:
        return []
