"""A whole small study on DICOM files: the window travels with the weights, and no name leaves the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

import clearmargin as cm  # noqa: E402
from clearmargin.runs import open_run  # noqa: E402

CANARIES = ("CANARYNAME", "CANARYID", "19010203", "CANARYPRIVATE", "CANARYHOSPITAL", "CANARYCOMMENT", "CANARYDOCTOR")
PATIENTS = 12


def write_slice(path: Path, pixels: np.ndarray, patient: int) -> None:
    """Hounsfield-like values of 12 bits, with everything in the header that must not get out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    made = FileDataset(str(path), Dataset(), file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.9999.{patient}", f"1.2.9999.{patient}.1"
    made.PatientName, made.PatientID = f"CANARYNAME^{patient}", f"CANARYID{patient}"
    made.PatientBirthDate, made.StudyDate = "19010203", "19010203"
    made.InstitutionName, made.ImageComments, made.OperatorsName = "CANARYHOSPITAL", "CANARYCOMMENT", "CANARYDOCTOR"
    made.private_block(0x11, "CANARYPRIVATE", create=True).add_new(1, "LO", "CANARYPRIVATE")
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape[-2:]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleSlope, made.RescaleIntercept, made.WindowCenter, made.WindowWidth = 1, -1024, 0, 600
    if pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.PixelData = pixels.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, made, enforce_file_format=True)


def write_patients(root: Path, patients: range, seed: int) -> None:
    """Two classes, 4 slices a patient, those of the fourth as a file of frames."""
    random = np.random.default_rng(seed)
    for patient in patients:
        kind = "lesion" if patient % 2 else "clear"
        stack = random.integers(900, 1100, (4, 20, 24))
        if patient % 2:
            stack[:, 6:12, 8:14] += 180
        if patient == 3:
            write_slice(root / kind / "stack.dcm", stack, patient)
            continue
        for number, pixels in enumerate(stack):
            write_slice(root / kind / f"{patient:02d}-{number}", pixels, patient)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of 12 patients, and a damaged file."""
    root = tmp_path_factory.mktemp("ct") / "data"
    write_patients(root, range(PATIENTS), 0)
    whole = (root / "clear" / "00-0").read_bytes()
    (root / "clear" / "cut.dcm").write_bytes(whole[: len(whole) - 300])
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "ct.toml"
    path.write_text(
        """
name = "CT"
[data]
size_px = 16
color = "gray"
window = { center = 0, width = 500 }
[split]
fractions = [0.5, 0.25, 0.25]
[audit]
label_suspects = false
[[contender]]
name = "small"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "global_average" }]
[training]
epochs = 2
learning_rate = 1e-2
[evaluation]
resamples = 200
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(slices: Path, recipe: Path, cache: Path, without_figures: None) -> Path:
    """The run's folder, made with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(cache))
        return cm.run(recipe, data=slices, out=recipe.parent / "run").folder


def test_every_slice_is_a_sample_and_patients_stay_whole(finished: Path) -> None:
    from clearmargin.files import read_table

    split = read_table(finished / "split.csv", text=("name", "label", "group", "part"))
    assert len(split) == 4 * PATIENTS
    assert {f"lesion/stack.dcm#{number}" for number in (1, 2, 3, 4)} <= set(split["name"])
    assert len(set(split["group"])) == PATIENTS
    assert (split.groupby("group")["part"].nunique() == 1).all()
    (unread,) = [
        finding
        for finding in json.loads((finished / "audit.json").read_text(encoding="utf-8"))["findings"]
        if finding["kind"] == "unreadable-images"
    ]
    assert unread["samples"] == ["clear/cut.dcm"]


def test_the_window_travels_with_the_weights(finished: Path) -> None:
    assert open_run(finished).contender("small").preprocessing.window == (0.0, 500.0)
    described = json.loads((finished / "contenders" / "small" / "model.json").read_text(encoding="utf-8"))
    assert described["preprocessing"]["window"] == [0.0, 500.0]


def test_a_window_that_is_none_makes_a_damaged_model(finished: Path, tmp_path: Path) -> None:
    import shutil

    from clearmargin.errors import RunFolderError
    from clearmargin.files import sealed

    for window in ("wide", [0.0], [0.0, 0.0], ["a", 1.0], {"center": 1}):
        shutil.copytree(finished, tmp_path / "run", dirs_exist_ok=True)
        path = tmp_path / "run" / "contenders" / "small" / "model.json"
        described = json.loads(path.read_text(encoding="utf-8"))
        described["preprocessing"]["window"] = window
        path.write_text(json.dumps(sealed(described)), encoding="utf-8")
        with pytest.raises(RunFolderError, match="does not describe a model"):
            open_run(tmp_path / "run")


def test_predictions_of_files_are_those_of_the_study(finished: Path, slices: Path) -> None:
    from clearmargin.evaluation.predictions import read_predictions
    from clearmargin.prediction import predict_files

    test = read_predictions(finished / "contenders" / "small" / "predictions.csv")["test"]
    said = predict_files(open_run(finished).contender("small"), [slices])
    assert list(said.failures) == [str(slices / "clear" / "cut.dcm")]
    probabilities = {
        name.removeprefix(f"{slices}/"): row
        for name, row in zip(said.table["image"], said.table[["clear", "lesion"]].to_numpy(), strict=True)
    }
    assert len(probabilities) == 4 * PATIENTS
    for name, expected in zip(test.names, test.probabilities, strict=True):
        assert np.abs(probabilities[name] - expected).max() < 1e-5


def test_no_name_date_or_number_leaves_the_files(
    finished: Path,
    slices: Path,
    cache: Path,
    tmp_path: Path,
    clearmargin: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Run folder, cache, and everything the commands print, log and write."""
    hold = [path.read_bytes() for path in slices.rglob("*") if path.is_file()]
    assert all(any(canary.encode() in content for content in hold) for canary in CANARIES)
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(cache))
    write_patients(tmp_path.parent / "others", range(20, 26), 1)
    said = ""
    for status, *words in [
        (0, "audit", slices),
        (0, "split", slices, "--out", tmp_path / "split.csv"),
        (1, "predict", finished, slices, "--json"),
        (0, "evaluate", finished, "--data", tmp_path.parent / "others", "--out", tmp_path / "external"),
        (2, "audit", slices / "clear" / "cut.dcm"),
    ]:
        left, out, err = clearmargin(*words)
        assert left == status, err
        said += out + err
    said += caplog.text
    assert said.count("clear/cut.dcm") >= 2
    assert (tmp_path / "external" / "external.json").is_file()
    written = [path for root in (finished, cache, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert len(written) > 10
    for canary in (*CANARIES, "1.2.9999."):
        assert canary not in said
        for path in written:
            assert canary.encode() not in path.read_bytes(), path
