"""Which settings to try next: Optuna, with a journal in the folder that several processes may share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmargin.files import write_json
from clearmargin.interruption import finishing
from clearmargin.locks import FileLock
from clearmargin.recipe_spaces import Choices, Scalar, Space
from clearmargin.tuning.journal import kept, load_optuna, open_study, replayed
from clearmargin.tuning.trials import Trial, the_best
from clearmargin.tuning.workers import Workers

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

REDUCTION = 2  # of successive halving: of two trials that come so far, one goes on
FIRST_RUNG = 4  # it first looks after a quarter of the epochs
MOST_BEGINS = 3  # of a trial that ends its process each time


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
        self._folder, self._seed, self._untuned = folder.resolve(), seed, dict(untuned)
        self._first_rung = max(1, steps // FIRST_RUNG)
        self._distributions = {name: distribution(space) for name, space in spaces.items()}
        with kept(folder):
            self._workers = Workers(self._folder / "workers")
            try:
                self._open()
            except BaseException:
                self._workers.leave()
                raise

    def _open(self) -> None:
        self._asking = FileLock(self._folder / "asking.lock")
        with finishing(), self._asking:
            self._study = open_study(self._folder)
            if not self._all():
                self._study.enqueue_trial(self._untuned)  # what is there to be beaten

    def __enter__(self) -> Search:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.leave()

    def ask(self, most: int, *, left_behind: bool = False) -> Asked | None:
        """Settings to try; None when ``most`` trials are done or under way, or the search is closed.

        With ``left_behind``, only a trial that a process which is gone had begun.
        """
        with kept(self._folder), finishing(), self._asking:
            if self.closed:
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
            trial.set_user_attr("worker", self._workers.own)
            trial.set_user_attr("begins", trial.user_attrs.get("begins", 0) + 1)
            untuned = dict(trial.params) == self._untuned
            return Asked(self._study, trial, number, self._folder, self._first_rung, untuned=untuned)

    def finished(self) -> list[Trial]:
        """What is done so far, by whichever process, in the order in which it was begun."""
        with kept(self._folder):
            numbered = enumerate(self._begun(), start=1)
            with replayed(self._folder):
                return [_read(number, trial) for number, trial in numbered if trial.state.is_finished()]

    def say_done(self) -> None:
        """Tell the other processes that this one begins no trial of its own any more."""
        with kept(self._folder), self._asking:
            self._workers.say_done()

    def close(self) -> bool:
        """End the search for all processes, for good.

        False when trials are under way or were left behind, or when another process has not said that it is done.

        Raises
        ------
        WorkError
            When no trial was trained to its end. The search then stays open, so that more can be asked for.
        """
        with kept(self._folder), finishing(), self._asking:
            if self.closed:
                return True
            begun = self._begun()
            if not all(trial.state.is_finished() for trial in begun) or self._workers.others_want_more():
                return False
            the_best(self.finished())
            write_json(self._folder / "closed.json", {"trials": len(begun)})
            return True

    @property
    def closed(self) -> bool:
        """Whether the search was ended."""
        return (self._folder / "closed.json").is_file()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this search asks, ends or writes meanwhile."""
        with kept(self._folder), self._asking:
            yield

    def _all(self) -> list[FrozenTrial]:
        with replayed(self._folder):
            return self._study.get_trials(deepcopy=False)

    def _begun(self) -> list[FrozenTrial]:
        """All trials that count: no waiting ones, and none that a process left without its settings."""
        state = load_optuna().trial.TrialState
        return [trial for trial in self._all() if trial.state not in (state.WAITING, state.FAIL)]

    def _left_behind(self) -> list[FrozenTrial]:
        """Trials of processes that are gone; the lock is held. One that had not all its settings is asked for anew."""
        state = load_optuna().trial.TrialState
        left = []
        for trial in self._all():
            if trial.state != state.RUNNING or self._workers.is_there(str(trial.user_attrs.get("worker", ""))):
                continue
            if trial.params.keys() == self._distributions.keys():
                left.append(trial)
                continue
            self._study.tell(trial.number, state=state.FAIL)
            fixed = trial.system_attrs.get("fixed_params")
            if fixed:  # it was not drawn; what was drawn is drawn again, from the same seed
                self._study.enqueue_trial(fixed)
        return left


class Asked:
    """One trial that is under way.

    Attributes
    ----------
    begins
        How often it was begun, `take_begin_back` apart: more than once when processes ended in it.
    """

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, number: int, folder: Path, first_rung: int, *, untuned: bool
    ) -> None:
        self._study, self._trial, self.number, self._folder = study, trial, number, folder
        self._first_rung, self._untuned = first_rung, untuned  # settings with which the others are compared
        self.settings: dict[str, Scalar] = dict(trial.params)
        self.begins: int = trial.user_attrs["begins"]
        self._started = time.perf_counter()

    def take_begin_back(self) -> None:
        """Do not count this time: the process leaves for a reason that the trial is no cause of."""
        with kept(self._folder), finishing():
            self._trial.set_user_attr("begins", self.begins - 1)

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
        with kept(self._folder), finishing():  # a line of the journal is written whole
            if key not in self._trial.user_attrs:
                self._trial.set_user_attr(key, score)
            with replayed(self._folder):
                trials = self._study.get_trials(deepcopy=False)
            reached = sorted((one.user_attrs[key] for one in trials if key in one.user_attrs), reverse=True)
        return not self._untuned and bool(score < reached[max(1, len(reached) // REDUCTION) - 1])

    def tell(self, outcome: str, score: float | None, *, trained_seconds: float = 0.0, **facts: Any) -> None:
        """End the trial; one without a ``score`` counts as worse than all that have one.

        ``trained_seconds`` are those of its epochs, with those before an interruption, which this process did not see.
        """
        state = load_optuna().trial.TrialState
        seconds = max(time.perf_counter() - self._started, trained_seconds)
        with kept(self._folder), finishing():
            for key, value in {**facts, "seconds": round(seconds, 3), "outcome": outcome}.items():
                self._trial.set_user_attr(key, value)
            if score is None:
                self._study.tell(self._trial, state=state.PRUNED)
            else:
                self._study.tell(self._trial, score)


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


def distribution(space: Space) -> Any:
    """The same values as Optuna has them."""
    distributions = load_optuna().distributions
    if isinstance(space, Choices):
        return distributions.CategoricalDistribution(space.values)
    high = space.high
    if space.step is not None:  # the last whole step
        high = space.low + space.step * math.floor((space.high - space.low) / space.step + 1e-9)
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(high), log=space.log, step=int(space.step or 1))
    return distributions.FloatDistribution(float(space.low), float(high), log=space.log, step=space.step)
