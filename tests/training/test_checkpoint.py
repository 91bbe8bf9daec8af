import json
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clearmargin.errors import DiskError, RunFolderError, WorkError
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Augmentation, Contender, Training
from clearmargin.training import checkpoint, keeping
from clearmargin.training.checkpoint import mend_checkpoint
from clearmargin.training.feeds import CacheFeed, ImageFeed
from clearmargin.training.loop import Fitted, Labelled, fit

SAMPLES, BATCHES, CLASSES = 12, 3, 3
LAYERS = [
    {"conv": 4, "batch_norm": True, "activation": "relu"},
    {"pool": "max"},
    {"conv": 6, "kernel": 2},
    {"pool": "global_average"},
    {"dropout": 0.3},
    {"dense": 5, "activation": "relu"},
]
CHANGES = Augmentation(flip_horizontal=True, rotate_degrees=10, brightness=0.1, noise=0.1)
TARGETS = torch.arange(SAMPLES) % CLASSES


@pytest.fixture(autouse=True)
def _after_every_epoch(monkeypatch):
    """Epochs of milliseconds are saved too, so that every one can be gone on from."""
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "LARGEST_SHARE", 1e9)


Study = Callable[[], tuple[nn.Module, Labelled, Labelled]]


@pytest.fixture
def plain_cnn(pictures) -> Study:
    """A plain CNN with dropout and batch normalisation on augmented images."""

    def study():
        contender = Contender.model_validate({"name": "plain", "layers": LAYERS})
        network = build_network(contender, (3, 8, 8), CLASSES)
        initialise(network, torch.Generator().manual_seed(3))
        mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        train = ImageFeed(pictures(SAMPLES), mean, std, CHANGES)
        validation = ImageFeed(pictures(SAMPLES, seed=1), mean, std)
        return network, Labelled(train, TARGETS), Labelled(validation, TARGETS)

    return study


@pytest.fixture
def cached_views() -> Study:
    """A tail on two views of cached activations."""

    def study():
        rng = np.random.default_rng(0)
        values = torch.tensor(rng.normal(size=(3, SAMPLES, 4, 4, 6))).to(torch.bfloat16)

        class View:
            shape, dtype = (SAMPLES, 4, 4, 6), np.dtype(np.int16)

            def __init__(self, number: int) -> None:
                self.bits = values[number].view(torch.int16).numpy()

            def read(self, rows: np.ndarray) -> np.ndarray:
                return self.bits[rows]

        torch.manual_seed(3)
        tail = nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, CLASSES))
        return tail, Labelled(CacheFeed([View(0), View(1)]), TARGETS), Labelled(CacheFeed([View(2)]), TARGETS)

    return study


@pytest.fixture(params=["plain_cnn", "cached_views"])
def study(request) -> Study:
    return request.getfixturevalue(request.param)


class Killed(BaseException):
    """The process is gone: nothing is saved any more."""


