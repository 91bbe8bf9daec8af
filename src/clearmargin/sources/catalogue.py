"""Data sets by name: whether a copy is on this machine, whether it is right, and how to get one.

A name is looked for in the program itself, in the folder that ``CLEARMARGIN_DATA`` names, and among what
``clearmargin data get`` put into the cache, in this order. Nothing here reaches for the network but `fetch`.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clearmargin.cache import cache_folder
from clearmargin.downloads import Progress, RemoteFile, download, mismatch
from clearmargin.errors import SourceError
from clearmargin.records import Finding
from clearmargin.sources.datasets import DATASETS, Dataset

FOLDER_VARIABLE = "CLEARMARGIN_DATA"


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A copy of a data set on this machine.

    Attributes
    ----------
    dataset
        What it really is: for a name whose stand-in is taken, the stand-in.
    path
        File or folder to open.
    place
        ``program``, ``folder`` (that ``CLEARMARGIN_DATA`` names), ``cache``, or ``chosen`` (by ``--out``).
    """

    dataset: Dataset
    path: Path
    place: Literal["program", "folder", "cache", "chosen"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a copy is the published one.

    Attributes
    ----------
    state
        ``verified``; ``unverified`` when there is nothing published to compare with; ``differs``.
    reason
        For one that differs: which file, expected and got.
    """

    state: Literal["verified", "unverified", "differs"]
    reason: str = ""


def catalogue() -> tuple[Dataset, ...]:
    """All named data sets."""
    return DATASETS


def find(name: str) -> Dataset | None:
    """Return the data set of that name, if there is one."""
    return next((dataset for dataset in DATASETS if dataset.name == name), None)


def named(name: str) -> Dataset:
    """Return the data set of that name.

    Raises
    ------
    SourceError
        There is none; names the nearest.
    """
    dataset = find(name)
    if dataset is None:
        names = [known.name for known in DATASETS]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SourceError(f"There is no data set {name!r} in the catalogue: expected one of {', '.join(names)}.{hint}")
    return dataset


def resolve(name: str) -> Path | None:
    """Path of a named data set's copy on this machine, or of its stand-in's, if there is one."""
    copy = local_copy(name)
    return None if copy is None else copy.path


def local_copy(name: str) -> LocalCopy | None:
    """Copy of a named data set on this machine, or of its stand-in."""
    dataset = find(name)
    if dataset is None:
        return None
    if dataset.packaged is not None:
        return LocalCopy(dataset, dataset.packaged, "program")
    if (path := _in_folder(dataset)) is not None:
        return LocalCopy(dataset, path, "folder")
    if (path := _in_cache(dataset)) is not None:
        return LocalCopy(dataset, path, "cache")
    return local_copy(dataset.stand_in)


def _in_folder(dataset: Dataset) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    candidates = (Path(folder).expanduser() / file for file in dataset.files)
    return next((path for path in candidates if path.exists()), None)


def _in_cache(dataset: Dataset) -> Path | None:
    """What `fetch` put there, once all of it has come."""
    folder = _fetched_folder(dataset)
    whole = dataset.can_be_fetched and all((folder / file.name).is_file() for file in dataset.published)
    return _to_open(dataset, folder) if whole else None


def _fetched_folder(dataset: Dataset) -> Path:
    return cache_folder() / "data" / dataset.name


def _to_open(dataset: Dataset, folder: Path) -> Path:
    return folder / dataset.published[0].name if len(dataset.published) == 1 else folder


def verify(copy: LocalCopy) -> Verdict:
    """Compare a copy with the published hashes; reads all of it."""
    for published in copy.dataset.published:
        path = _counterpart(copy.path, published)
        if path is None:
            return Verdict("unverified")  # the same data in other files
        try:
            wrong = mismatch(path, published)
        except OSError as error:
            wrong = f"can't be read ({error.strerror or error})"
        if wrong is not None:
            return Verdict("differs", f"{path} has {wrong}")
    return Verdict("verified" if copy.dataset.published else "unverified")


def _counterpart(path: Path, published: RemoteFile) -> Path | None:
    """The file of a copy that a published one is to be compared with: as it is, or unpacked."""
    folder = path if path.is_dir() else path.parent
    names = (published.name, published.name.removesuffix(".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def fetch(dataset: Dataset, *, out: Path | None = None, progress: Progress | None = None) -> LocalCopy:
    """Fetch a data set from its official place into the cache, where its name is looked for, or into ``out``.

    A copy in the folder that ``CLEARMARGIN_DATA`` names, or one that is there already, is verified and not
    fetched again.

    Parameters
    ----------
    progress
        Called with (file, bytes done, bytes in all), only when something is fetched.

    Raises
    ------
    SourceError
        It can't be fetched; says where people get it. Or a copy in the way is another one.
    DownloadError
        It could not be fetched.
    DiskError
        When the file system refuses.
    """
    copy = local_copy(dataset.name)
    if out is None and copy is not None and copy.dataset == dataset and copy.place != "cache":
        if (verdict := verify(copy)).state == "differs":
            raise SourceError(
                f"{verdict.reason}. {FOLDER_VARIABLE} names the folder: mend that file there or take it away, or "
                "fetch to another place with --out DIR."
            )
        return copy
    if not dataset.can_be_fetched:
        raise _not_to_be_fetched(dataset)
    folder = _fetched_folder(dataset) if out is None else out.expanduser()
    for published in dataset.published:
        download(published, folder, otherwise=_other_ways(dataset), progress=progress)
    return LocalCopy(dataset, _to_open(dataset, folder), "cache" if out is None else "chosen")


def _other_ways(dataset: Dataset) -> str:
    return (
        f"Other ways: a copy from elsewhere, its place given with --data PATH, or put as {dataset.files[0]} into "
        f"the folder that {FOLDER_VARIABLE} names."
    )


def _not_to_be_fetched(dataset: Dataset) -> SourceError:
    about = f"The data set {dataset.name!r} ({dataset.title}; {dataset.terms})"
    if not dataset.files:
        place = f": {dataset.packaged}" if dataset.packaged else ""
        return SourceError(f"{about} is not downloaded: {dataset.origin}{place}. Its name is all a study needs.")
    twin = next((other.name for other in DATASETS if other.stand_in == dataset.name), None)
    instead = f" The original is to be had: clearmargin data get {twin}." if twin else ""
    return SourceError(
        f"{about} can't be fetched by name; it is to be had {dataset.origin}.{instead} Then give its place "
        f"with --data PATH, or put it as {dataset.files[0]} into the folder that {FOLDER_VARIABLE} names."
    )


def not_found(dataset: Dataset) -> SourceError:
    """Say what a data set is, how to get it, and where it was looked for."""
    stand_in = find(dataset.stand_in)
    files = dataset.files + (stand_in.files if stand_in else ())
    folder = os.environ.get(FOLDER_VARIABLE)
    looked = (
        f"{FOLDER_VARIABLE} names {folder}, which has no {' or '.join(files)}"
        if folder
        else (f"{FOLDER_VARIABLE} is not set")
    )
    get = (
        f"Fetch it with: clearmargin data get {dataset.name} ({dataset.download_mb:,.0f} MB)."
        if dataset.can_be_fetched
        else f"Nothing is downloaded; it is to be had {dataset.origin}."
    )
    here = next((name for name in (dataset.name, *files) if Path(name).exists()), None)
    also = f" If you mean what lies here under that name, write ./{here}." if here else ""
    return SourceError(
        f"The data set {dataset.name!r} ({dataset.title}; {dataset.extent}; {dataset.terms}) is not on this "
        f"machine: {looked}. {get} Or give its place with --data PATH, or put it as {files[0]} into the folder that "
        f"{FOLDER_VARIABLE} names.{also}"
    )


def caveats(data: str | Path) -> tuple[Finding, ...]:
    """What each report on a named data set has to say; nothing for a path."""
    copy = local_copy(data) if isinstance(data, str) else None
    if copy is None or not copy.dataset.caveat:
        return ()
    return (Finding("known-caveat", "warning", copy.dataset.caveat, copy.dataset.remedy),)
