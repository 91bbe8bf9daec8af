"""A search from data to report: trials on the validation part, then the best of them once on the test part."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clearmargin.cache import cache_limit, trim_cache
from clearmargin.claim import TUNING, check_apart, check_search_folder
from clearmargin.console import shown_progress
from clearmargin.errors import RunFolderError, UsageError
from clearmargin.files import is_sealed, sealed, write_json
from clearmargin.judgement import check_asked
from clearmargin.leakage import require_groups
from clearmargin.locks import FileLock
from clearmargin.preparation import audit_inputs, divide, named, own_column, read_inputs
from clearmargin.records import Progress, Source
from clearmargin.runs import Run, is_finished, open_run, read_json
from clearmargin.sources import Table
from clearmargin.split import MOST_FOLDS, inner_folds
from clearmargin.study import Study, views_of
from clearmargin.task import Classification, task_of
from clearmargin.tuning.attempt import Ground
from clearmargin.tuning.importance import importance
from clearmargin.tuning.journal import WAIT_SECONDS, kept, load_optuna, one_at_a_time
from clearmargin.tuning.plan import TUNED, Plan, make_plan
from clearmargin.tuning.search import Search
from clearmargin.tuning.trials import Trial, best_of, the_best, write_trials

MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Tuned:
    """A search and what it led to.

    Attributes
    ----------
    run
        The untuned and the tuned contender side by side on the test part.
    summary
        The content of ``tuning/tuning.json``.
    """

    folder: Path
    trials: tuple[Trial, ...]
    run: Run
    summary: dict[str, Any]


def tune(
    recipe: str | Path,
    *,
    trials: int = 40,
    minutes: float | None = None,
    contender: str | None = None,
    folds: int = 0,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> Tuned:
    """Search for better settings of one contender, then compare the best with the untuned ones on the test part.

    Parameters
    ----------
    recipe, data, overrides, progress
        As for `clearmargin.study.run`. The recipe may hold spaces (`clearmargin.recipe_spaces`); without any, the
        shipped ones are searched.
    trials
        How many in all, with those that an interrupted search has done. The first is the untuned contender.
    minutes
        No trial is begun after so many.
    contender
        Which one to tune; by default the one with spaces of its own, else VGG16, else the first that learns.
    folds
        Judge each trial over so many inner folds of all but the test part, and not by the one validation part.
    out
        Run folder to make; ``runs/RECIPE-tuned`` when not given. The trials lie in ``tuning`` below it.
    resume
        Go on with the search in that folder, or take part in it while another process is at work.

    Raises
    ------
    ClearmarginError
        `UsageError` when the input is at fault, `WorkError` when the work failed.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise UsageError(f"The number of trials must be from 1 to {MOST_TRIALS:,}, got {trials}.")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"The minutes must be more than 0, got {minutes:g}.")
    if folds and not 2 <= folds <= MOST_FOLDS:
        raise UsageError(f"The inner folds must be 0, for none, or from 2 to {MOST_FOLDS}, got {folds}.")
    load_optuna()
    plan = make_plan(recipe, overrides, named(data) if data is not None else None, contender)
    folder = Path(out) if out is not None else Path("runs") / f"{Path(recipe).stem}-tuned"
    check_search_folder(folder, resume)
    check_apart(folder, plan.recipe.data.source)
    limit = cache_limit()
    with shown_progress(progress) as shown:
        if plan.repeats > 1:
            shown(f"Searching on one split, not over the {plan.repeats} seeds of the recipe", 0, 0, "")
        done = _Tuning(plan, folder, folds, shown).run(trials, minutes)
    trim_cache(limit)
    return done


