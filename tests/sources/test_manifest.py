"""Manifests: columns, rows, and what is wrong with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from clearmargin.errors import ImageError, SourceError
from clearmargin.sources import open_source


@pytest.fixture
def write(make_folder) -> Callable[..., Path]:
    """Write a manifest beside images/1.png to 4.png."""

    def write(text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> Path:
        path = make_folder(*(f"images/{number}.png" for number in range(1, 5))) / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def kinds(source) -> list[str]:
    return [finding.kind for finding in source.findings]


def test_paths_labels_patients_parts_and_other_columns(write):
    source = open_source(
        write(
            "path,label,patient,part,Scanner\n"
            "images/2.png,glioma,p1,train,3T\n"
            "images/1.png,no tumour,p2,TESTING,=1+1\n"
            "images/3.png,NA,,,\n"
        )
    )
    assert source.kind == "manifest"
    first, second, third = source.samples
    assert (first.name, first.label, first.group, first.part) == ("images/1.png", "no tumour", "p2", "test")
    assert first.attributes == {"Scanner": "=1+1"}
    assert (second.label, second.group, second.part) == ("glioma", "p1", "train")
    assert (third.label, third.group, third.part) == ("NA", None, None)
    assert list(source.read()) == [b"images/1.png", b"images/2.png", b"images/3.png"]
    assert kinds(source) == ["patients-missing", "class-not-in-training"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["Image|DIAGNOSIS|Subject", " file | class | patient_id ", "filename|target|group"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_aliases_and_byte_order_marks(write, delimiter, header, encoding):
    text = f"{header}\r\nimages/1.png|a, or b; or c|7\r\n\r\nimages/2.png|d|8\r\n"
    quoted = "\r\n".join(delimiter.join(f'"{cell}"' for cell in line.split("|")) for line in text.splitlines() if line)
    source = open_source(write(quoted, encoding=encoding))
    assert [(sample.label, sample.group) for sample in source.samples] == [("a, or b; or c", "7"), ("d", "8")]
    assert source.findings == ()


def test_windows_separators_and_absolute_paths_inside_the_folder(write, tmp_path):
    inside = (tmp_path / "data/images/2.png").as_posix()
    source = open_source(write(f"path,label\nimages\\1.png,a\n{inside},b\n./images/../images/3.png,b\n"))
    assert [sample.name for sample in source.samples] == ["images/1.png", "images/2.png", "images/3.png"]


@pytest.mark.parametrize("path", ["../secret.png", "images/../../x.png", "/etc/passwd", "C:\\x.png", ".."])
def test_paths_outside_the_folder_are_refused(write, path):
    with pytest.raises(SourceError, match=r"Row 2 .* points outside its folder"):
        open_source(write(f"path,label\n{path},a\n"))


def test_missing_files_are_left_out_and_listed(write):
    source = open_source(write("path,label\nimages/1.png,a\nimages/9.png,b\nimages,b\n" + "x" * 5000 + ",b\n"))
    assert len(source.samples) == 1
    (finding,) = source.findings
    assert (finding.kind, len(finding.samples)) == ("missing-files", 3)
    assert finding.message.startswith("Left out, file not there: 3 rows of the manifest ('images/9.png', ")


def test_all_files_missing_is_an_error(write):
    rows = "".join(f"x/{number}.png,a\n" for number in range(7))
    with pytest.raises(SourceError, match=r"None of the 7 images .* 'x/4.png' and 2 more"):
        open_source(write("path,label\n" + rows))


def test_empty_labels_and_repeated_rows_are_left_out(write):
    source = open_source(write("path,label\nimages/1.png,a\nimages/1.png,a\nimages/2.png, \nimages/3.png\n"))
    assert len(source.samples) == 1
    assert kinds(source) == ["unlabelled-images", "repeated-rows"]
    assert source.findings[0].samples == ("images/2.png", "images/3.png")


@pytest.mark.parametrize("second", ["b,p1,train", "a,p2,train", "a,p1,test"])
def test_contradicting_rows_are_refused(write, second):
    text = f"path,label,patient,part\nimages/1.png,a,p1,train\nimages/1.png,{second}\n"
    with pytest.raises(SourceError, match=r"1 image twice .*'images/1\.png'"):
        open_source(write(text))


def test_an_unknown_part_is_refused(write):
    with pytest.raises(SourceError, match=r"Row 2 .* part 'holdout'; expected one of train, training, val"):
        open_source(write("path,label,part\nimages/1.png,a,holdout\n"))


def test_a_column_that_lacks_is_named_with_its_other_names(write):
    with pytest.raises(SourceError, match=r"label \(or class, target, diagnosis\); its first line has 'path', 'dx'"):
        open_source(write("path,dx\nimages/1.png,a\n"))


def test_two_columns_for_one_role_is_noticed(write):
    source = open_source(write("path,target,label\nimages/1.png,1,a\nimages/2.png,0,b\n"))
    assert [sample.label for sample in source.samples] == ["a", "b"]
    assert source.samples[0].attributes == {"target": "1"}
    assert source.findings[0].message == "The label is taken from the column 'label', not from 'target'."


def test_one_class_in_two_spellings_is_refused(write):
    with pytest.raises(SourceError, match="'Glioma', 'glioma'"):
        open_source(write("path,label\nimages/1.png,Glioma\nimages/2.png,glioma\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "has a header but no rows"),
        ("path,label\nimages/1.png,\n", "has a label"),
        ("path,label\n,a\n", "Row 2 .* has no path"),
        ("path,label\nimages/1.png,a,b\n", "Row 2 .* has 3 cells, the header 2"),
        ("path,label\nimages/1.png," + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_tables_that_are_none(write, text, message):
    with pytest.raises(SourceError, match=message):
        open_source(write(text))


def test_another_encoding_is_refused(write):
    with pytest.raises(SourceError, match="CSV UTF-8"):
        open_source(write("path,label\nimages/1.png,Tumör\n", encoding="latin-1"))
    with pytest.raises(SourceError, match="CSV UTF-8"):
        open_source(write("path,label\nimages/1.png,a\n", encoding="utf-16"))


def test_accents_may_be_stored_in_one_piece_or_apart(make_folder):
    composed, apart = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    root = make_folder(apart)
    (root / "m.csv").write_text(f"path,label\n{composed},a\n", encoding="utf-8")
    source = open_source(root / "m.csv")
    assert list(source.read()) == [apart.encode()]


def test_a_file_that_vanishes_yields_a_reason(write):
    path = write("path,label\nimages/1.png,a\nimages/2.png,b\n")
    source = open_source(path)
    (path.parent / "images/1.png").unlink()
    first, second = source.read()
    assert isinstance(first, ImageError)
    assert second == b"images/2.png"


def test_the_order_of_rows_does_not_matter(write):
    first = open_source(write("path,label\nimages/1.png,a\nimages/2.png,b\n"))
    again = open_source(write("label\tpath\nb\timages/2.png\na\timages/1.png\n", name="m.tsv"))
    assert [sample.name for sample in first.samples] == [sample.name for sample in again.samples]
    assert first.fingerprint() == again.fingerprint()
