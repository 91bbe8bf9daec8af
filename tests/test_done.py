"""What a contender left is believed as long as every byte of it is what it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clearmargin import done
from clearmargin.done import is_done, leave_out, write_done
from clearmargin.errors import WorkError
from clearmargin.files import file_sha256, sealed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.safetensors", "model.json", "history.csv", "predictions.csv"):
        (tmp_path / name).write_text(f"what is in {name}")
    (tmp_path / ".model.json.1.tmp").write_text("half")
    (tmp_path / "checkpoint").mkdir()
    assert not is_done(tmp_path, "CNN")  # predictions alone do not make it so
    write_done(tmp_path)
    return tmp_path


def test_it_names_every_file_by_its_hash(folder: Path) -> None:
    found = json.loads((folder / "done.json").read_text())
    names = ("history.csv", "model.json", "model.safetensors", "predictions.csv")
    assert found["files"] == {name: file_sha256(folder / name) for name in names}
    assert is_done(folder, "CNN")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "history.csv", "predictions.csv", "done.json"])
def test_a_single_bit_is_noticed_and_told(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert not is_done(folder, "CNN")
    assert caplog.messages == [f"'CNN' was done, but its {name} was damaged or changed since: it is trained again."]
    assert not is_done(folder, "CNN")  # also when that is killed
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("record", [b"", b"[]", b'{"files": 1}', b"[" * 100_000, json.dumps(sealed({})).encode()])
def test_a_record_that_is_none_is_damage(folder: Path, record: bytes) -> None:
    (folder / "done.json").write_bytes(record)
    assert not is_done(folder, "CNN")


def test_a_file_that_is_gone_is_damage(folder: Path) -> None:
    (folder / "history.csv").unlink()
    assert not is_done(folder, "CNN")


def test_what_can_not_be_read_at_the_moment_is_not_called_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(done, "file_sha256", failing)
    with pytest.raises(WorkError, match=r"can't be read at the moment \(Input/output error\): nothing was removed"):
        is_done(folder, "CNN")
    monkeypatch.undo()
    assert is_done(folder, "CNN")


def test_weights_are_left_out_and_killed_in_between_it_is_still_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(path: Path) -> None:
        raise Killed

    monkeypatch.setattr(done, "remove", killed)
    with pytest.raises(Killed):
        leave_out(folder, ("model.safetensors", "model.onnx"))
    monkeypatch.undo()
    assert is_done(folder, "CNN")
    leave_out(folder, ("model.safetensors", "model.onnx"))
    assert not (folder / "model.safetensors").exists()
    assert is_done(folder, "CNN")
