"""Where an exported file may lie: nothing of a run, and nothing that somebody else wrote, is lost."""

from __future__ import annotations

import pytest

from clearmargin.errors import UsageError
from clearmargin.exporting.places import LOADER_BEGINS, MADE_BY, check_place
from clearmargin.files import json_bytes


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "contenders" / "vgg16").mkdir(parents=True)
    (tmp_path / "run" / "contenders" / "vgg16" / "model.json").write_text("{}")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("model", "onnx", r"must end in \.onnx"),
        ("q.json", "onnx", r"must end in \.onnx"),
        ("mine.pt", "torch", r"must end in \.safetensors"),
        ("page", "html", r"must end in \.html"),
        ("run/contenders/vgg16/model.onnx", "onnx", "lies in the run folder"),
        ("run/report.html", "html", "lies in the run folder"),
        ("run/exported/../new.onnx", "onnx", "lies in the run folder"),
        ("link/model.onnx", "onnx", "lies in the run folder"),
    ],
)
@pytest.mark.parametrize("int8", [False, True])
def test_what_is_refused(run, tmp_path, name, kind, complaint, int8):
    (tmp_path / "link").symlink_to(run / "contenders" / "vgg16")
    with pytest.raises(UsageError, match=complaint):
        check_place(tmp_path / name, run, kind, int8=int8)


@pytest.mark.parametrize(
    ("name", "kind", "int8", "beside", "own"),
    [
        ("train.safetensors", "torch", False, "train.py", LOADER_BEGINS.encode()),
        ("x.onnx", "onnx", True, "x.onnx.json", json_bytes({"made_by": MADE_BY, "n": 1})),
    ],
)
def test_what_lies_beside_is_only_replaced_when_it_is_our_own(run, tmp_path, name, kind, int8, beside, own):
    check_place(tmp_path / name, run, kind, int8=int8)
    for content, allowed in ((own, True), (b"import torch\n", False), (b"", False), (b'{"made_by": 1}', False)):
        (tmp_path / beside).write_bytes(content)
        if allowed:
            check_place(tmp_path / name, run, kind, int8=int8)
            continue
        with pytest.raises(UsageError, match=rf"{beside} would be written beside {name}, and is there already"):
            check_place(tmp_path / name, run, kind, int8=int8)
    (tmp_path / beside).unlink()
    (tmp_path / beside).mkdir()
    with pytest.raises(UsageError, match="is there already"):
        check_place(tmp_path / name, run, kind, int8=int8)


def test_the_own_folder_of_a_run_is_allowed(run, tmp_path, monkeypatch):
    check_place(run / "exported" / "x.onnx", run, "onnx", int8=True)
    check_place(run / "exported" / "X.ONNX", run, "onnx", int8=False)
    check_place(tmp_path / "runs.onnx", run, "onnx", int8=False)
    monkeypatch.chdir(run)
    check_place(run / "exported" / "x.onnx", type(run)("."), "onnx", int8=False)


def test_the_command_refuses_before_it_works(tiny, clearmargin, monkeypatch):
    before = {path: path.read_bytes() for path in tiny.folder.rglob("*") if path.is_file()}
    inside = tiny.best.folder / "model.onnx"
    status, _, err = clearmargin("export", tiny.folder, "--format", "onnx", "--out", inside)
    assert status == 2
    assert "lies in the run folder" in err
    assert before == {path: path.read_bytes() for path in tiny.folder.rglob("*") if path.is_file()}
