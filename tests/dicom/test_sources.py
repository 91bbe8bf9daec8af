"""DICOM files in folders, archives, manifests and DICOMDIRs: which samples, which groups, which findings."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from clearmargin.decoding import prepare
from clearmargin.dicom import decoding_process
from clearmargin.errors import ImageError, MissingExtraError, SourceError
from clearmargin.image_listing import image_files, images
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
DISC = BUNDLED / "dicomdirtests"
RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 4096, shape or (16, 16), dtype=np.uint16)


@pytest.fixture
def folder(tmp_path: Path, dicom) -> Path:
    """Two classes: four patients with two files each; one of several frames, one PNG, a report, a list, a text."""
    root = tmp_path / "data"
    (root / "glioma" / "series 1").mkdir(parents=True)
    (root / "healthy").mkdir()
    for number in range(4):
        place = root / ("glioma/series 1" if number % 2 else "healthy")
        for slice_number in range(2):
            name = f"{number}{slice_number}{'.dcm' if number < 2 else ''}"
            (place / name).write_bytes(dicom(noise(), PatientID=f"MRN-{number}"))
    (root / "glioma" / "cine.IMA").write_bytes(dicom(noise(3, 16, 16), NumberOfFrames=3, PatientID="MRN-1"))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / "healthy" / "a.png")
    shutil.copy(BUNDLED / "test-SR.dcm", root / "healthy" / "report.dcm")
    shutil.copy(DISC / "DICOMDIR", root / "healthy" / "DICOMDIR")
    (root / "healthy" / "README").write_text("nothing", encoding="ascii")
    return root


NAMES = [
    *("glioma/cine.IMA#1", "glioma/cine.IMA#2", "glioma/cine.IMA#3"),
    *("glioma/series 1/10.dcm", "glioma/series 1/11.dcm", "glioma/series 1/30", "glioma/series 1/31"),
    *("healthy/00.dcm", "healthy/01.dcm", "healthy/20", "healthy/21", "healthy/a.png"),
]


def pack(folder: Path, kind: str) -> Path:
    out = folder.parent / f"data.{kind}"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(out, "w:gz") as archive:
            for path in files:
                archive.add(path, str(path.relative_to(folder)))
    return out


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_files_and_frames_are_samples(folder: Path, kind: str) -> None:
    source = open_source(str(folder if kind == "folder" else pack(folder, kind)))
    assert sorted(sample.name for sample in source.samples) == NAMES
    found = {}
    for sample, content in zip(source.samples, source.read(), strict=True):
        found[sample.name] = prepare(content, Preprocessing(16)).facts.format
    assert {found[name] for name in NAMES[:-1]} == {"DICOM"}
    assert found["healthy/a.png"] == "PNG"
    kinds = {finding.kind: finding for finding in source.findings}
    assert kinds["dicom-without-image"].samples == ("healthy/report.dcm",)
    assert kinds["ignored-files"].samples == ("healthy/README",)


def test_patients_are_groups_and_only_their_hashes_leave(folder: Path) -> None:
    groups = {sample.name: sample.group for sample in open_source(str(folder)).samples}
    assert groups["healthy/a.png"] is None
    assert groups["glioma/cine.IMA#1"] == groups["glioma/cine.IMA#3"] == groups["glioma/series 1/10.dcm"]
    assert len({groups[name] for name in NAMES[:-1]}) == 4
    for group in groups.values():
        if group is not None:
            kind, digest = group.split(" ")
            assert kind == "patient"
            assert len(digest) == 16
    plain = [hashlib.sha256(f"{prefix}MRN-1".encode()).hexdigest()[:16] for prefix in ("", "patient\0", "patient ")]
    assert not {group.split(" ")[1] for group in groups.values() if group} & set(plain)


def test_the_same_files_give_the_same_groups_and_others_do_not(folder: Path, dicom) -> None:
    def groups() -> dict[str, str | None]:
        return {sample.name: sample.group for sample in open_source(str(folder)).samples}

    first = groups()
    assert groups() == first
    (folder / "healthy" / "more.dcm").write_bytes(dicom(noise(), PatientID="MRN-9"))
    assert not set(filter(None, first.values())) & set(groups().values())


def test_a_group_pattern_says_more_than_headers(folder: Path) -> None:
    source = open_source(str(folder), group_pattern=r"(\d)\d(\.dcm)?$".replace("(\\.dcm)?", "(?:\\.dcm)?"))
    groups = {sample.name: sample.group for sample in source.samples}
    assert groups["glioma/series 1/10.dcm"] == "1"
    assert groups["glioma/cine.IMA#1"] is None


def study(dicom, root: Path, *, patient: object, studies: int, uid: bool = True) -> Path:
    for number in range(6):
        place = root / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        ids = {} if patient is None else {"PatientID": patient}
        uids = {"StudyInstanceUID": f"1.2.{number % studies}", "SeriesInstanceUID": f"1.3.{number}"}
        more = uids if uid else {"StudyInstanceUID": None, "SeriesInstanceUID": None}
        (place / f"{number}.dcm").write_bytes(dicom(noise(), **ids, **more))
    return root


@pytest.mark.parametrize("patient", [None, "", "ANONYMOUS", "0"])
def test_without_a_patient_the_study_is_taken(dicom, tmp_path: Path, patient) -> None:
    source = open_source(str(study(dicom, tmp_path / "d", patient=patient, studies=3)))
    groups = [sample.group for sample in source.samples]
    assert len(set(groups)) == 3
    assert all(group is not None and group.startswith("study ") for group in groups)


def test_one_patient_for_all_is_nobody(dicom, tmp_path: Path) -> None:
    source = open_source(str(study(dicom, tmp_path / "d", patient="SAME", studies=3)))
    assert {sample.group[:6] for sample in source.samples if sample.group} == {"study "}
    (finding,) = [finding for finding in source.findings if finding.kind == "one-patient-id"]
    assert finding.severity == "warning"
    assert "SAME" not in finding.message


def test_files_that_name_nothing_are_listed(dicom, tmp_path: Path) -> None:
    source = open_source(str(study(dicom, tmp_path / "d", patient=None, studies=3, uid=False)))
    assert {sample.group for sample in source.samples} == {None}
    (finding,) = [finding for finding in source.findings if finding.kind == "patients-missing"]
    assert len(finding.samples) == 6


def test_folders_of_patients_are_not_taken_for_classes_in_silence(dicom, tmp_path: Path) -> None:
    for patient in ("p1", "p2", "p3"):
        (tmp_path / "d" / patient).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "d" / patient / str(number)).write_bytes(dicom(noise(), PatientID=patient))
    (finding,) = [finding for finding in open_source(str(tmp_path / "d")).findings if finding.severity == "serious"]
    assert finding.kind == "classes-are-patients"


def test_burned_in_names_are_a_finding(folder: Path, dicom) -> None:
    (folder / "healthy" / "film.dcm").write_bytes(dicom(noise(), BurnedInAnnotation="YES", PatientID="MRN-0"))
    (finding,) = [finding for finding in open_source(str(folder)).findings if finding.kind == "burned-in-annotation"]
    assert finding.samples == ("healthy/film.dcm",)


def test_a_manifest_names_dicom_files(folder: Path) -> None:
    rows = [
        "path,label",
        "glioma/cine.IMA,glioma",
        "healthy/20,healthy",
        "healthy/a.png,healthy",
        "healthy/report.dcm,healthy",
    ]
    (folder / "all.csv").write_text("\n".join(rows), encoding="ascii")
    source = open_source(str(folder / "all.csv"))
    assert [sample.name for sample in source.samples] == [
        *(
            "glioma/cine.IMA#1",
            "glioma/cine.IMA#2",
            "glioma/cine.IMA#3",
            "healthy/20",
            "healthy/a.png",
            "healthy/report.dcm",
        )
    ]
    groups = [sample.group for sample in source.samples]
    assert groups[0] == groups[2] != groups[3]
    assert groups[4] is None
    with pytest.raises(ImageError, match="without an image"):
        prepare(list(source.read())[-1], Preprocessing(16))
    named = [f"{row},{'patient' if not number else f'p{number}'}" for number, row in enumerate(rows)]
    (folder / "named.csv").write_text("\n".join(named), encoding="ascii")
    assert [sample.group for sample in open_source(str(folder / "named.csv")).samples][:3] == ["p1"] * 3


def test_every_frame_of_a_file_that_vanished_says_so(folder: Path) -> None:
    source = open_source(folder)
    (folder / "glioma" / "cine.IMA").unlink()
    contents = list(source.read())
    assert [isinstance(content, ImageError) for content in contents] == [True] * 3 + [False] * 9
    assert all(str(content) == "not there any more" and content.transient for content in contents[:3])


def test_a_manifest_names_single_frames(folder: Path) -> None:
    rows = ["path,label", "glioma/cine.IMA#2,glioma", "glioma/cine.IMA#1,healthy", "healthy/20,healthy"]
    rows += ["glioma/cine.IMA#9,glioma", "healthy/a.png#1,healthy", "glioma/gone.dcm#1,glioma"]
    (folder / "frames.csv").write_text("\n".join(rows), encoding="ascii")
    source = open_source(str(folder / "frames.csv"))
    assert [(sample.name, sample.label) for sample in source.samples] == [
        ("glioma/cine.IMA#1", "healthy"),
        ("glioma/cine.IMA#2", "glioma"),
        ("glioma/cine.IMA#9", "glioma"),
        ("healthy/20", "healthy"),
    ]
    (missing,) = [finding for finding in source.findings if finding.kind == "missing-files"]
    assert missing.samples == ("healthy/a.png#1", "glioma/gone.dcm#1")
    contents = list(source.read())
    whole = dict(zip(NAMES, open_source(str(folder)).read(), strict=True))
    assert contents[:2] == [whole["glioma/cine.IMA#1"], whole["glioma/cine.IMA#2"]]
    assert str(contents[2]) == "the file has 3 frames, and no frame 9"
    assert source.samples[0].group == source.samples[1].group != source.samples[3].group
    (folder / "both.csv").write_text("\n".join([*rows, "glioma/cine.IMA,glioma"]), encoding="ascii")
    with pytest.raises(SourceError, match=r"'glioma/cine.IMA#1' twice"):
        open_source(str(folder / "both.csv"))


def test_damaged_files_are_samples_that_can_not_be_read(folder: Path) -> None:
    (folder / "healthy" / "broken.dcm").write_bytes(b"")
    sound = (folder / "healthy" / "20").read_bytes()
    (folder / "healthy" / "cut").write_bytes(sound[: len(sound) - 100])
    source = open_source(str(folder))
    contents = dict(zip((sample.name for sample in source.samples), source.read(), strict=True))
    for name, reason in (("healthy/broken.dcm", "empty"), ("healthy/cut", "fewer pixel data")):
        with pytest.raises(ImageError, match=reason):
            prepare(contents[name], Preprocessing(16))


def test_a_file_called_like_a_frame_is_refused(folder: Path) -> None:
    (folder / "glioma" / "cine.IMA").rename(folder / "glioma" / "cine")
    shutil.copy(folder / "healthy" / "20", folder / "glioma" / "cine#4")
    assert len(open_source(str(folder)).samples) == len(NAMES) + 1
    (folder / "glioma" / "cine#4").rename(folder / "glioma" / "cine#2")
    with pytest.raises(SourceError, match="twice: as a frame"):
        open_source(str(folder))


def test_without_the_libraries_a_study_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_process, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "clearmargin\[dicom\]"'):
        open_source(str(folder))
    with pytest.raises(MissingExtraError, match=r'pip install "clearmargin\[dicom\]"'):
        list(image_files([folder]))


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """What pydicom has of a disc: a DICOMDIR and folders of patients."""
    shutil.copytree(DISC, tmp_path / "disc", ignore=shutil.ignore_patterns("DICOMDIR-*", "TINY_ALPHA", "*.txt"))
    return tmp_path / "disc"


def test_a_dicomdir_is_the_files_it_lists(disc: Path) -> None:
    extra = disc / "77654033" / "CR1" / "not-listed"
    shutil.copy(disc / "77654033" / "CR1" / "6154", extra)
    (disc / "98892003" / "MR2" / "4950").unlink()
    source = open_source(str(disc / "DICOMDIR"))
    assert len(source.samples) == 30
    assert "77654033/CR1/not-listed" not in {sample.name for sample in source.samples}
    kinds = {finding.kind: finding for finding in source.findings}
    assert kinds["missing-files"].samples == ("98892003/MR2/4950",)
    assert [str(path.relative_to(disc)) for path in image_files([disc / "DICOMDIR"])] == [
        sample.name for sample in source.samples
    ]
    assert len(list(image_files([disc]))) == 31  # the folder: the file that is not listed too, the list itself not


def test_a_dicomdir_leads_nowhere_else(disc: Path) -> None:
    secret = disc.parent / "secret"
    shutil.copy(disc / "77654033" / "CR1" / "6154", secret)
    listed = (disc / "DICOMDIR").read_bytes()
    old = b"77654033\\CR1\\6154 "
    assert old in listed
    for name in (b"..\\secret", str(secret).encode()[: len(old)]):
        (disc / "DICOMDIR").write_bytes(listed.replace(old, name.ljust(len(old))))
        assert len(open_source(str(disc / "DICOMDIR")).samples) == 30


def test_files_in_lower_case_are_found(disc: Path) -> None:
    (disc / "77654033" / "CR1").rename(disc / "77654033" / "cr1")
    assert "77654033/cr1/6154" in {sample.name for sample in open_source(str(disc / "DICOMDIR")).samples}


def test_a_damaged_dicomdir_is_refused(disc: Path) -> None:
    (disc / "DICOMDIR").write_bytes((disc / "DICOMDIR").read_bytes()[:700])
    with pytest.raises(
        SourceError, match=r"DICOMDIR (can't be used|is not recognised)|in no class|none lies in a class|No images"
    ):
        open_source(str(disc / "DICOMDIR"))


def test_one_file_is_no_study(folder: Path) -> None:
    with pytest.raises(SourceError, match="It is one image; a study needs many"):
        open_source(str(folder / "healthy" / "20"))


def test_images_to_predict(folder: Path) -> None:
    names = [image.name.removeprefix(f"{folder}/") for image in images([folder])]
    assert sorted(names) == sorted([*NAMES, "healthy/report.dcm"])
    (first, *_) = [image.read() for image in images([folder]) if image.name.endswith("cine.IMA#2")]
    assert prepare(first, Preprocessing(16)).facts.format == "DICOM"
