"""Killed, stopped or refused by the disk in the middle of a study, it goes on to the same bits.

`benchmarks/kill_points.py` tries every place, each in a process that really dies; here are some, in this process.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from benchmarks.kill_points import fingerprint, silent

import clearmargin as cm
from clearmargin.check import main as check
from clearmargin.claim import sole_writer
from clearmargin.errors import ClearmarginError, DiskError, SourceError
from clearmargin.files import read_table
from clearmargin.interruption import Stopped, stoppable
from clearmargin.training import keeping

pytestmark = pytest.mark.usefixtures("without_figures")
FEW = ["training.epochs=2", "contender.0.training.early_stopping=1"]


class Killed(BaseException):
    """The process is gone: from here on it writes nothing any more."""


@pytest.fixture(autouse=True)
def _after_every_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "BATCH_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "LARGEST_SHARE", 1e9)
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))


Run = Callable[..., None]


@pytest.fixture
def run(class_folder: Path, tiny_recipe: Path) -> Run:
    def run(out: Path, *, resume: bool = False, progress: Callable[..., None] = silent) -> None:
        cm.run(tiny_recipe, data=class_folder, out=out, overrides=FEW, resume=resume, progress=progress)

    return run


@pytest.fixture(scope="module")
def in_peace(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fingerprint of the study when nothing happens."""
    out = tmp_path_factory.mktemp("peace") / "run"
    cm.run(tiny_recipe, data=class_folder, out=out, overrides=FEW, progress=silent)
    return fingerprint(out)


def break_file_operations(monkeypatch: pytest.MonkeyPatch, at: int | None, error: BaseException) -> list[str]:
    """Renaming, syncing, removing and writing tensors fail from the Nth time on; what was done is told."""
    done: list[str] = []

    def counted(operation: Callable[..., object], name: str) -> Callable[..., object]:
        def count(*words: object, **named: object) -> object:
            done.append(name)
            if at is not None and len(done) >= at:
                raise error
            return operation(*words, **named)

        return count

    for name in ("replace", "rename", "fsync", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name), name))
    monkeypatch.setattr(safetensors.torch, "save_file", counted(safetensors.torch.save_file, "save"))
    return done


