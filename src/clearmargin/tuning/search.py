"""Which settings to try next: Optuna, with a journal in the folder that several processes may share."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmargin.errors import ClearmarginError, DiskError, MissingExtraError, RunFolderError
from clearmargin.files import write_json
from clearmargin.interruption import finishing
from clearmargin.locks import FileLock, Timeout
from clearmargin.recipe_spaces import Choices, Scalar, Space
from clearmargin.tuning.trials import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

REDUCTION = 2  # of successive halving: of two trials that come so far, one goes on
FIRST_RUNG = 4  # it first looks after a quarter of the epochs
MOST_BEGINS = 3  # of a trial that ends its process each time
WAIT_SECONDS = 0.5
LEAST_FOR_IMPORTANCE = 20  # trials that have a score
BEST_QUARTER = 0.25  # of them: those whose settings are compared with all
_NAME = "tuning"


class Search:
    """The trials of one search: those that are done, and the next.

    Several processes may use the same folder, where file locks hold between them. A trial of a process that is gone
    is gone on with by whoever comes next. What is tried depends on the seed and on the outcomes of the trials before,
    so that a search which was interrupted goes on as if it had not been.

    Raises
    ------
    MissingExtraError
        When Optuna is not installed.
    DiskError, RunFolderError
        From here and from every method: when the journal can't be written, or is damaged.
    """

    def __init__(
        self, folder: Path, spaces: Mapping[str, Space], untuned: Mapping[str, Scalar], seed: int, steps: int
    ) -> None:
        module = load_optuna()
        self._folder, self._seed, self._untuned = folder.resolve(), seed, dict(untuned)
        self._first_rung = max(1, steps // FIRST_RUNG)
        self._distributions = {name: _distribution(space) for name, space in spaces.items()}
        self._id = uuid.uuid4().hex
        with _kept(folder):
            (self._folder / "workers").mkdir(parents=True, exist_ok=True)
            self._asking = FileLock(self._folder / "asking.lock")
            self._alive = FileLock(self._worker(self._id))
            self._alive.acquire(timeout=0)
            with finishing(), self._asking:
                _cut_torn_line(self._folder / "journal.log")
                self._study: optuna.Study = module.create_study(
                    storage=_storage(self._folder),
                    study_name=_NAME,
                    load_if_exists=True,
                    direction="maximize",
                )
                if not self._study.get_trials(deepcopy=False):
                    self._study.enqueue_trial(self._untuned)  # what is there to be beaten

    def __enter__(self) -> Search:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker(self._id).unlink(missing_ok=True)  # still held: nobody else takes it meanwhile
        self._alive.release()

    def ask(self, most: int, *, left_behind: bool = False) -> Asked | None:
        """Settings to try; None when ``most`` trials are done or under way, or the search is closed.

        With ``left_behind``, only a trial that a process which is gone had begun.
        """
        with _kept(self._folder), finishing(), self._asking:
            if self.closed is not None:
                return None
            left = self._left_behind()
            begun = self._begun()
            if left:
                # Optuna has no public way to go on with a trial; to begin it anew would count what it reported twice
                trial = load_optuna().trial.Trial(self._study, left[0]._trial_id)
                number = [one.number for one in begun].index(left[0].number) + 1
            elif len(begun) >= most or left_behind:
                return None
            else:
                mixed = np.random.SeedSequence([self._seed, len(begun)]).generate_state(1, np.uint32)
                self._study.sampler = load_optuna().samplers.TPESampler(seed=int(mixed[0]))
                trial, number = self._study.ask(self._distributions), len(begun) + 1
            trial.set_user_attr("worker", self._id)
            trial.set_user_attr("begins", trial.user_attrs.get("begins", 0) + 1)
            kept = dict(trial.params) == self._untuned
            return Asked(self._study, trial, number, self._folder, self._first_rung, kept=kept)

    def finished(self) -> list[Trial]:
        """What is done so far, by whichever process, in the order in which it was begun."""
        with _kept(self._folder):
            numbered = enumerate(self._begun(), start=1)
            return [_read(number, trial) for number, trial in numbered if trial.state.is_finished()]

    def close(self) -> bool:
        """End the search for all processes; False when trials are under way, or were left behind."""
        with _kept(self._folder), finishing(), self._asking:
            begun = self._begun()
            if not all(trial.state.is_finished() for trial in begun):
                return False
            if self.closed is None:
                write_json(self._folder / "closed.json", {"trials": len(begun)})
            return True

    @property
    def closed(self) -> int | None:
        """Of a search that was ended: how many trials it has."""
        path = self._folder / "closed.json"
        return int(json.loads(path.read_text(encoding="utf-8"))["trials"]) if path.is_file() else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this search asks, ends or writes meanwhile."""
        with self._asking:
            yield

    def importance(self) -> dict[str, float]:
        """How much the best quarter differs from all trials, setting by setting, as shares of 1 (PED-ANOVA).

        None of too few trials, or of trials that all reached the same: Watanabe et al. (2023), arXiv:2304.10255.
        """
        scores = [trial.value for trial in self._begun() if trial.state.name == "COMPLETE"]
        if len(scores) < LEAST_FOR_IMPORTANCE or len(set(scores)) < 2:
            return {}
        importance = load_optuna().importance
        evaluator = importance.PedAnovaImportanceEvaluator(target_quantile=BEST_QUARTER)
        found = importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}

    def _worker(self, name: str) -> Path:
        return self._folder / "workers" / f"{name}.lock"

    def _begun(self) -> list[FrozenTrial]:
        """All trials that count: no waiting ones, and none that a process left without its settings."""
        state = load_optuna().trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state not in (state.WAITING, state.FAIL)]

    def _left_behind(self) -> list[FrozenTrial]:
        """Trials of processes that are gone; the lock is held. One that had not all its settings is asked for anew."""
        state = load_optuna().trial.TrialState
        left = []
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            if self._is_alive(trial.user_attrs.get("worker", "")):
                continue
            if trial.params.keys() == self._distributions.keys():
                left.append(trial)
                continue
            self._study.tell(trial.number, state=state.FAIL)
            fixed = trial.system_attrs.get("fixed_params")
            if fixed:  # it was not drawn; what was drawn is drawn again, from the same seed
                self._study.enqueue_trial(fixed)
        return left

    def _is_alive(self, worker: str) -> bool:
        if worker == self._id:
            return True
        path = self._worker(worker)
        if not worker or not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False


