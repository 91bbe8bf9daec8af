"""Which settings to try next: Optuna, with a journal in the folder that several processes may share."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from clearmargin.errors import DiskError, MissingExtraError, RunFolderError
from clearmargin.recipe_spaces import Choices, Scalar, Space
from clearmargin.tuning.trials import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

REDUCTION = 3  # of successive halving: of three trials that come so far, one goes on
FIRST_RUNG = 4  # it first looks after a quarter of the epochs
WAIT_SECONDS = 0.5
LEAST_FOR_IMPORTANCE = 10  # trials that have a score
_NAME = "tuning"


class Search:
    """The trials of one search: those that are done, and the next.

    Several processes may use the same folder, on one machine or on a disk they share. A trial of a process that is
    gone is gone on with by whoever comes next. What is tried depends on the seed and on the outcomes of the trials
    before, so that a search which was interrupted goes on as if it had not been.

    Raises
    ------
    MissingExtraError
        When Optuna is not installed.
    RunFolderError
        When the journal is damaged.
    """

    def __init__(
        self, folder: Path, spaces: Mapping[str, Space], untuned: Mapping[str, Scalar], seed: int, steps: int
    ) -> None:
        module = _optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self._folder, self._seed = folder, seed
        self._distributions = {name: _distribution(space) for name, space in spaces.items()}
        self._id = uuid.uuid4().hex
        try:
            (folder / "workers").mkdir(parents=True, exist_ok=True)
            self._asking = FileLock(folder / "asking.lock")
            self._alive = FileLock(self._worker(self._id))
            self._alive.acquire(timeout=0)
            with self._asking:
                self._study: optuna.Study = module.create_study(
                    storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
                    study_name=_NAME,
                    load_if_exists=True,
                    direction="maximize",
                    pruner=module.pruners.SuccessiveHalvingPruner(
                        min_resource=max(1, steps // FIRST_RUNG), reduction_factor=REDUCTION
                    ),
                )
                if not self._study.get_trials(deepcopy=False):
                    self._study.enqueue_trial(dict(untuned))  # what is there to be beaten
        except OSError as error:
            raise DiskError(f"The search can't be kept in {folder}: {error.strerror or error}.") from error
        except (ValueError, KeyError) as error:
            raise RunFolderError(
                f"The journal of the search in {folder} is damaged ({error}): choose another folder with --out."
            ) from error

    def __enter__(self) -> Search:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker(self._id).unlink(missing_ok=True)  # still held: nobody else takes it meanwhile
        self._alive.release()

    def ask(self, most: int) -> Asked | None:
        """Settings to try; None when ``most`` trials are done or under way."""
        optuna = _optuna()
        with self._asking:
            left = self._left_behind()
            begun = self._begun()
            if left:
                # Optuna has no public way to go on with a trial; to begin it anew would count what it reported twice
                trial = optuna.trial.Trial(self._study, left[0]._trial_id)
                number = [one.number for one in begun].index(left[0].number) + 1
            elif len(begun) >= most:
                return None
            else:
                mixed = np.random.SeedSequence([self._seed, len(begun)]).generate_state(1, np.uint32)
                self._study.sampler = optuna.samplers.TPESampler(seed=int(mixed[0]))
                trial, number = self._study.ask(self._distributions), len(begun) + 1
            trial.set_user_attr("worker", self._id)
        return Asked(self._study, trial, number, left[0].intermediate_values if left else {})

    def finished(self) -> list[Trial]:
        """What is done so far, by whichever process, in the order in which it was begun."""
        numbered = enumerate(self._begun(), start=1)
        return [_read(number, trial) for number, trial in numbered if "outcome" in trial.user_attrs]

    def waiting(self) -> int:
        """How many trials are under way, or were left behind by a process that is gone."""
        return sum("outcome" not in trial.user_attrs for trial in self._begun())

    def importance(self) -> dict[str, float]:
        """What share of the differences in score each setting explains (PED-ANOVA); none of too few trials."""
        if sum(trial.state.name == "COMPLETE" for trial in self._begun()) < LEAST_FOR_IMPORTANCE:
            return {}
        found = _optuna().importance.get_param_importances(self._study)
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}

    def _worker(self, name: str) -> Path:
        return self._folder / "workers" / f"{name}.lock"

    def _begun(self) -> list[FrozenTrial]:
        """All trials that count: no waiting ones, and none that a process left undone."""
        state = _optuna().trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state not in (state.WAITING, state.FAIL)]

    def _left_behind(self) -> list[FrozenTrial]:
        """Trials of processes that are gone; the lock is held. One that had not all its settings is asked for anew."""
        state = _optuna().trial.TrialState
        left = []
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            if self._is_alive(trial.user_attrs.get("worker", "")):
                continue
            if trial.params.keys() == self._distributions.keys():
                left.append(trial)
            else:
                self._study.tell(trial.number, state=state.FAIL)
                self._study.enqueue_trial(trial.params)
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
    """One trial that is under way."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, number: int, reported: Mapping[int, float]) -> None:
        self._study, self._trial, self.number, self._reported = study, trial, number, max(reported, default=0)
        self.settings: dict[str, Scalar] = dict(trial.params)
        self._started = time.perf_counter()

    def hopeless(self, score: float, step: int) -> bool:
        """Report the score after a step (from 1 on), and whether the trial should be given up.

        Of a trial that is gone on with, steps that were reported before are passed over.
        """
        if step <= self._reported:
            return False
        self._trial.report(score, step)
        return bool(self._trial.should_prune())

    def tell(self, outcome: str, score: float | None, **facts: Any) -> None:
        """End the trial; one without a ``score`` counts as worse than all that have one."""
        state = _optuna().trial.TrialState
        for key, value in facts.items():
            self._trial.set_user_attr(key, value)
        self._trial.set_user_attr("seconds", time.perf_counter() - self._started)
        self._trial.set_user_attr("outcome", outcome)  # last: from here on it is done
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
    distributions = _optuna().distributions
    if isinstance(space, Choices):
        return distributions.CategoricalDistribution(space.values)
    high = space.high
    if space.step is not None:  # the last whole step
        high = space.low + space.step * math.floor((space.high - space.low) / space.step + 1e-9)
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(high), log=space.log, step=int(space.step or 1))
    return distributions.FloatDistribution(float(space.low), float(high), log=space.log, step=space.step)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("Tuning", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
