"""What `open_source` recognises, and what it says about the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clearmargin.errors import SourceError
from clearmargin.sources import catalogue, open_source, resolve

CLASS_FOLDERS = ("glioma/a.png", "no_tumor/a.png")


def test_a_missing_path_names_the_nearest(make_folder, tmp_path, monkeypatch):
    make_folder(*CLASS_FOLDERS, folder="brain")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"^There is no brian\. Did you mean brain\?$"):
        open_source("brian")
    with pytest.raises(SourceError, match=r"There is no brain/glioms/deep\. Did you mean brain/glioma\?"):
        open_source(Path("brain/glioms/deep"))
    with pytest.raises(SourceError, match="Did you mean the data set 'phantom' of the catalogue"):
        open_source("phanton")
    with pytest.raises(SourceError, match="Expected a path, or one of the catalogue: phantom, brain-tumor-mri"):
        open_source("/nothing/like/this")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the path is empty"),
        ("  ", "the path is empty"),
        ("https://example.org/data.zip", "nothing is fetched"),
        ("a\0b", "can't be a path"),
        ("x" * 5000, "File name too long"),
        ("~nobody-of-this-name/data", "nobody-of-this-name"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="wording as on POSIX")
def test_what_is_no_path(data, message):
    with pytest.raises(SourceError, match=message):
        open_source(data)


FILES = {
    "x.png": (b"\x89PNG\r\n\x1a\n", "It is one image.*clearmargin predict"),
    "x.csv": (b"", r"is empty \(0 bytes\)"),
    "x.npy": (b"\x93NUMPY\x01\0", "numpy.savez"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c", "Unpack the 7z"),
    "x.rar": (b"Rar!\x1a\x07", "Unpack the RAR"),
    "x.h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "x.xls": (b"\xd0\xcf\x11\xe0", "CSV UTF-8"),
    "x.gz": (b"\x1f\x8b\x08\0", "not recognised, or damaged"),
    "x.zip": (b"PK\x03\x04", "is damaged or cut short.*download it again"),
    "x": (b"hello", "Expected a folder, zip, tar, manifest"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_kinds(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device")
def test_a_device_is_refused():
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        open_source("/dev/null")


def test_a_catalogue_name_is_looked_for_where_the_variable_says(make_zip, tmp_path, monkeypatch):
    path = make_zip(CLASS_FOLDERS, "brain-tumor-mri.zip")
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path))
    assert resolve("brain-tumor-mri") == path
    assert len(open_source("brain-tumor-mri").samples) == 2
    assert resolve("mnist") is None
    assert resolve("unheard of") is None


def test_a_catalogue_name_without_a_copy_says_what_it_is_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)
    with pytest.raises(SourceError) as caught:
        open_source("brain-tumor-mri")
    for expected in ("Brain Tumor Classification (MRI)", "3,264 images", "Kaggle", "--data PATH", "CLEARMARGIN_DATA"):
        assert expected in str(caught.value)
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path))
    with pytest.raises(SourceError, match=r"which has no brain-tumor-mri\.zip or brain-tumor-mri"):
        open_source("brain-tumor-mri")


def test_a_path_that_is_called_like_a_data_set(make_folder, tmp_path, monkeypatch):
    make_folder(*CLASS_FOLDERS, folder="mnist")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)
    with pytest.raises(SourceError, match=r"write \./mnist"):
        open_source("mnist")
    assert open_source("./mnist").kind == "folder"
    assert open_source(Path("mnist")).kind == "folder"


def test_the_catalogue_reads_well():
    names = [dataset.name for dataset in catalogue()]
    assert names == ["phantom", "brain-tumor-mri", "brain-mri-yes-no", "mnist", "cifar10", "cifar10-images", "boston"]
    for dataset in catalogue():
        assert dataset.title
        assert dataset.terms
        assert dataset.about
        assert dataset.samples > 0


def test_the_phantom_is_in_the_catalogue_as_it_is():
    source = open_source("phantom")
    (record,) = [dataset for dataset in catalogue() if dataset.name == "phantom"]
    assert source.kind == "phantom"
    assert source.simulated
    assert len({sample.label for sample in source.samples}) == record.classes
    assert abs(len(source.samples) - record.samples) < 0.1 * record.samples
