"""A CSV file that says, for each image file, its class and perhaps its patient and part."""

from __future__ import annotations

import csv
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clearmargin.errors import NotImagesError, SourceError
from clearmargin.records import Finding, Sample, Severity
from clearmargin.sources.container import counted, damaged, quoted
from clearmargin.sources.delimited import LONGEST_HEADER, find_delimiter
from clearmargin.sources.dicom_files import may_be_dicom, survey
from clearmargin.sources.folder import Folder
from clearmargin.sources.image_files import ImageFiles, image_files
from clearmargin.sources.layout import refuse_spelling_twins
from clearmargin.sources.layout_findings import uneven_classes
from clearmargin.sources.names import PART_NAMES

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "image", "file", "filename"),
    "label": ("label", "class", "target", "diagnosis"),
    "patient": ("patient", "patient_id", "group", "subject"),
    "part": ("part", "split"),
}
_REQUIRED = ("path", "label")
_FRAME = re.compile(r"[1-9]\d{0,5}")


def open_manifest(path: Path) -> ImageFiles:
    """Source of a manifest; samples are sorted by name, which is the path relative to the CSV file.

    Raises
    ------
    SourceError
        Not UTF-8; no path or label column; a part that is none; paths outside the folder of the CSV file;
        an image listed twice with different labels, patients or parts; no image left.
    """
    rows = _Rows(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows.take_all(csv.reader(file, delimiter=_delimiter(path)))
    except UnicodeError as error:
        raise SourceError(
            f"The manifest {path} is not UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'."
        ) from error
    except (OSError, csv.Error) as error:
        raise damaged(path, error) from error
    samples = tuple(sorted(rows.samples.values(), key=lambda sample: sample.name))
    if not samples:
        raise SourceError(rows.why_nothing())
    refuse_spelling_twins({str(sample.label) for sample in samples}, path)
    findings = (*rows.findings(), *uneven_classes(samples))
    files = dict.fromkeys(rows.frames.get(sample.name, (sample.name, 0))[0] for sample in samples)
    folder = Folder(path.parent, tuple(files))
    return image_files("manifest", folder, samples, findings, survey(folder, folder.entries, images=True), rows.frames)


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(LONGEST_HEADER)
    return find_delimiter(first, lambda header: len(_roles(header).keys() & set(_REQUIRED)))


def _roles(header: Sequence[str]) -> dict[str, int]:
    """Column number of each role; of several names for one role the first in `COLUMNS` counts."""
    names = [name.strip().casefold() for name in header]
    roles = {}
    for role, aliases in COLUMNS.items():
        for alias in aliases:
            if alias in names:
                roles[role] = names.index(alias)
                break
    return roles


@dataclass
class _Rows:
    """The rows of one manifest, sorted into samples and what can't be used."""

    path: Path
    header: list[str] = field(default_factory=list)
    roles: dict[str, int] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    contradictory: list[str] = field(default_factory=list)
    frames: dict[str, tuple[str, int]] = field(default_factory=dict)

    def take_all(self, reader: Iterable[list[str]]) -> None:
        for number, row in enumerate(reader, start=1):
            if number == 1:
                self._take_header(row)
            elif any(cell.strip() for cell in row):
                self._take(row, number)
        if not self.header:
            raise SourceError(f"The manifest {self.path} is empty; expected a header line with path,label.")
        if self.contradictory:
            raise SourceError(
                f"The manifest {self.path} lists {counted(len(self.contradictory), 'image')} twice with different "
                f"labels, patients or parts: {quoted(self.contradictory)}. Keep one row for each image."
            )

    def _take_header(self, header: list[str]) -> None:
        self.header = header
        self.roles = _roles(header)
        absent = [role for role in _REQUIRED if role not in self.roles]
        if absent:
            wanted = "; ".join(f"{role} (or {', '.join(COLUMNS[role][1:])})" for role in absent)
            raise NotImagesError(
                f"The manifest {self.path} lacks a column: expected {wanted}; "
                f"its first line has {quoted(header, limit=12) or 'nothing'}. For a table of numbers name the "
                'column to be predicted (--target, or [data] target in a recipe with task = "regression").'
            )

    def _take(self, row: list[str], number: int) -> None:
        if len(row) > len(self.header):
            raise SourceError(
                f"Row {number} of the manifest {self.path} has {len(row)} cells, the header {len(self.header)}. "
                "Put cells that contain the delimiter in double quotes."
            )
        cells = {role: row[column].strip() if column < len(row) else "" for role, column in self.roles.items()}
        name = self._name(cells["path"], number)
        if not cells["label"]:
            self.unlabelled.append(name)
            return
        found = _on_disk(self.path.parent, name) or self._frame(name)
        if found is None:
            self.missing.append(name)
            return
        self._keep(self._sample(found, cells, row, number))

    def _frame(self, name: str) -> str | None:
        """Name of a frame ``FILE#3`` of a DICOM file that is there."""
        file, _, number = name.rpartition("#")
        found = _on_disk(self.path.parent, file) if file and _FRAME.fullmatch(number) and may_be_dicom(file) else None
        if found is None:
            return None
        self.frames[f"{found}#{number}"] = (found, int(number) - 1)
        return f"{found}#{number}"

    def _name(self, cell: str, number: int) -> str:
        """Path relative to the CSV file, with ``/`` between folders as no Windows program writes it."""
        name = cell.replace("\\", "/")
        folder = self.path.parent.absolute().as_posix().rstrip("/") + "/"
        name = posixpath.normpath(name.removeprefix(folder)) if name else ""
        if not name or name == ".":
            raise SourceError(f"Row {number} of the manifest {self.path} has no path.")
        if name.startswith(("/", "../")) or name == ".." or name[1:3] == ":/":
            raise SourceError(
                f"Row {number} of the manifest {self.path} points outside its folder: {cell!r}. Put the CSV file "
                "in a folder that holds all the images, and write paths relative to it."
            )
        return name

    def _sample(self, name: str, cells: dict[str, str], row: list[str], number: int) -> Sample:
        part = cells.get("part", "").casefold()
        if part and part not in PART_NAMES:
            raise SourceError(
                f"Row {number} of the manifest {self.path} has the part {cells['part']!r}; "
                f"expected one of {', '.join(PART_NAMES)}, or nothing."
            )
        used = set(self.roles.values())
        attributes = {
            title.strip(): row[column].strip()
            for column, title in enumerate(self.header)
            if column not in used and column < len(row)
        }
        return Sample(name, cells["label"], cells.get("patient") or None, PART_NAMES.get(part), attributes)

    def _keep(self, sample: Sample) -> None:
        known = self.samples.setdefault(sample.name, sample)
        if known is sample:
            return
        same = (known.label, known.group, known.part) == (sample.label, sample.group, sample.part)
        (self.repeated if same else self.contradictory).append(sample.name)

    def why_nothing(self) -> str:
        if self.missing:
            return (
                f"None of the {len(self.missing):,} images that the manifest {self.path} names is there: "
                f"{quoted(self.missing)}. Paths are relative to the CSV file and include the extension."
            )
        if self.unlabelled:
            return f"No row of the manifest {self.path} has a label."
        return f"The manifest {self.path} has a header but no rows."

    def findings(self) -> Iterator[Finding]:
        if self.missing:
            what, remedy = "Left out, file not there", "Put the files in place or remove the rows."
            yield _about_rows("missing-files", "warning", self.missing, what, remedy)
        if self.unlabelled:
            what = "Left out, no label"
            yield _about_rows("unlabelled-images", "warning", self.unlabelled, what, "Fill in the labels.")
        if self.repeated:
            yield _about_rows("repeated-rows", "note", self.repeated, "Left out, the same as an earlier row", "")
        yield from self._column_findings()

    def _column_findings(self) -> Iterator[Finding]:
        alone = tuple(sample.name for sample in self.samples.values() if sample.group is None)
        if alone and len(alone) < len(self.samples):
            yield Finding(
                "patients-missing",
                "warning",
                f"Without a patient, although others have one: {counted(len(alone), 'image')} ({quoted(alone)}).",
                "Fill in the patients; otherwise each such image counts as a patient of its own.",
                alone,
            )
        known = {name.strip().casefold() for name in self.header}
        for role, column in self.roles.items():
            unused = [
                alias for alias in COLUMNS[role] if alias in known and alias != self.header[column].strip().casefold()
            ]
            if unused:
                yield Finding(
                    "column-choice",
                    "note",
                    f"The {role} is taken from the column {self.header[column].strip()!r}, not from {quoted(unused)}.",
                    "Rename the columns if another one is meant.",
                )


def _about_rows(kind: str, severity: Severity, names: Sequence[str], what: str, remedy: str) -> Finding:
    message = f"{what}: {counted(len(names), 'row')} of the manifest ({quoted(names)})."
    return Finding(kind, severity, message, remedy, tuple(names))


def _on_disk(folder: Path, name: str) -> str | None:
    """Name under which the file is there; accents may be stored in one piece or apart."""
    for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
        if os.path.isfile(folder / form):  # noqa: PTH113  (Path.is_file raises on names that are too long)
            return form
    return None
