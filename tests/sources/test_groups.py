"""Patients out of file names."""

from __future__ import annotations

import numpy as np
import pytest

from clearmargin.errors import SourceError
from clearmargin.sources import open_source

NAMES = ("glioma/patient12_1.png", "glioma/patient12_2.png", "no/patient7_1.png")


def groups(source) -> list[str | None]:
    return [sample.group for sample in source.samples]


def test_the_captured_text_is_the_group(make_folder):
    source = open_source(make_folder(*NAMES), group_pattern=r"patient(\d+)_")
    assert groups(source) == ["12", "12", "7"]
    assert source.findings == ()
    assert len(list(source.read())) == 3


def test_the_pattern_sees_folders_too(make_folder):
    source = open_source(make_folder(*NAMES), group_pattern=r"^(?:glioma|no)/(patient\d+)")
    assert groups(source) == ["patient12", "patient12", "patient7"]


def test_names_without_a_match_are_counted(make_folder):
    root = make_folder(*NAMES, "no/other.png", "no/patient_1.png")
    source = open_source(root, group_pattern=r"patient(\d*)")
    assert groups(source) == ["12", "12", None, "7", None]
    (finding,) = source.findings
    assert (finding.kind, finding.severity) == ("group-not-found", "serious")
    assert finding.samples == ("no/other.png", "no/patient_1.png")
    assert "2 of 5 names" in finding.message


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"patient(\d+", r"'patient\(\\d\+' is not a regular expression \(missing \)"),
        (r"patient()", r"'patient\(\)' matches 3 of 3 names, but captures nothing in them: put parentheses around"),
        ("", r"'' matches 3 of 3 names, but captures nothing"),
        ("\x1b[31m(", r"'\\x1b\[31m\(' is not a regular"),
        (r"it's(\d)", r"""'it'"'"'s\(\\d\)' matches none"""),
        (r"(patient)(\d+)", "has 2 groups .* at most one"),
        (r"subject(\d+)", r"matches none of the 3 names; the first are 'glioma/patient12_1\.png'"),
    ],
)
def test_patterns_that_cannot_work_are_refused(make_folder, pattern, message):
    with pytest.raises(SourceError, match=message):
        open_source(make_folder(*NAMES), group_pattern=pattern)


def test_patients_are_not_named_twice(make_folder):
    root = make_folder(*NAMES)
    (root / "m.csv").write_text("path,label,patient\n" + "".join(f"{name},a,1\n" for name in NAMES))
    with pytest.raises(SourceError, match="name their patients already"):
        open_source(root / "m.csv", group_pattern=r"patient(\d+)_")
    with pytest.raises(SourceError, match="names its patients already"):
        open_source("phantom", group_pattern=r"(\d+)")


def test_arrays_can_have_groups_too(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 3, 3), np.uint8), labels=np.arange(4))
    source = open_source(tmp_path / "x.npz", group_pattern=r"/0000([01])$")
    assert groups(source) == ["0", "1", None, None]
    assert len(list(source.read())) == 4


def test_without_parentheses_the_whole_match_is_the_patient(make_folder):
    source = open_source(make_folder(*NAMES), group_pattern=r"patient\d+")
    assert {sample.group for sample in source.samples} == {"patient12", "patient7"}


def test_the_own_name_of_a_file_counts_before_its_folders(make_folder):
    root = make_folder("class1/p7_slice1.png", "class1/p8_slice1.png", "class2/p7_slice2.png")
    source = open_source(root, group_pattern=r"(\d+)")
    # the 7 of both class folders is one patient
    assert [sample.group for sample in source.samples] == ["7", "8", "7"]
    source = open_source(root, group_pattern=r"^(class\d/p\d+)")  # a slash: the whole path
    assert [sample.group for sample in source.samples] == ["class1/p7", "class1/p8", "class2/p7"]
    source = open_source(root, group_pattern=r"class(\d)")  # in no file's own name: the whole path
    assert [sample.group for sample in source.samples] == ["1", "1", "2"]


def test_a_pattern_that_never_ends_is_stopped(make_folder, monkeypatch):
    monkeypatch.setattr("clearmargin.sources.groups._SECONDS", 1.0)
    root = make_folder("a/" + "a" * 60 + "!.png", "b/b.png")
    with pytest.raises(SourceError, match=r"was not done with 2 names in 1 seconds.*\(a\+\)\+"):
        open_source(root, group_pattern=r"(?:a+)+$")