def run(
    study: Study,
    folder,
    stop_at: int | None = None,
    resume=True,
    seed=5,
    precision=torch.float32,
    end: type[BaseException] = Killed,
    **settings,
):
    """Train for three epochs; with ``stop_at``, it ends after that batch: it is killed, or the user stops it."""
    model, train, validation = study()

    def report(done: int, total: int, note: str) -> None:
        if done == stop_at:
            raise end

    fitted = fit(
        model,
        train,
        validation,
        Training(**{"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "augmentation": CHANGES, **settings}),
        classes=CLASSES,
        precision=precision,
        seed=seed,
        checkpoint=folder / "plain" / "checkpoint" / "state.safetensors",
        resume=resume,
        report=report,
    )
    return model, fitted


def interrupted(study: Study, folder, stop_at: int, end: type[BaseException] = Killed, **settings) -> None:
    with pytest.raises(end):
        run(study, folder, stop_at, end=end, **settings)


def require_same(first: tuple[nn.Module, Fitted], second: tuple[nn.Module, Fitted]) -> None:
    """The same bits everywhere but in the seconds."""
    weights, others = first[0].state_dict(), second[0].state_dict()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []
    histories = [[{**row, "seconds": 0} for row in fitted.history] for _, fitted in (first, second)]
    assert json.dumps(histories[0]) == json.dumps(histories[1])
    assert (first[1].best_epoch, first[1].epochs_run) == (second[1].best_epoch, second[1].epochs_run)


def path_of(folder):
    return folder / "plain" / "checkpoint" / "state.safetensors"


# Resuming


def test_killed_after_any_batch_it_goes_on_to_the_same_bits(study, tmp_path):
    whole = run(study, tmp_path / "whole")
    for stop_at in range(1, 3 * BATCHES + 1):
        folder = tmp_path / str(stop_at)
        interrupted(study, folder, stop_at)
        assert path_of(folder).exists() == (stop_at > BATCHES)
        require_same(run(study, folder), whole)


def batches_of(study: Study, folder, **settings) -> tuple[tuple[nn.Module, Fitted], list[int]]:
    """Train; tell which batches were learned from."""
    seen: list[int] = []
    model, train, validation = study()
    training = Training(**{"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "augmentation": CHANGES, **settings})
    fitted = fit(
        model,
        train,
        validation,
        training,
        classes=CLASSES,
        precision=torch.float32,
        seed=5,
        checkpoint=path_of(folder),
        resume=True,
        report=lambda done, total, note: seen.append(done),
    )
    return (model, fitted), seen


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "early_stopping": 1}, {"optimizer": "muon"}])
def test_stopped_after_any_batch_it_goes_on_with_the_next(study, tmp_path, settings):
    whole, learned = batches_of(study, tmp_path / "whole", **settings)
    for stop_at in learned:
        folder = tmp_path / str(stop_at)
        interrupted(study, folder, stop_at, KeyboardInterrupt, **settings)
        again, rest = batches_of(study, folder, **settings)
        require_same(again, whole)
        assert rest == learned[stop_at:]


def test_long_epochs_are_saved_between_batches(study, tmp_path, monkeypatch):
    whole = run(study, tmp_path / "whole")
    monkeypatch.setattr(keeping, "BATCH_CHECKPOINT_SECONDS", 0.0)
    for stop_at in (1, 2, BATCHES + 2):
        folder = tmp_path / str(stop_at)
        interrupted(study, folder, stop_at)
        assert path_of(folder).exists()
        again, rest = batches_of(study, folder)
        require_same(again, whole)
        assert rest[0] == stop_at + 1


def test_stopped_while_judging_nothing_is_learned_twice(plain_cnn, tmp_path, monkeypatch):
    whole = run(plain_cnn, tmp_path / "whole")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("clearmargin.training.loop.judge", stop)
        with pytest.raises(KeyboardInterrupt):
            run(plain_cnn, tmp_path / "part")
    again, rest = batches_of(plain_cnn, tmp_path / "part")
    require_same(again, whole)
    assert rest[0] == BATCHES + 1


def test_a_batch_that_is_cut_in_two_is_not_saved(plain_cnn, tmp_path, monkeypatch):
    whole = run(plain_cnn, tmp_path / "whole")
    step, steps = torch.optim.AdamW.step, []

    def cut(self: torch.optim.AdamW, *words: object) -> object:
        steps.append(step(self, *words))
        if len(steps) == 2:
            raise KeyboardInterrupt
        return steps[-1]

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", cut)
        with pytest.raises(KeyboardInterrupt):
            run(plain_cnn, tmp_path / "part")
    assert not path_of(tmp_path / "part").exists()
    require_same(run(plain_cnn, tmp_path / "part"), whole)


def test_saving_takes_a_small_share_of_the_time(plain_cnn, tmp_path, monkeypatch):
    saved, slow = [], keeping.save_checkpoint

    def counted(*words: object) -> None:
        slow(*words)
        saved.append(time.sleep(0.2))

    monkeypatch.setattr(keeping, "save_checkpoint", counted)
    monkeypatch.setattr(keeping, "LARGEST_SHARE", 0.05)
    run(plain_cnn, tmp_path)
    assert len(saved) == 2  # after the first epoch and at the end: the second epoch comes too soon


def test_stopped_again_and_again(study, tmp_path):
    whole = run(study, tmp_path / "whole")
    for stop_at in (2, BATCHES + 1, BATCHES + 2, 2 * BATCHES + 2, 3 * BATCHES):
        interrupted(study, tmp_path / "often", stop_at)
    require_same(run(study, tmp_path / "often"), whole)


def test_what_is_not_saved_is_done_again_to_the_same_bits(plain_cnn, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 3600.0)
    whole = run(plain_cnn, tmp_path / "whole")
    interrupted(plain_cnn, tmp_path / "stopped", 2 * BATCHES + 1)
    assert not path_of(tmp_path / "stopped").exists()
    require_same(whole, run(plain_cnn, tmp_path / "stopped"))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "schedule": "cosine"},
        {"optimizer": "sgd", "momentum": 0},
        {"optimizer": "rmsprop"},
        {"optimizer": "rmsprop", "momentum": 0},
        {"optimizer": "adadelta", "schedule": "constant"},
        {"optimizer": "muon"},
        {"keep": "last"},
        {"early_stopping": 1},
        {"class_weights": True, "label_smoothing": 0.1},
        {"precision": torch.bfloat16},
        {"precision": torch.bfloat16, "optimizer": "muon"},
    ],
)
def test_every_way_of_training_resumes(study, tmp_path, settings):
    whole = run(study, tmp_path / "whole", **settings)
    try:
        run(study, tmp_path / "part", BATCHES + 2, **settings)
    except Killed:
        assert path_of(tmp_path / "part").exists()
    require_same(run(study, tmp_path / "part", **settings), whole)


