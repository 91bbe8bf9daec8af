"""DICOM files among those of a container: which they are, how many images each holds, whose they are.

Only headers are read. Who somebody is leaves this module as a hash alone, see `hashed_groups`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from clearmargin.dicom import HEAD_BYTES, Header, is_dicom, read_header, require_dicom
from clearmargin.dicom.header import BURNED_IN, PATIENT, SERIES, SOP_INSTANCE, STUDY
from clearmargin.errors import ImageError
from clearmargin.records import Finding, Sample
from clearmargin.sources.container import DAMAGE, Container, counted, quoted
from clearmargin.sources.names import DICOM_EXTENSIONS, extension

_PIXEL_BYTES = 4096
_UNREADABLE: tuple[type[Exception], ...] = (ImageError, *DAMAGE)
# What programs that take names away leave in their place; it tells nobody apart.
_NOBODY = frozenset(("", "0", "anon", "anonymous", "anonymized", "anonymised", "unknown", "none", "n/a", "na", "no id"))
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class DicomEntry:
    """What a listing knows of one DICOM file.

    Attributes
    ----------
    frames
        How many images it holds; 1 also where its header can't be read, so that its reader says why.
    directory
        It lists other files.
    patient, study, series
        Who and what it says it shows; empty where it does not. Never to be written or said.
    own
        SHA-256 over what no other file has: its identifiers and the beginning of its pixels.
    burned_in
        It says itself that names may be seen in the picture.
    unread
        The system did not give its header: whose it is, and how many frames it has, is not known.
    """

    frames: int
    directory: bool = False
    patient: str = ""
    study: str = ""
    series: str = ""
    own: bytes = b""
    burned_in: bool = False
    unread: bool = False


def may_be_dicom(name: str) -> bool:
    """Whether a file is called as DICOM files are: ``.dcm`` and the like, without an extension, or by numbers alone."""
    ending = extension(name)
    return ending in DICOM_EXTENSIONS or not ending or ending[1:].isdigit()


def survey(container: Container, names: Iterable[str], *, images: bool = False) -> dict[str, DicomEntry]:
    """What is known of the DICOM files among ``names``, which are in the order of the container.

    Files that are called ``.dcm`` and the like are among them whatever they hold.

    Parameters
    ----------
    images
        The names are known to be those of images: one that can't be read and may be DICOM is among them too.

    Raises
    ------
    MissingExtraError
        When there is one, and the libraries to read it are not there.
    """
    found: dict[str, DicomEntry] = {}
    candidates = [name for name in names if may_be_dicom(name)]
    if not candidates:
        return found  # a tar would be read from front to back for nothing
    with closing(container.streams(candidates)) as streams:
        for name, stream in streams:
            named = extension(name) in DICOM_EXTENSIONS
            entry = _looked_at(stream, named=named)
            if entry is None and images and isinstance(stream, ImageError) and stream.transient:
                entry = DicomEntry(1, unread=True)
            if entry is not None:
                found[name] = entry
    if not all(entry.unread for entry in found.values()):
        require_dicom()
    return found


def readable_again(container: Container, unread: Iterable[str]) -> list[str]:
    """Names of those among files whose headers could not be read that the system gives now."""
    there = []
    with closing(container.streams(sorted(unread))) as streams:
        for name, stream in streams:
            with suppress(OSError):
                if not isinstance(stream, ImageError) and stream.read(HEAD_BYTES) is not None:
                    there.append(name)
    return there


def dicom_entry(path: Path) -> DicomEntry | None:
    """What is known of one file on disk; None for what is not DICOM.

    Raises
    ------
    MissingExtraError
        When it is DICOM, and the libraries to read it are not there.
    """
    named = extension(path.name) in DICOM_EXTENSIONS
    try:
        with path.open("rb") as file:
            entry = _looked_at(file, named=named)
    except OSError:
        entry = DicomEntry(1, unread=True) if named else None
    if entry is not None:
        require_dicom()
    return entry


def _looked_at(stream: IO[bytes] | ImageError, *, named: bool) -> DicomEntry | None:
    if isinstance(stream, ImageError):
        return DicomEntry(1, unread=stream.transient) if named else None
    try:
        head = stream.read(HEAD_BYTES)
        if not is_dicom(head):
            if not named:
                return None
            if not is_dicom(head, named=True):
                return DicomEntry(1)
        return _entry(read_header(stream, head), stream)
    except OSError:
        return DicomEntry(1, unread=True)
    except _UNREADABLE:
        return DicomEntry(1)


def _entry(header: Header, stream: IO[bytes]) -> DicomEntry:
    if header.pixels is None:
        return DicomEntry(0, directory=header.is_directory)
    patient, study, series = (header.text(tag) for tag in (PATIENT, STUDY, SERIES))
    own = hashlib.sha256("\0".join((patient, study, series, header.text(SOP_INSTANCE))).encode())
    own.update(stream.read(_PIXEL_BYTES))
    return DicomEntry(
        header.frames, False, patient, study, series, own.digest(), header.text(BURNED_IN).upper() == "YES"
    )


@dataclass(frozen=True)
class Expanded:
    """Samples of which each is one image.

    Attributes
    ----------
    frames
        Of a sample that is one frame of several: its file and the number of the frame, counted from 0.
    groups
        A group for each sample whose header names a patient, study or series.
    """

    samples: tuple[Sample, ...]
    frames: Mapping[str, tuple[str, int]]
    groups: Mapping[str, str]
    findings: tuple[Finding, ...]


def expanded(
    samples: Sequence[Sample], entries: Mapping[str, DicomEntry], single: Mapping[str, tuple[str, int]]
) -> Expanded:
    """Samples with each frame of a DICOM file by itself, named ``FILE#1``, ``FILE#2`` …

    Parameters
    ----------
    samples
        One for each file that holds an image, or for one of its frames.
    single
        Of a sample that is one frame: its file and the number of the frame, counted from 0.
    """
    kinds = hashed_groups(entries)
    listed: list[Sample] = []
    frames: dict[str, tuple[str, int]] = {}
    groups: dict[str, str] = {}
    used: dict[str, DicomEntry] = {}
    for sample in samples:
        file, number = single.get(sample.name, (sample.name, None))
        if file in entries:
            used[file] = entries[file]
        count = entries[file].frames if file in entries else 1
        numbers = [number] if number is not None else range(count) if count > 1 else [None]
        for place in numbers:
            name = file if place is None else f"{file}#{place + 1}"
            listed.append(replace(sample, name=name))
            if place is not None:
                frames[name] = (file, place)
            if file in kinds:
                groups[name] = kinds[file]
    return Expanded(tuple(listed), frames, groups, (*_about_headers(used), *_classes_are_patients(listed, groups)))


def hashed_groups(entries: Mapping[str, DicomEntry]) -> dict[str, str]:
    """A group for each file: its patient, else its study, else its series, as a hash that leads nowhere.

    Numbers of patients are short, so that a plain hash of one is found by trying all. Here the hash is keyed with one
    over identifiers and pixels of every file (HMAC-SHA-256): who has no more than a run folder has not the key, and
    who has the key has the files. The same files give the same groups on every machine, other files other ones.

    A file without a patient has the one that others of its study or series name. One patient in several studies
    everywhere is nobody: then the studies are taken.
    """
    named = {name: entry for name, entry in entries.items() if entry.own}
    key = hashlib.sha256(b"".join(sorted(entry.own for entry in named.values()))).digest()
    nobody, known = _one_patient(named.values()), _patients_of(named.values())
    groups = {}
    for name, entry in named.items():
        own = known.get(entry.study) or known.get(entry.series, "") if _is_nobody(entry.patient) else entry.patient
        told = (("patient", "" if nobody else own), ("study", entry.study), ("series", entry.series))
        kind, said = next((pair for pair in told if pair[1]), ("", ""))
        if said:
            digest = hmac.new(key, f"{kind}\0{said}".encode(), hashlib.sha256).hexdigest()
            groups[name] = f"{kind} {digest[:_HASH_DIGITS]}"
    return groups


def _is_nobody(patient: str) -> bool:
    return patient.casefold() in _NOBODY


def _patients_of(entries: Iterable[DicomEntry]) -> dict[str, str]:
    """Patient by study and by series, from files that name somebody; without those for which they name several."""
    said: dict[str, set[str]] = {}
    for entry in entries:
        if not _is_nobody(entry.patient):
            for place in filter(None, (entry.study, entry.series)):
                said.setdefault(place, set()).add(entry.patient)
    return {place: next(iter(patients)) for place, patients in said.items() if len(patients) == 1}


def _one_patient(entries: Iterable[DicomEntry]) -> int:
    """How many files name one patient in several studies, where these are most and no other names another; else 0."""
    listed = list(entries)
    naming = [entry for entry in listed if not _is_nobody(entry.patient)]
    studies = {entry.study for entry in naming if entry.study}
    alone = len({entry.patient for entry in naming}) == 1 and len(studies) > 1
    return len(naming) if alone and 2 * len(naming) > len(listed) else 0


def _about_headers(entries: Mapping[str, DicomEntry]) -> Iterator[Finding]:
    alike = _one_patient(entry for entry in entries.values() if entry.own)
    if alike:
        yield Finding(
            "one-patient-id",
            "warning",
            f"{alike:,} of {len(entries):,} DICOM files name the same patient, in several studies, and none names "
            "another: the studies are taken for the patients.",
            "If a patient has several studies, say who is who in a manifest or by a group pattern.",
        )
    burned = tuple(name for name, entry in entries.items() if entry.burned_in)
    if burned:
        yield Finding(
            "burned-in-annotation",
            "warning",
            f"Names or dates may be seen in the pictures, as the DICOM files say: {counted(len(burned), 'file')} "
            f"({quoted(burned)}).",
            "Blank them before anything of this study is shown; its report contains pictures.",
            burned,
        )
    alone = tuple(name for name, entry in entries.items() if entry.own and not (entry.study or entry.series))
    unknown = tuple(name for name in alone if _is_nobody(entries[name].patient))
    if unknown:
        yield Finding(
            "patients-missing",
            "warning",
            f"DICOM files that name no patient, study or series: {counted(len(unknown), 'file')} ({quoted(unknown)}).",
            "Say who is who in a manifest or by a group pattern; otherwise each counts as a patient of its own.",
            unknown,
        )


def _classes_are_patients(samples: Sequence[Sample], groups: Mapping[str, str]) -> Iterator[Finding]:
    pairs = {(sample.label, groups[sample.name]) for sample in samples if sample.name in groups}
    labels = Counter(label for label, _ in pairs)
    if len(labels) > 1 and len(pairs) == len(labels) == len({group for _, group in pairs}):
        yield Finding(
            "classes-are-patients",
            "serious",
            f"Each of the {len(labels)} classes holds one patient, and no other class holds the same: these look like "
            "folders of patients, not of classes.",
            "Put them into folders named after the classes, or say in a manifest which class each has.",
        )


def without_image(entries: Mapping[str, DicomEntry]) -> Iterator[Finding]:
    """Finding about DICOM files that hold no image."""
    names = tuple(name for name, entry in entries.items() if not entry.frames and not entry.directory)
    if names:
        yield Finding(
            "dicom-without-image",
            "note",
            f"Left aside, DICOM without an image, such as reports: {counted(len(names), 'file')} ({quoted(names)}).",
            samples=names,
        )
