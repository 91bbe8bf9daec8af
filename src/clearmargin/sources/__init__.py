"""What is there: labelled samples out of folders, archives, manifests, arrays and named data sets.

`open_source` recognises what it is given by content and name and returns a `clearmargin.records.Source`.
A new kind is one row in `FILE_KINDS` (one file) or `CONTENTS` (what a folder, zip or tar can hold).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clearmargin.dicom import HEAD_BYTES, is_dicom
from clearmargin.errors import NotImagesError, SourceError
from clearmargin.records import Source
from clearmargin.sources.blocks import ImageBlocks
from clearmargin.sources.catalogue import catalogue, caveats, find, resolve
from clearmargin.sources.cifar import is_cifar, open_cifar
from clearmargin.sources.container import Container, damaged
from clearmargin.sources.datasets import Dataset
from clearmargin.sources.delimited import is_delimited
from clearmargin.sources.dicom_directory import is_dicomdir, list_dicomdir
from clearmargin.sources.folder import list_folder
from clearmargin.sources.groups import with_groups
from clearmargin.sources.idx import is_idx, is_idx_file, open_idx, open_idx_file
from clearmargin.sources.image_files import ImageFiles, open_class_folders
from clearmargin.sources.location import locate
from clearmargin.sources.manifest import open_manifest
from clearmargin.sources.names import DICOM_EXTENSIONS, IMAGE_EXTENSIONS
from clearmargin.sources.npz import is_npz, open_npz
from clearmargin.sources.remembered import remembered_zip
from clearmargin.sources.table import Table, open_table
from clearmargin.sources.tar_archive import is_tar, list_tar
from clearmargin.sources.zip_archive import is_zip, list_zip

__all__ = ["Dataset", "Table", "catalogue", "open_source", "open_table_source", "resolve"]

Listed = ImageFiles | ImageBlocks

# What a folder, zip or tar can hold; the first that fits counts, class folders otherwise.
CONTENTS: tuple[tuple[Callable[[Container], bool], Callable[[Container], Listed]], ...] = (
    (is_cifar, open_cifar),
    (is_idx, open_idx),
    (is_npz, open_npz),
)


def _open_contents(container: Container) -> Listed:
    for fits, open_kind in CONTENTS:
        if fits(container):
            return open_kind(container)
    return open_class_folders(container)


# What one file can be; the first that fits counts.
FILE_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Listed]], ...] = (
    (is_idx_file, open_idx_file),
    (is_tar, lambda path: _open_contents(list_tar(path))),
    (is_dicomdir, lambda path: open_class_folders(list_dicomdir(path))),
    # after tar: a tar may end in a zip
    (is_zip, lambda path: remembered_zip(path, lambda: _open_contents(list_zip(path)))),
    (is_delimited, open_manifest),
)

# First bytes of files people try, and what to do with them instead.
_NOT_READ: tuple[tuple[bytes, str], ...] = (
    (b"\x80", "It looks like a Python pickle, which can run any code when opened and is never opened here."),
    (b"\x93NUMPY", "It is a single array; save images and labels together with numpy.savez."),
    (b"7z\xbc\xaf", "Unpack the 7z archive and give the folder."),
    (b"Rar!", "Unpack the RAR archive and give the folder."),
    (b"\xd0\xcf\x11\xe0", "If it is a spreadsheet, save it as 'CSV UTF-8'."),
    (b"\x89HDF", "It is HDF5; export the images to class folders or an NPZ."),
)


def open_source(data: str | Path, *, group_pattern: str | None = None) -> Source:
    r"""Open labelled images, whatever they come in.

    Parameters
    ----------
    data
        The path of a folder, zip, tar, manifest CSV, DICOMDIR, NPZ, IDX images file, or folder of IDX or CIFAR-10
        files; or, as text, a catalogue name such as ``"phantom"``. A file that is called like a catalogue
        name is written ``./mnist``, or given as a `Path`.
    group_pattern
        A regular expression with exactly one group, searched in each sample's name: what it captures is
        the sample's group, such as ``r"patient(\d+)_"``.

    Returns
    -------
    Source
        Its ``read()`` yields an `clearmargin.errors.ImageError` in place of an image file that can't be read.

    Raises
    ------
    SourceError
        The path is missing, or what it holds can't be used as given.
    """
    dataset = find(data) if isinstance(data, str) else None
    if dataset is not None and dataset.classes is None:
        target = dataset.columns[-1].name
        raise NotImagesError(
            f"{data!r} is a table of numbers, not a set of images. Name the column to be predicted: --target {target}, "
            f'or in a recipe task = "regression" and [data] target = "{target}".'
        )
    place = locate(data)
    if isinstance(place, Dataset):
        return _open_phantom(group_pattern)
    source = _open_path(place)
    source = replace(source, findings=caveats(data) + source.findings)
    if group_pattern is not None:  # it says more than the headers of DICOM files
        source = with_groups(source, group_pattern)
    elif isinstance(source, ImageFiles):
        source = source.with_header_groups()
    # Source declares plain attributes, which a frozen class can't match in the eyes of a type checker.
    return source


def open_table_source(
    data: str | Path, target: str, features: Sequence[str] | None = None, *, group_by: str | None = None
) -> Table:
    """Open a table of numbers: a CSV file, or the catalogue's name of one.

    Parameters
    ----------
    target, features, group_by
        As `clearmargin.sources.table.open_table` takes them.

    Raises
    ------
    SourceError
        The path is missing, or is no table that can be used; see `clearmargin.sources.table.open_table`.
    """
    dataset = find(data) if isinstance(data, str) else None
    place = dataset if dataset is not None and dataset.classes is not None else locate(data)
    if isinstance(place, Dataset):
        raise SourceError(f"{place.name!r} is a set of images, not a table: it has no column {target!r} to predict.")
    table = open_table(place, target, features, group_by=group_by)
    meanings = {column.name: column.meaning for column in dataset.columns} if dataset is not None else {}
    return replace(table, findings=caveats(data) + table.findings, meanings=meanings)


def _open_phantom(group_pattern: str | None) -> Source:
    from clearmargin.sources.phantom import PhantomSource  # it draws with scipy: loaded when asked for

    if group_pattern is not None:
        raise SourceError("The phantom names its patients already; leave the group pattern out.")
    return PhantomSource(seed=0)


def _open_path(path: Path) -> Listed:
    if path.is_dir():
        return _open_contents(list_folder(path))
    if not path.is_file():
        raise SourceError(f"{path} is neither a file nor a folder.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise damaged(path, error) from error
    if not head:
        raise SourceError(f"{path} is empty (0 bytes). Copy or download it again.")
    for fits, open_kind in FILE_KINDS:
        if fits(path):
            return open_kind(path)
    raise SourceError(_unrecognised(path, head))


def _unrecognised(path: Path, head: bytes) -> str:
    advice = next((advice for magic, advice in _NOT_READ if head.startswith(magic)), "")
    if path.suffix.lower() in IMAGE_EXTENSIONS | DICOM_EXTENSIONS or is_dicom(head):
        advice = "It is one image; a study needs many, in class folders. To classify one: clearmargin predict."
    return (
        f"{path} is not recognised, or damaged. Expected a folder, zip, tar, manifest (.csv, .tsv, .txt), DICOMDIR, "
        f"NPZ or IDX file. {advice}".rstrip()
    )