def test_the_precision_it_began_with_is_kept(plain_cnn, tmp_path):
    whole = run(plain_cnn, tmp_path / "whole", precision=torch.bfloat16)
    interrupted(plain_cnn, tmp_path / "part", BATCHES + 1, precision=torch.bfloat16)
    again = run(plain_cnn, tmp_path / "part", precision=torch.float32)
    assert again[1].precision == "torch.bfloat16"
    require_same(again, whole)


def test_what_is_finished_is_not_trained_again(study, tmp_path):
    whole = run(study, tmp_path)
    require_same(run(study, tmp_path, stop_at=1), whole)


def test_without_resume_it_starts_anew(study, tmp_path):
    whole = run(study, tmp_path)
    with pytest.raises(Killed):
        run(study, tmp_path, stop_at=1, resume=False)
    assert list(path_of(tmp_path).parent.iterdir()) == []  # nothing of the former is fallen back to
    require_same(run(study, tmp_path, resume=False), whole)


def test_the_seconds_of_both_halves_are_counted(plain_cnn, tmp_path):
    interrupted(plain_cnn, tmp_path, 2 * BATCHES + 1)
    _, fitted = run(plain_cnn, tmp_path)
    assert fitted.seconds == pytest.approx(sum(row["seconds"] for row in fitted.history))
    assert len(fitted.history) == 3


# What is refused


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0.01}, {"seed": 6}, {"epochs": 4}, {"augmentation": Augmentation()}]
)
def test_a_checkpoint_of_other_settings_is_refused(plain_cnn, tmp_path, settings):
    interrupted(plain_cnn, tmp_path, BATCHES + 1)
    before = path_of(tmp_path).read_bytes()
    with pytest.raises(
        RunFolderError, match=r"plain/checkpoint/state\.safetensors was made with other settings, .*--out"
    ):
        run(plain_cnn, tmp_path, **settings)
    assert path_of(tmp_path).read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(plain_cnn, cached_views, tmp_path):
    interrupted(plain_cnn, tmp_path, BATCHES + 1)
    with pytest.raises(RunFolderError, match="was made with another network: resume with the same recipe"):
        run(cached_views, tmp_path)


def damaged_copies(sound: bytes, flips: int) -> list[bytes]:
    """Cut, lengthened, of another kind, and with single bits flipped in header and values."""
    header = 8 + int.from_bytes(sound[:8], "little")
    drawn = random.Random(0)
    places = [*range(8), *drawn.sample(range(8, header), flips), *drawn.sample(range(header, len(sound)), flips)]
    damaged = [sound[:cut] for cut in (0, 1, 7, 8, 9, header - 1, header, len(sound) // 2, len(sound) - 1)]
    damaged += [sound + b"\0", b"\0" * len(sound), b"PK\3\4" + sound]
    for place in places:
        flipped = bytearray(sound)
        flipped[place] ^= 1 << drawn.randrange(8)
        damaged.append(bytes(flipped))
    return damaged


def test_a_damaged_checkpoint_is_always_noticed(plain_cnn, tmp_path, caplog):
    interrupted(plain_cnn, tmp_path, BATCHES + 1)
    path = path_of(tmp_path)
    sound = path.read_bytes()
    assert mend_checkpoint(path)  # no false alarm
    assert caplog.text == ""
    for content in damaged_copies(sound, 150):
        path.write_bytes(content)
        assert not mend_checkpoint(path)
        assert not path.exists()
        assert "state.safetensors is damaged (" in caplog.text
        assert "this contender is trained from the start" in caplog.text
        caplog.clear()


def test_a_damaged_checkpoint_costs_one_interval(study, tmp_path, caplog):
    whole = run(study, tmp_path / "whole")
    interrupted(study, tmp_path / "part", 2 * BATCHES + 1)
    path = path_of(tmp_path / "part")
    flipped = bytearray(path.read_bytes())
    flipped[-1] ^= 4
    path.write_bytes(flipped)
    again, rest = batches_of(study, tmp_path / "part")
    require_same(again, whole)
    assert rest[0] == BATCHES + 1  # the second epoch is done again
    assert "training goes on from the one before it" in caplog.text


@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate\nmemory")],
)
def test_what_can_not_be_read_at_the_moment_is_not_called_damaged(plain_cnn, tmp_path, monkeypatch, caplog, error):
    whole = run(plain_cnn, tmp_path / "whole")
    interrupted(plain_cnn, tmp_path / "part", 2 * BATCHES + 1)
    folder = path_of(tmp_path / "part").parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.name for path in before} == {"state.safetensors", "previous.safetensors"}

    def failing(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "safe_open", failing)
        with pytest.raises(WorkError, match=r"can't be read at the moment \(.+\): nothing was removed. Resume when"):
            run(plain_cnn, tmp_path / "part")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    again, rest = batches_of(plain_cnn, tmp_path / "part")
    require_same(again, whole)
    assert (rest[0], caplog.text) == (2 * BATCHES + 1, "")