@dataclass(frozen=True)
class _Tuning:
    """One process of a search."""

    plan: Plan
    folder: Path
    folds: int
    progress: Progress

    @property
    def own(self) -> Path:
        return self.folder / TUNING

    def run(self, trials: int, minutes: float | None) -> Tuned:
        ground = self._ground()
        if is_finished(self.folder):
            return self._opened(trials)
        until = None if minutes is None else time.monotonic() + 60 * minutes
        with Search(self.own, self.plan.spaces, self.plan.untuned, self.plan.recipe.seed, ground.steps) as search:
            ended = search.closed
            self._try(search, ground, trials, until)
            search.say_done()
            with one_at_a_time(self.own / "report.lock", partial(self._wait, "the process that compares the best")):
                if not is_finished(self.folder):  # or the one that was at it is gone
                    self._end(search, ground, trials)
                return self._opened(trials if ended else 0)

    def _end(self, search: Search, ground: Ground, trials: int) -> None:
        """When all processes are done: close the search, and let the best be compared with the untuned settings."""
        while not search.close():
            self._wait("other processes of this search")
            time.sleep(WAIT_SECONDS)
            self._try(search, ground, trials, None, left_behind=True)  # of a process that was stopped
        shutil.rmtree(self.own / "trials", ignore_errors=True)  # of one that was killed when it had told its outcome
        best = self._sum_up(search, ground)
        tuned = None if best.settings == self.plan.untuned else best.settings
        Study(self.plan.recipe_with(tuned), self.folder, True, self.progress, tuned=True).run()

    def _wait(self, what: str) -> None:
        self.progress(f"Waiting for {what}", 0, 0, "")

    def _ground(self) -> Ground:
        """Read, audit and divide, as the study itself does."""
        asked = self.plan.recipe
        all_inputs, source = read_inputs(asked.data, self.progress, own_column(asked.split))
        found = audit_inputs(all_inputs, source, asked.split, progress=self.progress)
        inputs, split = divide(all_inputs, found.copies, asked.split, asked.seed)
        task = task_of(split, asked.data.target)
        check_asked(asked.evaluation, task, inputs)
        if asked.audit.leakage:
            require_groups(all_inputs.samples, found.units)
        self._agree(source)
        splits = inner_folds(split, folds=self.folds, seed=asked.seed) if self.folds else [split]
        views = views_of(source, self.progress)
        return Ground(self.plan, task, inputs, splits, views, self.own / "trials")

    def _agree(self, source: Source | Table) -> None:
        """Write down what is searched, or refuse to go on with a search for something else."""
        path = self.own / "search.json"
        asked = {**self.plan.as_json(), "folds": self.folds, "data": source.fingerprint()}
        with kept(self.own):
            self.own.mkdir(parents=True, exist_ok=True)
            with FileLock(self.own / "asking.lock"):
                if not path.is_file():
                    write_json(path, asked)
                    return
                stored = read_json(path)
        differing = [key for key in asked if stored.get(key) != asked[key]] if isinstance(stored, dict) else ["content"]
        if differing:
            raise RunFolderError(
                f"The search in {self.folder} was started with other {' and '.join(differing)}: resume with the "
                "same recipe, settings, seed, folds and data, or choose another folder with --out."
            )

    def _try(
        self, search: Search, ground: Ground, most: int, until: float | None, *, left_behind: bool = False
    ) -> None:
        while until is None or time.monotonic() < until:
            asked = search.ask(most, left_behind=left_behind)
            if asked is None:
                return
            known = search.finished()
            ground.attempt(asked, known, self._told(asked.number, most, known))
            with search.alone():
                write_trials(self.own / "trials.csv", search.finished(), list(self.plan.spaces))

    def _told(self, number: int, most: int, known: Sequence[Trial]) -> Progress:
        best = best_of(known)
        reached = "" if best is None or best.score is None else f", best so far {best.score:.4g} (trial {best.number})"

        def shown(what: str, done: int, total: int, note: str) -> None:
            amount = f" {done}/{total}" if total else ""
            self.progress("Tuning", len(known), most, f"trial {number}, {what}{amount}{reached}")

        return shown

    def _sum_up(self, search: Search, ground: Ground) -> Trial:
        """Write ``tuning.json`` and ``trials.csv``; return the best trial."""
        done = search.finished()
        best = the_best(done)
        write_trials(self.own / "trials.csv", done, list(self.plan.spaces))
        untuned = (trial for trial in done if trial.settings == self.plan.untuned and trial.score is not None)
        found = importance(done, self.plan.spaces)
        content = {
            "contender": self.plan.contender.name,
            "tuned": None if best.settings == self.plan.untuned else self.plan.contender.name + TUNED,
            "measure": "balanced_accuracy" if isinstance(ground.task, Classification) else "mean_squared_error",
            "folds": self.folds,
            "own_spaces": self.plan.own,
            "spaces": self.plan.as_json()["spaces"],
            "seconds": round(sum(trial.seconds for trial in done), 3),
            "best": best.number,
            "untuned": next((trial.number for trial in untuned), None),
            "importance": found.shares,
            "importance_of": {"best": found.best, "trials": found.trials},
            "trials": [asdict(trial) for trial in done],
        }
        write_json(self.own / "tuning.json", sealed(content))
        return best

    def _opened(self, asked: int) -> Tuned:
        """What was found; of a search that had ended with fewer trials than ``asked``, this is said."""
        path = self.own / "tuning.json"
        found = read_json(path)
        if not (isinstance(found, dict) and is_sealed(found)):
            raise RunFolderError(f"{path} was edited or damaged: its content_sha256 is that of other figures.")
        trials = tuple(Trial(**one) for one in found["trials"])
        if len(trials) < asked:
            self.progress(
                f"The search has ended with {len(trials)} trials: for more, search in another folder", 0, 0, ""
            )
        return Tuned(self.folder, trials, open_run(self.folder), found)