class Asked:
    """One trial that is under way.

    Attributes
    ----------
    begins
        How often it was begun: more than once when processes ended in it.
    """

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, number: int, folder: Path, first_rung: int, *, kept: bool
    ) -> None:
        self._study, self._trial, self.number, self._folder = study, trial, number, folder
        self._first_rung, self._kept = first_rung, kept  # the untuned settings: the others are compared with them
        self.settings: dict[str, Scalar] = dict(trial.params)
        self.begins: int = trial.user_attrs["begins"]
        self._started = time.perf_counter()

    def hopeless(self, score: float, step: int) -> bool:
        """Tell the score after a step (from 1 on), and whether the trial should be given up.

        That is successive halving (Jamieson and Talwalkar 2016), as trials come one by one (Li et al. 2020): at
        steps that double from the first rung on, it goes on if it is in the better half of those that came so far, or
        the best of two or three. Optuna's own rule would judge otherwise when a trial that was cut off there is gone
        on with.
        """
        if step < self._first_rung:
            return False
        rung = math.log(step / self._first_rung, REDUCTION)
        if not rung.is_integer():
            return False
        key = f"rung{rung:.0f}"
        with _kept(self._folder), finishing():  # a line of the journal is written whole
            if key not in self._trial.user_attrs:
                self._trial.set_user_attr(key, score)
            trials = self._study.get_trials(deepcopy=False)
            reached = sorted((one.user_attrs[key] for one in trials if key in one.user_attrs), reverse=True)
        return not self._kept and bool(score < reached[max(1, len(reached) // REDUCTION) - 1])

    def tell(self, outcome: str, score: float | None, **facts: Any) -> None:
        """End the trial; one without a ``score`` counts as worse than all that have one."""
        state = load_optuna().trial.TrialState
        seconds = time.perf_counter() - self._started
        with _kept(self._folder), finishing():
            for key, value in {**facts, "seconds": seconds, "outcome": outcome}.items():
                self._trial.set_user_attr(key, value)
            if score is None:
                self._study.tell(self._trial, state=state.PRUNED)
            else:
                self._study.tell(self._trial, score)


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """True for the first process that comes; false for others as long as it is there."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def load_optuna() -> Any:
    """Import Optuna, told to keep quiet.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("Tuning", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """What goes wrong with the journal, in our words."""
    try:
        yield
    except ClearmarginError:
        raise
    except OSError as error:
        raise DiskError(
            f"The search can't be kept in {folder}: {error.strerror or error}. Finished trials are kept: free some "
            "space, and go on with --resume."
        ) from error
    except (ValueError, LookupError, TypeError, AssertionError, AttributeError) as error:
        raise RunFolderError(
            f"The journal of the search in {folder} is damaged ({type(error).__name__}: {error}): choose another "
            "folder with --out."
        ) from error


def _storage(folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lock: Any = _Lock(folder / "journal.lock")
    return JournalStorage(JournalFileBackend(str(folder / "journal.log"), lock_obj=lock))


class _Lock:
    """A lock of the journal that ends with its process: Optuna's own stay behind, and are waited for."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_torn_line(path: Path) -> None:
    """Cut the journal back to its last whole line: a power cut or a full disk may leave half of one."""
    if not path.is_file():
        return
    with FileLock(path.with_name("journal.lock")), path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _read(number: int, trial: FrozenTrial) -> Trial:
    facts = trial.user_attrs
    return Trial(
        number=number,
        outcome=facts["outcome"],
        settings=dict(trial.params),
        score=trial.value if trial.state.name == "COMPLETE" else None,
        measures=facts.get("measures"),
        epochs_run=facts.get("epochs_run", 0),
        best_epoch=facts.get("best_epoch", 0),
        seconds=facts.get("seconds", 0.0),
        note=facts.get("note", ""),
    )


def _distribution(space: Space) -> Any:
    distributions = load_optuna().distributions
    if isinstance(space, Choices):
        return distributions.CategoricalDistribution(space.values)
    high = space.high
    if space.step is not None:  # the last whole step
        high = space.low + space.step * math.floor((space.high - space.low) / space.step + 1e-9)
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(high), log=space.log, step=int(space.step or 1))
    return distributions.FloatDistribution(float(space.low), float(high), log=space.log, step=space.step)
