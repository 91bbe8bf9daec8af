"""DICOM files in folders, archives, manifests and DICOMDIRs: which samples, which groups, which findings."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from tests.dicom.by_hand import dicomdir
from tests.test_prediction_file import Echo

from clearmargin import image_listing
from clearmargin.decoding import prepare
from clearmargin.dicom import decoding_process
from clearmargin.errors import ImageError, MissingExtraError, SourceError
from clearmargin.image_listing import count_images, images
from clearmargin.pixels import open_pixels
from clearmargin.prediction_file import Summary, predict_into
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from clearmargin.sources.dicom_directory import files_of_dicomdir

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


def test_one_patient_for_all_is_nobody_although_a_file_names_none(dicom, tmp_path: Path) -> None:
    root = study(dicom, tmp_path / "d", patient="SAME", studies=3)
    (root / "a" / "none.dcm").write_bytes(dicom(noise(), StudyInstanceUID="1.2.0"))
    (root / "a" / "anonymous.dcm").write_bytes(dicom(noise(), PatientID="Anonymous", StudyInstanceUID="1.2.7"))
    source = open_source(str(root))
    assert {sample.group[:6] for sample in source.samples if sample.group} == {"study "}
    assert len({sample.group for sample in source.samples}) == 4
    (finding,) = [finding for finding in source.findings if finding.kind == "one-patient-id"]
    assert finding.message.startswith("6 of 8 DICOM files name the same patient")


def test_one_who_is_named_among_many_who_are_not_is_somebody(dicom, tmp_path: Path) -> None:
    root = study(dicom, tmp_path / "d", patient=None, studies=3)
    for number in range(2):
        ids = {"PatientID": "P", "StudyInstanceUID": f"1.5.{number}"}
        (root / "a" / f"p{number}.dcm").write_bytes(dicom(noise(), **ids))
    source = open_source(str(root))
    groups = {sample.name: sample.group for sample in source.samples}
    assert groups["a/p0.dcm"] == groups["a/p1.dcm"]
    assert groups["a/p0.dcm"].startswith("patient ")
    assert "one-patient-id" not in {finding.kind for finding in source.findings}


def test_a_file_without_a_patient_has_the_one_of_its_study(dicom, tmp_path: Path) -> None:
    """Else slices of one study would be of two groups, and might be learned from and tested on."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name, ids in {
        "a/named": {"PatientID": "P", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"},
        "b/same-study": {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.2"},
        "a/same-series": {"PatientID": "anon", "StudyInstanceUID": None, "SeriesInstanceUID": "1.1.1"},
        "b/other": {"PatientID": "Q", "StudyInstanceUID": "1.2"},
        "a/one-of-two": {"PatientID": "R", "StudyInstanceUID": "1.3"},
        "a/other-of-two": {"PatientID": "S", "StudyInstanceUID": "1.3"},
        "b/of-whom": {"StudyInstanceUID": "1.3"},
    }.items():
        (tmp_path / name).write_bytes(dicom(noise(), **ids))
    groups = {sample.name: sample.group for sample in open_source(str(tmp_path)).samples}
    assert groups["a/named"] == groups["b/same-study"] == groups["a/same-series"]
    assert len(set(groups.values())) == 5
    assert groups["b/of-whom"].startswith("study ")


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


GRAY = Preprocessing(16, color="gray")


def away(monkeypatch: pytest.MonkeyPatch, path: Path, name: str) -> None:
    """From now on the system does not give a file: its stream is an error, or breaks off when it is read."""
    container = type(open_source(path).container)
    streams = container.streams

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    def failing(self, names):
        for number, (each, stream) in enumerate(streams(self, names)):
            error = ImageError("can't be read: Input/output error", transient=True)
            yield each, stream if each != name else Broken() if number % 2 else error

    monkeypatch.setattr(container, "streams", failing)


@pytest.mark.parametrize("kind", ["folder", "zip", "manifest"])
@pytest.mark.parametrize("name", ["healthy/00.dcm", "healthy/01.dcm", "healthy/20", "glioma/cine.IMA"])
def test_a_header_that_is_away_for_a_moment_ends_the_run_and_one_that_stays_away_an_image(
    folder: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(folder, "zip") if kind == "zip" else folder
    if kind == "manifest":
        path = folder / "data.csv"
        files = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*/*")) if file.is_file()]
        rows = [
            f"{file},{file.split('/')[0]}\n"
            for file in files
            if not file.endswith(("report.dcm", "DICOMDIR", "README"))
        ]
        path.write_text("path,label\n" + "".join(rows), encoding="ascii")
    sound = open_pixels(open_source(path), GRAY)
    assert len(sound.samples) == 12
    with monkeypatch.context() as patched:
        away(patched, path, name)
        source = open_source(path)
        found = open_pixels(source, GRAY, cache=folder.parent / "cache")  # it stays away
    others = [sample.name for sample in sound.samples if not sample.name.startswith(name)]
    assert [sample.name for sample in found.samples] == others
    if kind == "manifest" or name.endswith(("dcm", "IMA")):
        with pytest.raises(SourceError, match="could not be read for a moment, such as"):
            open_pixels(source, GRAY)  # although there is a store of all of them
    assert open_pixels(open_source(path), GRAY).samples == sound.samples


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
        list(images([folder]))


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """What pydicom has of a disc: a DICOMDIR and folders of patients."""
    shutil.copytree(DISC, tmp_path / "disc", ignore=shutil.ignore_patterns("DICOMDIR-*", "TINY_ALPHA", "*.txt"))
    return tmp_path / "disc"


def named(paths: list[Path], root: Path) -> list[str]:
    return [image.name.removeprefix(f"{root}/") for image in images(paths)]


def test_a_dicomdir_is_the_files_it_lists(disc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = disc / "77654033" / "CR1" / "not-listed"
    shutil.copy(disc / "77654033" / "CR1" / "6154", extra)
    (disc / "98892003" / "MR2" / "4950").unlink()
    source = open_source(str(disc / "DICOMDIR"))
    assert len(source.samples) == 30
    assert "77654033/CR1/not-listed" not in {sample.name for sample in source.samples}
    kinds = {finding.kind: finding for finding in source.findings}
    assert kinds["missing-files"].samples == ("98892003/MR2/4950",)
    listed = {image.name.removeprefix(f"{disc}/"): image for image in images([disc / "DICOMDIR"])}
    assert list(listed) == sorted([*(sample.name for sample in source.samples), "98892003/MR2/4950"])
    with pytest.raises(ImageError, match="it is not there, and the DICOMDIR lists it"):
        listed["98892003/MR2/4950"].read()
    assert prepare(listed["77654033/CR1/6154"].read(), Preprocessing(16)).facts.format == "DICOM"
    assert len(named([disc], disc)) == 31  # the folder: the file that is not listed too, the list itself not
    monkeypatch.chdir(disc)
    assert [image.name for image in images([Path("DICOMDIR")])] == list(listed)  # as given: no path of this machine


def test_a_dicomdir_leads_nowhere_else(tmp_path: Path, dicom) -> None:
    disc, secret = tmp_path / "disc", tmp_path / "secret"
    (disc / "IN").mkdir(parents=True)
    for path in (secret, disc / "IN" / "OWN"):
        path.write_bytes(dicom(noise()))
    (disc / "IN" / "LINK").symlink_to(secret)
    (disc / "IN" / "OUT").symlink_to(tmp_path)
    outside = ["..\\secret", str(secret), "IN\\..\\..\\secret", "IN\\LINK", "IN\\OUT\\secret", "\\".join(secret.parts)]
    assert all((disc / name.replace("\\", "/")).is_file() for name in outside[:-1])  # there to be found
    (disc / "DICOMDIR").write_bytes(dicomdir("IN\\OWN", "in\\own", ".\\IN\\OWN", "IN", "", *outside))
    found, missing = files_of_dicomdir(disc / "DICOMDIR")
    assert found == ("IN/OWN",)
    assert set(missing) == {"./IN/OWN", "IN", *(name.replace("\\", "/") for name in outside)}
    for image in images([disc / "DICOMDIR"]):
        if image.name != str(disc / "IN" / "OWN"):
            with pytest.raises(ImageError, match="it is not there"):
                image.read()


def test_files_in_lower_case_are_found(disc: Path) -> None:
    (disc / "77654033" / "CR1").rename(disc / "77654033" / "cr1")
    assert "77654033/cr1/6154" in {sample.name for sample in open_source(str(disc / "DICOMDIR")).samples}


@pytest.mark.parametrize("cut", [700, 5000, -100])
def test_a_damaged_dicomdir_is_refused(disc: Path, cut: int) -> None:
    """What is left of it lists some of the files: to go on with these would leave the others out without a word."""
    (disc / "DICOMDIR").write_bytes((disc / "DICOMDIR").read_bytes()[:cut])
    for opened in (open_source, lambda path: list(images([Path(path)]))):
        with pytest.raises(SourceError, match=r"DICOMDIR can't be used: damaged DICOM: it ends in the middle of"):
            opened(str(disc / "DICOMDIR"))


def test_one_file_is_no_study(folder: Path) -> None:
    with pytest.raises(SourceError, match="It is one image; a study needs many"):
        open_source(str(folder / "healthy" / "20"))


def test_images_to_predict(folder: Path) -> None:
    shutil.copy(BUNDLED / "test-SR.dcm", folder / "healthy" / "report")
    assert sorted(named([folder], folder)) == sorted(NAMES)
    assert count_images([folder]) == (len(NAMES), 2)  # both reports, whatever they are called
    assert count_images([folder, folder / "healthy" / "report"]) == (len(NAMES) + 1, 2)  # one is asked for
    (report,) = images([folder / "healthy" / "report"])
    with pytest.raises(ImageError, match="a DICOM file without an image"):
        prepare(report.read(), Preprocessing(16))
    (first, *_) = [image.read() for image in images([folder]) if image.name.endswith("cine.IMA#2")]
    assert prepare(first, Preprocessing(16)).facts.format == "DICOM"
    (folder / "empty").mkdir()
    shutil.copy(BUNDLED / "test-SR.dcm", folder / "empty" / "report")
    with pytest.raises(SourceError, match=r"no images in .*empty \(1 DICOM files hold none\)"):
        count_images([folder / "empty"])


def test_a_file_of_frames_is_read_when_they_are_and_once(folder: Path, dicom, monkeypatch: pytest.MonkeyPatch) -> None:
    cines = [folder / "glioma" / "cine.IMA", folder / "glioma" / "other.IMA"]
    cines[1].write_bytes(dicom(noise(2, 16, 16), NumberOfFrames=2))
    whole = list(open_source(str(folder)).read())
    opened = []

    def read(path: Path) -> bytes:
        opened.append(path)
        return path.read_bytes()

    monkeypatch.setattr(image_listing, "read_image_file", read)
    assert count_images(cines).images == 5
    listed = list(images(cines))
    assert opened == []
    assert [image.read() for image in listed] == whole[:5]
    assert opened == cines
    assert [image.read() for image in reversed(listed)] == whole[4::-1]


def test_a_file_of_frames_that_can_not_be_read_is_a_reason_for_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def read(path: Path) -> bytes:
        opened.append(path)
        raise ImageError("larger than 512 MiB")

    monkeypatch.setattr(image_listing, "read_image_file", read)
    for image in images([folder / "glioma" / "cine.IMA"]):
        with pytest.raises(ImageError, match="larger than 512 MiB"):
            image.read()
    assert len(opened) == 1


@pytest.mark.parametrize("cut", [150, 900, 1700, -1])
def test_predictions_of_dicom_go_on_to_the_same_bytes(folder: Path, disc: Path, tmp_path: Path, cut: int) -> None:
    """Frames, a damaged file, a report and files of a list that are not there, stopped anywhere."""
    sound = (folder / "healthy" / "20").read_bytes()
    (folder / "healthy" / "cut").write_bytes(sound[: len(sound) - 100])
    (disc / "98892003" / "MR2" / "4950").unlink()
    given, out = [folder, disc / "DICOMDIR"], tmp_path / "p.csv"

    def write(resume: bool) -> Summary:
        return predict_into(Echo(), given, out, resume=resume, progress=lambda *_: None)

    whole = write(False)
    assert (whole.images, whole.failed, whole.without_image) == (len(NAMES) + 1 + 31, 2, 1)
    assert list(whole.sentences())[-1] == "Passed over, DICOM without an image, such as reports: 1."
    content = out.read_bytes()
    assert len(content) > 2000
    out.write_bytes(content[:cut])
    assert write(True) == whole
    assert out.read_bytes() == content