def test_killed_at_any_file_operation(run: Run, in_peace: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        operations = break_file_operations(patch, None, Killed())
        run(tmp_path / "counted")
    early = [number for number, name in enumerate(operations, start=1) if name == "save"][-1]
    assert fingerprint(tmp_path / "counted") == in_peace
    lots = random.Random(0)
    for at in (*lots.sample(range(1, early), 3), lots.randrange(early, len(operations))):
        out = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
            break_file_operations(patch, at, Killed())
            run(out)
        run(out, resume=True)
        assert fingerprint(out) == in_peace, at
        assert not list(out.rglob("*.tmp")), at


def test_stopped_in_any_batch(run: Run, in_peace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_done, learned = keeping.Keeper.batch_done, list[int]()
    wanted: list[int] = []

    def counted(keeper: keeping.Keeper, *words: object) -> None:
        batch_done(keeper, *words)
        learned.append(1)
        if wanted and len(learned) == wanted[0]:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(keeping.Keeper, "batch_done", counted)
    run(tmp_path / "counted")
    in_all = len(learned)
    for seconds in ("CHECKPOINT_SECONDS", "BATCH_CHECKPOINT_SECONDS"):
        monkeypatch.setattr(keeping, seconds, 1e9)  # so that the signal alone has saved
    for at in (in_all // 4, in_all):
        out, learned[:], wanted[:] = tmp_path / str(at), [], [at]
        with pytest.raises(Stopped) as stopped, stoppable():
            run(out)
        assert stopped.value.exit_status == 143
        wanted.clear()
        run(out, resume=True)
        assert len(learned) == in_all, at  # no batch was learned from twice
        assert fingerprint(out) == in_peace, at


def test_a_disk_that_refuses_is_one_message_and_the_last_state_is_kept(run: Run, in_peace: str, tmp_path: Path) -> None:
    lots = random.Random(1)
    for at in lots.sample(range(2, 120), 2):
        out = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskError) as refused:  # noqa: PT012
            break_file_operations(patch, at, OSError(28, "No space left on device"))
            run(out)
        assert "\n" not in str(refused.value)
        run(out, resume=True)
        assert fingerprint(out) == in_peace, at


def test_a_lock_that_can_not_be_removed_hides_nothing_and_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with pytest.raises(DiskError, match="what the work says"), sole_writer(tmp_path / "run"):  # noqa: PT012
        monkeypatch.setattr(os, "unlink", refuse)
        raise DiskError("what the work says")
    monkeypatch.undo()
    with sole_writer(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()
    assert not (tmp_path / "run" / ".lock").exists()


def test_killed_before_anything_stands_in_the_folder(run: Run, in_peace: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.toml.1234.tmp").write_bytes(b"name = ")
    run(tmp_path / "run", resume=True)
    assert fingerprint(tmp_path / "run") == in_peace
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_damage_is_told_in_the_log_of_the_run(
    run: Run, in_peace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = itertools.count(1)

    def stop(what: str, done: int, total: int, note: str) -> None:
        if what == "one layer: training" and next(calls) == 4:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop)
    state = out / "contenders" / "one-layer" / "checkpoint" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    run(out, resume=True)
    told = "one-layer/checkpoint/state.safetensors is damaged"
    assert f"warning: The checkpoint {told}" in (out / "run.log").read_text()
    assert told in capsys.readouterr().err
    assert fingerprint(out) == in_peace


@pytest.mark.parametrize(
    ("name", "stopped_at", "looks"),
    [("predictions.csv", "two layers: training", 1), ("model.json", "Looking inside", 2)],
)
def test_what_was_done_and_is_damaged_is_trained_again(
    run: Run, in_peace: str, tmp_path: Path, name: str, stopped_at: str, looks: int
) -> None:
    """Also after the evaluation, which then rests on a file that is no more."""

    def stop(what: str, done: int, total: int, note: str) -> None:
        if what == stopped_at:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop)
    path = out / "contenders" / "one-layer" / name
    content = path.read_bytes()
    place = content.rindex(b"0.") + 2  # a digit of a figure
    path.write_bytes(content[:place] + (b"1" if content[place : place + 1] != b"1" else b"2") + content[place + 1 :])
    run(out, resume=True)
    told = f"warning: 'one layer' was done, but its {name} was damaged or changed since: it is trained again."
    assert told in (out / "run.log").read_text()
    assert check([str(out)]) == 0
    evaluation = out / "evaluation.json"
    figures = json.loads(evaluation.read_text())
    again = path.read_bytes() == content  # model.json may hold other seconds: the ledger then takes it for another
    assert figures.pop("evaluation_number") == (1 if again else looks)
    evaluation.write_text(json.dumps({**figures, "evaluation_number": 1}))
    assert fingerprint(out) == in_peace


def test_a_run_folder_that_vanishes_is_one_message(run: Run, tmp_path: Path) -> None:
    def vanish(what: str, done: int, total: int, note: str) -> None:
        if what == "two layers: training" and not (tmp_path / "elsewhere").exists():
            (tmp_path / "run").rename(tmp_path / "elsewhere")

    with pytest.raises(ClearmarginError) as told:
        run(tmp_path / "run", progress=vanish)
    assert "\n" not in str(told.value)


def test_images_that_vanish_while_they_are_read_are_not_left_out_for_ever(
    tiny_recipe: Path, draw_images: Callable[..., Path], tmp_path: Path
) -> None:
    images, out, away = tmp_path / "images", tmp_path / "run", tmp_path / "away"
    draw_images(images, {"alpha": 150, "beta": 150, "gamma": 150})  # more than the 256 that are decoded at once

    def vanish(what: str, done: int, total: int, note: str) -> None:
        if what.startswith("Reading") and not away.exists():
            (images / "gamma").rename(away)

    with pytest.raises(SourceError, match="changed while they were read"):
        cm.run(tiny_recipe, data=images, out=out, overrides=FEW, progress=vanish)
    away.rename(images / "gamma")
    run = cm.run(tiny_recipe, data=images, out=out, overrides=FEW, resume=True, progress=silent)
    assert len(read_table(out / "split.csv")) == 450
    assert run.evaluation["n"] > 0
