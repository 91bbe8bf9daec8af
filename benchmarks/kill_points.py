"""Killed at any file operation, stopped in any batch, refused by the disk: does a study go on to the same bits?

Small studies are run once in peace. Then, each time in a process of its own:

- ``killed``: the process ends (``os._exit``, no cleaning up) at the Nth file operation, N = 1 … ; a file that it was
  about to sync is cut in half first. Then the same command with resume.
- ``stopped``: SIGTERM comes within the Nth batch of two epochs of each contender. No other checkpoint is written than
  what the signal saves, and one when a training ends. Then resume, which must begin with the batch that follows.
- ``stopped-anywhere``: SIGTERM comes at some millisecond of the study, while images are read, layers computed, figures
  written. It must have left within ten seconds. Then resume.
- ``refused``: the Nth file operation, and all that follow, fail as on a full disk. That must end in one error of
  ours, or the study goes on without (a ledger of the machine). Then resume.

File operations are opening to write, renaming, removing, making folders, syncing, and writing tensors, in the run
folder and in the cache; but for ``stopped``, a checkpoint is written after every batch. After each resume weights,
histories, predictions, gates and evaluation are compared with those of the undisturbed study, bit by bit (all but
seconds and dates), and nothing half-written may be left. Power cuts that reorder what was written before are not
simulated.

    python benchmarks/kill_points.py [--study plain vgg16] [--way killed stopped stopped-anywhere refused] [--points N]
                                     [--seed 0]

``--points`` takes so many of them by lot (the seed) in place of all (of the milliseconds, 100 where it is not given).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # children are forked: nothing may wait for threads that are not there

import numpy as np
import torch
from PIL import Image

KILLED = 137
LEAVES_WITHIN_SECONDS = 10.0
ANYWHERE = 100  # moments to be stopped at, where `--points` does not say how many
COMMON = """
name = "Kill points"
[data]
size_px = {size}
color = "{color}"
[audit]
label_suspects = false
[evaluation]
resamples = 200
"""
PLAIN = """
[[contender]]
name = "plain CNN"
layers = [{ conv = 4, kernel = 3, batch_norm = true, activation = "relu" }, { pool = "max" }, { dropout = 0.2 },
          { conv = 8, kernel = 3, activation = "relu" }, { pool = "global_average" }]