def test_the_one_before_is_only_read_when_it_is_needed(plain_cnn, tmp_path, monkeypatch):
    interrupted(plain_cnn, tmp_path, 2 * BATCHES + 1)
    read, opened = [], checkpoint.safe_open

    def counted(path, **words):
        read.append(path.name)
        return opened(path, **words)

    monkeypatch.setattr(checkpoint, "safe_open", counted)
    with pytest.raises(Killed):
        run(plain_cnn, tmp_path, 2 * BATCHES + 1)
    assert read == ["state.safetensors"]


def test_with_both_damaged_the_contender_is_trained_from_the_start(study, tmp_path, caplog):
    whole = run(study, tmp_path / "whole")
    interrupted(study, tmp_path / "part", 2 * BATCHES + 1)
    for name in ("state", "previous"):
        (path_of(tmp_path / "part").with_name(f"{name}.safetensors")).write_bytes(b"nothing")
    again, rest = batches_of(study, tmp_path / "part")
    require_same(again, whole)
    assert rest[0] == 1
    assert "trained from the start" in caplog.text


def test_a_kill_between_the_two_names_leaves_the_one_before(plain_cnn, tmp_path, caplog):
    whole = run(plain_cnn, tmp_path / "whole")
    interrupted(plain_cnn, tmp_path / "part", BATCHES + 1)
    path = path_of(tmp_path / "part")
    path.rename(path.with_name("previous.safetensors"))
    path.with_name("next.safetensors").write_bytes(b"half")
    again, rest = batches_of(plain_cnn, tmp_path / "part")
    require_same(again, whole)
    assert (rest[0], caplog.text) == (BATCHES + 1, "")


def test_what_the_disk_gives_back_otherwise_replaces_nothing(plain_cnn, tmp_path, monkeypatch):
    interrupted(plain_cnn, tmp_path, BATCHES + 1)
    sound, written = path_of(tmp_path).read_bytes(), checkpoint.write_tensors

    def failing(path, *words):
        written(path, *words)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(checkpoint, "write_tensors", failing)
    with pytest.raises(DiskError, match=r"can't be read back as it was written .*before it is kept"):
        run(plain_cnn, tmp_path)
    assert path_of(tmp_path).read_bytes() == sound


@pytest.mark.parametrize("damaged", [None, "state.safetensors"])
def test_a_checkpoint_of_another_version_is_not_called_damaged(plain_cnn, tmp_path, caplog, damaged):
    interrupted(plain_cnn, tmp_path, 2 * BATCHES + 1)
    folder = path_of(tmp_path).parent
    for path in folder.iterdir():
        save_file(load_file(path), path, metadata={"format": "1", "progress": "{}"})
        if path.name == damaged:
            path.write_bytes(b"nothing")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(
        RunFolderError, match=r"written by another version .*format is 1, expected .*nothing was removed"
    ):
        run(plain_cnn, tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert caplog.text == ""


def test_a_disk_that_refuses_leaves_the_last_checkpoint(plain_cnn, tmp_path, monkeypatch):
    whole = run(plain_cnn, tmp_path / "whole")
    interrupted(plain_cnn, tmp_path, BATCHES + 1)
    sound = path_of(tmp_path).read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", refuse)
        with pytest.raises(DiskError, match="No space left on device"):
            run(plain_cnn, tmp_path)
    assert path_of(tmp_path).read_bytes() == sound
    assert [path.name for path in path_of(tmp_path).parent.iterdir()] == ["state.safetensors"]
    require_same(run(plain_cnn, tmp_path), whole)
