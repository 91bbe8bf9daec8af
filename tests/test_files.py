import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from clearmargin.errors import DiskError
from clearmargin.files import (
    atomic_path,
    file_sha256,
    read_table,
    table_text,
    write_bytes,
    write_json,
    write_table,
    write_tensors,
    write_text,
)

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''", "'"]


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# Whole or not there


def test_folders_above_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "page", b"whole")
    assert only_file(tmp_path / "a" / "b").read_bytes() == b"whole"


def test_nothing_is_there_before_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "page") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "page").exists()
        assert temporary.parent == tmp_path  # renaming works on one disk only
    assert only_file(tmp_path).read_text() == "half"


def test_text_keeps_its_line_ends_and_what_is_not_unicode(tmp_path):
    write_text(tmp_path / "page", "ä\r\nb\n\udcff\ud800")
    assert (tmp_path / "page").read_bytes().decode("utf-8", "surrogatepass") == "ä\r\nb\n\udcff\ud800"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_inside_leaves_what_was_there(tmp_path, error):
    write_text(tmp_path / "page", "old")

    def interrupted():
        with atomic_path(tmp_path / "page") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert only_file(tmp_path).read_text() == "old"


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_disk_that_refuses_leaves_what_was_there(tmp_path, monkeypatch, step):
    write_text(tmp_path / "page", "old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(
        DiskError, match=r"^Could not write page in .*: No space left on device\. What was there before"
    ):
        write_text(tmp_path / "page", "new")
    assert only_file(tmp_path).read_text() == "old"


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"Could not write page in .*file"):
        write_text(tmp_path / "file" / "page", "new")


FULL = """
import resource, sys
from pathlib import Path
import torch
from clearmargin.errors import DiskError
from clearmargin.files import write_bytes, write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
folder = Path(sys.argv[1])
for write in (
    lambda: write_bytes(folder / "page", bytes(200_000)),
    lambda: write_tensors(folder / "page", {"a": torch.zeros(50_000)}),
):
    try:
        write()
    except DiskError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_a_full_disk_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "page", "old")
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("Could not write page")
    assert second.startswith("Could not write page")
    assert "File too large" in first
    assert "File too large" in second
    assert only_file(tmp_path).read_text() == "old"


KILLED = """
import os, sys
from pathlib import Path
from clearmargin.files import atomic_path
with atomic_path(Path(sys.argv[1]) / "page") as temporary:
    temporary.write_text("half")
    os._exit(9)
"""


def test_a_killed_writer_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "page", "old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == 9
    assert (tmp_path / "page").read_text() == "old"
    write_text(tmp_path / "page", "new")
    assert (tmp_path / "page").read_text() == "new"


def test_tensors_come_back_with_their_metadata(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}
    write_tensors(tmp_path / "weights", tensors)
    found = load_file(tmp_path / "weights")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in tensors.items())


def test_the_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "page").write_bytes(b"abc")
    assert file_sha256(tmp_path / "page") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# JSON


def test_json_is_valid_utf_8_whatever_the_names(tmp_path):
    content = {"größe": [1, None, True], "\udcff\ud800": "a\u2028b"}
    write_json(tmp_path / "page.json", content)
    text = (tmp_path / "page.json").read_bytes().decode()
    assert json.loads(text) == content
    assert '"größe": [\n' in text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_number_that_is_none(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "page.json", {"loss": number})
    assert list(tmp_path.iterdir()) == []


# Tables

cells = st.sampled_from([*FORMULAS, "NA", "nan", "None", "", " ", "1", "1e5", "True", '"', ",", "a\r\nb", "x\0y"])
anything = st.text(st.characters(), max_size=8) | cells  # lone surrogates included


@given(st.lists(st.tuples(anything, anything), min_size=1, max_size=6))
def test_text_comes_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    frame = pd.DataFrame(rows, columns=["name", "label"], dtype=object)
    write_table(path, frame)
    again = read_table(path, text=("name", "label"))
    assert again["name"].tolist() == [row[0] for row in rows]
    assert again["label"].tolist() == [row[1] for row in rows]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20), st.booleans())
def test_numbers_come_back_with_all_their_digits(tmp_path_factory, numbers, gap):
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    written = pd.DataFrame({"x": [*numbers, np.nan] if gap else numbers, "n": range(len(numbers) + gap)})
    write_table(path, written)
    pd.testing.assert_frame_equal(read_table(path), written, check_exact=True, check_column_type=False)


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_starts_a_formula(cell):
    text = table_text(pd.DataFrame({cell: [cell], "x": [-1.5]}))
    assert text.startswith("\"'")
    assert text.endswith(",-1.5\n")
    assert text.count("\"'") == 2


def test_text_that_looks_like_numbers_stays_text_where_it_is_said_so(tmp_path):
    write_table(tmp_path / "table.csv", pd.DataFrame({"name": ["001", "002"], "class": ["NA", "nan"], "x": [1, 2]}))
    table = read_table(tmp_path / "table.csv", text=("name",))
    assert table["name"].tolist() == ["001", "002"]
    assert table["class"].tolist() == ["NA", "nan"]
    assert table["x"].tolist() == [1, 2]


def test_missing_text_is_empty_and_a_missing_number_is_none(tmp_path):
    frame = pd.DataFrame({"group": pd.Series([None, "a"], dtype=object), "x": [np.nan, 0.5], "yes": [True, False]})
    write_table(tmp_path / "table.csv", frame)
    table = read_table(tmp_path / "table.csv")
    assert table["group"].tolist() == ["", "a"]
    assert np.isnan(table["x"][0])
    assert table["x"][1] == 0.5
    assert table["yes"].tolist() == [True, False]


def test_columns_of_the_same_name_keep_their_own_content():
    frame = pd.DataFrame([["a.png", "yes", 0.25]], columns=["image", "predicted", "image"])
    assert table_text(frame) == '"image","predicted","image"\n"a.png","yes",0.25\n'


def test_the_frame_itself_is_left_alone():
    frame = pd.DataFrame({"=x": ["=1"]})
    table_text(frame)
    assert frame.to_dict() == {"=x": {0: "=1"}}


def test_a_table_without_rows(tmp_path):
    write_table(tmp_path / "table.csv", pd.DataFrame({"name": [], "x": []}))
    assert read_table(tmp_path / "table.csv", text=("name",)).shape == (0, 2)


def test_what_is_no_table_in_utf_8_is_an_error_of_value(tmp_path):
    (tmp_path / "table.csv").write_bytes(b'"name"\n"\xff\xfe"\n')
    with pytest.raises(ValueError, match="utf-8"):
        read_table(tmp_path / "table.csv")