[contender.training]
schedule = "one-cycle"
[[contender]]
name = "early stopping"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "max" }]
[contender.training]
optimizer = "sgd"
learning_rate = 1e-30
epochs = 5
early_stopping = 1
[training]
epochs = 2
batch_size = 16
learning_rate = 1e-2
[training.augmentation]
flip_horizontal = true
noise = 0.1
"""
VGG16 = """
[[contender]]
name = "VGG16"
architecture = "vgg16"
weights = "{weights}"
freeze_through = "block5"
head = [{{ flatten = true }}, {{ dense = 16, activation = "relu" }}, {{ dropout = 0.5 }}]
[training]
epochs = 2
batch_size = 16
learning_rate = 1e-3
[training.augmentation]
flip_horizontal = true
cached_views = 2
"""


@dataclass(frozen=True)
class Study:
    """A recipe, the images it is about, and a folder for everything."""

    name: str
    recipe: Path
    images: Path
    place: Path

    def run(self, where: str, *, resume: bool, progress: Callable[[str, int, int, str], None]) -> None:
        """Run it with a cache of its own; to be called in a process of its own."""
        import clearmargin as cm

        os.environ["CLEARMARGIN_CACHE"] = str(self.place / where / "cache")
        cm.run(self.recipe, data=self.images, out=self.place / where / "run", resume=resume, progress=progress)


@dataclass
class Outcome:
    """What came of one way to disturb a study."""

    tried: int = 0
    same: int = 0
    faults: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0

    def took(self, seconds: float, point: str) -> None:
        """Note how long a process took to leave after the signal."""
        self.slowest_seconds = max(self.slowest_seconds, seconds)
        if seconds > LEAVES_WITHIN_SECONDS:
            self.faults.append(f"{point}: it left {seconds:.1f} s after the signal")


def main() -> int:
    """Try them and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", nargs="+", choices=("plain", "vgg16"), default=("plain", "vgg16"))
    parser.add_argument("--way", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--points", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    blank_figures()
    keep_every_batch()
    pass_few_at_once()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kill-points-") as folder:
        for name in asked.study:
            study = prepared(name, Path(folder))
            in_peace, operations, batches, milliseconds = undisturbed(study)
            print(f"{name}: {operations} file operations, {batches} batches, {milliseconds} ms", flush=True)
            places = {"stopped": batches, "stopped-anywhere": milliseconds}
            for way in asked.way:
                most = asked.points or (ANYWHERE if way == "stopped-anywhere" else None)
                points = chosen(places.get(way, operations), most, asked.seed)
                outcome = WAYS[way](study, in_peace, points)
                failed += len(outcome.faults)
                slowest = (
                    f", the slowest had left {outcome.slowest_seconds:.1f} s after the signal" if way in places else ""
                )
                print(f"  {way}: {outcome.same} of {outcome.tried} ended with the same bits{slowest}", flush=True)
                for fault in outcome.faults:
                    print(f"    {fault}", flush=True)
    return 1 if failed else 0


def chosen(points: int, most: int | None, seed: int) -> list[int]:
    """All from 1 on, or so many of them by lot."""
    every = range(1, points + 1)
    return list(every) if most is None or most >= points else sorted(random.Random(seed).sample(every, most))


def prepared(name: str, folder: Path) -> Study:
    """Draw the images and write the recipe."""
    place = folder / name
    generator = np.random.default_rng(0)
    for number in range(60):
        label = number % 2
        pixels = generator.integers(0, 90, (20, 20))
        pixels[3 + 9 * label : 8 + 9 * label, 4:12] += generator.integers(60, 160)
        (place / "images" / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / "images" / f"class {label}" / f"{number:03d}.png")
    if name == "plain":
        text = COMMON.format(size=16, color="gray") + PLAIN
    else:
        from safetensors.torch import save_file

        from clearmargin.models.weight_files import TRUNK_SHAPES

        drawn = torch.Generator().manual_seed(0)
        weights = {key: torch.randn(shape, generator=drawn) * 0.05 for key, shape in TRUNK_SHAPES.items()}
        save_file(weights, place / "trunk.safetensors")
        text = COMMON.format(size=32, color="rgb") + VGG16.format(weights=place / "trunk.safetensors")
    (place / "recipe.toml").write_text(text, encoding="utf-8")
    return Study(name, place / "recipe.toml", place / "images", place)


def undisturbed(study: Study) -> tuple[str, int, int, int]:
    """Fingerprint of the study when nothing happens; its file operations, batches, and milliseconds."""
    counted = study.place / "counted.json"

    def work() -> None:
        seen: list[int] = []
        started = time.monotonic()
        shim = Shim(study.place / "peace", at=None)
        at_every_batch(seen.append)
        study.run("peace", resume=False, progress=silent)
        counted.write_text(json.dumps([shim.count, len(seen), round(1000 * (time.monotonic() - started))]))

    study.run("warm", resume=False, progress=silent)  # so that children find all modules imported
    status, said = forked(work)
    if status != 0:
        raise SystemExit(f"The undisturbed study failed:\n{said}")
    operations, batches, milliseconds = json.loads(counted.read_text())
    return fingerprint(study.place / "peace" / "run"), operations, batches, milliseconds


def killed(study: Study, in_peace: str, points: list[int]) -> Outcome:
    """End the process at each of these file operations, then resume."""
    outcome = Outcome()
    for at in points:

        def work(at: int = at) -> None:
            Shim(study.place / "killed", at=at, act=die)
            study.run("killed", resume=False, progress=silent)

        status, said = forked(work)
        resumed(study, "killed", in_peace, outcome, f"operation {at}", status == KILLED, said)
    return outcome


def refused(study: Study, in_peace: str, points: list[int]) -> Outcome:
    """Let each of these file operations and all that follow fail, then resume."""
    outcome = Outcome()
    for at in points:

        def work(at: int = at) -> None:
            from clearmargin.errors import ClearmarginError

            shim = Shim(study.place / "refused", at=at, act=full_disk, forever=True)
            try:
                study.run("refused", resume=False, progress=silent)
            except ClearmarginError as error:
                shim.at = None
                if not str(error).strip() or "\n" in str(error).strip():
                    raise AssertionError(f"not one message: {error!r}") from error

        status, said = forked(work)
        resumed(study, "refused", in_peace, outcome, f"operation {at}", status == 0, said)
    return outcome


def stopped(study: Study, in_peace: str, points: list[int]) -> Outcome:
    """Send SIGTERM within each of these batches, then resume with the one that follows."""
    outcome, asked_at = Outcome(), study.place / "asked"
    for at in points:

        def work(at: int = at) -> None:
            from clearmargin.interruption import Stopped, stoppable

            def stop(number: int) -> None:
                if number == at:
                    asked_at.write_text(repr(time.monotonic()))
                    os.kill(os.getpid(), signal.SIGTERM)

            save_when_stopped_alone()
            at_every_batch(stop)
            try:
                with stoppable():
                    study.run("stopped", resume=False, progress=silent)
            except Stopped as caught:
                os._exit(caught.exit_status)

        status, said = forked(work)
        outcome.took(time.monotonic() - float(asked_at.read_text()), f"batch {at}")
        resumed(study, "stopped", in_peace, outcome, f"batch {at}", status == 143, said, learned=at)
    return outcome


def stopped_anywhere(study: Study, in_peace: str, points: list[int]) -> Outcome:
    """Send SIGTERM so many milliseconds after the beginning, whatever is being done then, and resume."""
    outcome, asked_at = Outcome(), study.place / "asked"
    for at in points:
        asked_at.unlink(missing_ok=True)

        def work(at: int = at) -> None:
            from clearmargin.interruption import Stopped, stoppable

            def stop() -> None:
                asked_at.write_text(repr(time.monotonic()))
                os.kill(os.getpid(), signal.SIGTERM)

            save_when_stopped_alone()
            timer = threading.Timer(at / 1000, stop)
            try:
                with stoppable():
                    timer.start()
                    try:
                        study.run("stopped-anywhere", resume=False, progress=silent)
                    finally:
                        timer.cancel()
            except Stopped as caught:
                os._exit(caught.exit_status)

        status, said = forked(work)
        asked = asked_at.read_text() if asked_at.exists() else ""
        if asked:  # else it ended before, or in the midst of writing that
            outcome.took(time.monotonic() - float(asked), f"{at} ms")
        resumed(study, "stopped-anywhere", in_peace, outcome, f"{at} ms", status in (0, 143), said)
    return outcome


WAYS: dict[str, Callable[[Study, str, list[int]], Outcome]] = {
    "killed": killed,
    "stopped": stopped,
    "stopped-anywhere": stopped_anywhere,
    "refused": refused,
}


def resumed(
    study: Study,
    where: str,
    in_peace: str,
    outcome: Outcome,
    point: str,
    as_expected: bool,
    said: str,
    learned: int | None = None,
) -> None:
    """Go on with a disturbed study, and compare what comes out."""
    outcome.tried += 1
    again = study.place / "again.json"

    def work() -> None:
        seen: list[int] = []
        at_every_batch(seen.append)
        study.run(where, resume=True, progress=silent)
        again.write_text(json.dumps(len(seen)))

    status, failure = forked(work) if as_expected else (-1, f"it ended otherwise than expected: {said}")
    folder = study.place / where
    if status != 0:
        outcome.faults.append(f"{point}: {failure.strip().splitlines()[-1] if failure.strip() else status}")
    elif fingerprint(folder / "run") != in_peace:
        outcome.faults.append(f"{point}: other bits than the undisturbed study")
    elif left := [str(path.relative_to(folder)) for path in folder.rglob("*.tmp") if "/run/" in str(path)]:
        outcome.faults.append(f"{point}: {', '.join(left)} left")
    elif learned is not None and json.loads(again.read_text()) + learned != json.loads(_counted(study))[1]:
        outcome.faults.append(f"{point}: batches were learned twice or left out")
    else:
        outcome.same += 1
    shutil.rmtree(folder)


def _counted(study: Study) -> str:
    return (study.place / "counted.json").read_text()


class Shim:
    """Counts file operations below a folder, and acts at the Nth."""

    def __init__(
        self, below: Path, *, at: int | None, act: Callable[[int | None], None] | None = None, forever: bool = False
    ) -> None:
        self.count, self.at = 0, at
        self._below, self._act, self._forever = str(below), act, forever
        sys.addaudithook(self._hear)
        fsync = os.fsync

        def counted_fsync(descriptor: int) -> None:
            self._operation(descriptor if self._is_file_below(descriptor) else None)
            fsync(descriptor)

        os.fsync = counted_fsync
        import safetensors.torch

        save_file = safetensors.torch.save_file

        def counted_save(tensors: dict[str, torch.Tensor], filename: Path, *words: Any, **named: Any) -> None:
            self._operation(None)
            save_file(tensors, filename, *words, **named)

        safetensors.torch.save_file = counted_save

    def _hear(self, event: str, words: tuple[Any, ...]) -> None:
        if event == "open":
            writes = isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return
        elif event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"):
            return
        if isinstance(words[0], str | os.PathLike) and os.fspath(words[0]).startswith(self._below):
            self._operation(None)

    def _is_file_below(self, descriptor: int) -> bool:
        path = Path(f"/proc/self/fd/{descriptor}")
        return path.is_file() and str(path.resolve()).startswith(self._below)

    def _operation(self, descriptor: int | None) -> None:
        self.count += 1
        if self.at is not None and (self.count == self.at or (self._forever and self.count > self.at)):
            assert self._act is not None
            self._act(descriptor)


def die(descriptor: int | None) -> None:
    """End as by SIGKILL or a power cut: what was not synced is there in part."""
    if descriptor is not None:
        os.truncate(f"/proc/self/fd/{descriptor}", os.fstat(descriptor).st_size // 2)
    os._exit(KILLED)


def full_disk(_: int | None) -> None:
    """Refuse as a full disk does."""
    raise OSError(28, "No space left on device")


def at_every_batch(call: Callable[[int], object]) -> None:
    """From now on, call this with the number of each batch, from 1, while it is being learned from."""
    from clearmargin.training.keeping import Keeper

    batch_done, numbers = Keeper.batch_done, itertools.count(1)

    def counted(keeper: Keeper, *words: Any) -> None:
        batch_done(keeper, *words)
        call(next(numbers))

    Keeper.batch_done = counted  # type: ignore[method-assign]


def forked(work: Callable[[], None]) -> tuple[int, str]:
    """Do it in a process of its own; its status and what it said on stderr."""
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            try:
                work()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(status), errors.read().decode("utf-8", "replace")


def keep_every_batch() -> None:
    """Write a checkpoint after every batch, as in a study whose batches take half a minute."""
    from clearmargin.training import keeping

    keeping.CHECKPOINT_SECONDS = keeping.BATCH_CHECKPOINT_SECONDS = 0.0
    keeping.LARGEST_SHARE = 1e9


def save_when_stopped_alone() -> None:
    """Write no checkpoint between batches or epochs: what a signal does not save is lost."""
    from clearmargin.training import keeping

    keeping.CHECKPOINT_SECONDS = keeping.BATCH_CHECKPOINT_SECONDS = 1e9


def pass_few_at_once() -> None:
    """Pass two images at once through frozen layers, so that there are many places to be stopped at."""
    from clearmargin.training import trunk

    trunk.MOST_AT_ONCE = 2


def blank_figures() -> None:
    """Blank sheets in place of figures, which take longer than all else."""
    from clearmargin.report import drawing

    blank = drawing.Drawing('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"/>')
    drawing._drawn = lambda sheet: blank
    drawing.Drawing.pdf = lambda self: b"%PDF-1.4\n%%EOF\n"  # type: ignore[method-assign]


def silent(what: str, done: int, total: int, note: str) -> None:
    """Progress that nobody sees."""


def fingerprint(run: Path) -> str:
    """SHA-256 over weights, histories, predictions, gates and evaluation of a run, without seconds and dates."""
    digest = hashlib.sha256()
    for name, content in sorted(results(run)):
        digest.update(f"{name}\n".encode() + content)
    return digest.hexdigest()


def results(run: Path) -> Iterator[tuple[str, bytes]]:
    """What must not differ: name and content."""
    for path in run.glob("contenders/*/*"):
        name = str(path.relative_to(run))
        if path.name == "history.csv":
            with path.open(newline="") as file:
                rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
            yield name, json.dumps(rows).encode()
        elif path.suffix in (".safetensors", ".csv"):
            yield name, path.read_bytes()
        elif path.name == "model.json":
            model = json.loads(path.read_text())
            del model["content_sha256"]
            for key in ("seconds", "trunk_seconds"):
                model["training"].pop(key, None)
            yield name, json.dumps(model, sort_keys=True).encode()
    evaluation = json.loads((run / "evaluation.json").read_text())
    for key in ("ledger_head", "evaluation_number_machine", "ledger_note"):
        evaluation.pop(key, None)
    yield "evaluation.json", json.dumps(evaluation, sort_keys=True).encode()
    yield "split.csv", (run / "split.csv").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
