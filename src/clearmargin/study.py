"""Runs a recipe through the rooms, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmargin.audit import Audit
from clearmargin.audit.division import division_findings
from clearmargin.cache import cache_limit, trim_cache
from clearmargin.claim import check_apart, check_claim, sole_writer
from clearmargin.console import shown_progress
from clearmargin.errors import NotImagesError, RunFolderError
from clearmargin.files import is_sealed, remove, sealed, sweep, write_json, write_text
from clearmargin.journal import Journal
from clearmargin.pixels import open_pixels
from clearmargin.preparation import audit_inputs, divide, named, own_column, pictures_of, read_inputs, tied
from clearmargin.recipe import Recipe, dump_recipe, load_recipe, slug
from clearmargin.records import Inputs, Preprocessing, Progress, Source, Split
from clearmargin.runs import Run, is_finished, open_run, read_json, stored_decisions
from clearmargin.sources import Table
from clearmargin.split import crossing_groups, require_same_split, write_split

if TYPE_CHECKING:
    from clearmargin.entrants import Entrant, Views
    from clearmargin.task import Task


def run(
    recipe: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run a study from data to report.

    Parameters
    ----------
    recipe
        A shipped name (``"tumor"``) or the path of a TOML file.
    data
        Folder, archive, manifest or catalogue name; replaces what the recipe says.
    out
        Run folder to make; ``runs/RECIPE`` when not given.
    overrides
        Settings to change, each as ``"training.epochs=3"``.
    resume
        Go on with a run that was interrupted; a finished one is opened as it is.
    progress
        Called with (what, done, in all, note) as the work goes on; None shows it on stderr.

    Returns
    -------
    The finished run.

    Raises
    ------
    ClearmarginError
        `UsageError` when the input is at fault, `WorkError` when the work failed.
    """
    settings = load_recipe(recipe, overrides, named(data) if data is not None else None)
    folder = Path(out) if out is not None else Path("runs") / Path(recipe).stem
    check_claim(folder, settings, resume)
    check_apart(folder, settings.data.source)
    limit = cache_limit()
    with shown_progress(progress) as shown:
        finished = Study(settings, folder, resume, shown).run()
    trim_cache(limit)
    return finished


@dataclass
class Study:
    """One execution of a recipe, room by room; with ``tuned``, in the folder of the search that found its settings."""

    recipe: Recipe
    folder: Path
    resume: bool
    progress: Progress
    tuned: bool = False

    def run(self) -> Run:
        """From data to report; reads like the table of contents."""
        journal = Journal(self.folder, self.recipe.seed)
        with journal.timed("rows" if self.recipe.data.target is not None else "images"):
            found, source = read_inputs(self.recipe.data, self.progress, own_column(self.recipe.split))
        if self.resume:
            _require_same_data(self.folder, source)
            if is_finished(self.folder):
                return open_run(self.folder)
        with journal.timed("audit"):
            suspects = self.recipe.audit.label_suspects
            findings = audit_inputs(found, source, self.recipe.split, suspects=suspects, progress=self.progress)
        with journal.timed("split"):
            inputs, split = self._split(found, findings.copies)
            findings = findings.with_findings(division_findings(found, inputs, split))
            if not split.given or split.from_file:
                findings = findings.without_given_parts()
            elif self.recipe.split.near_duplicates == "drop" and not crossing_groups(split):
                findings = findings.with_mended_parts()
        if self.recipe.audit.leakage:
            self._require_groups(found, findings)
        task = self._task(split)
        self._require_answers(task, inputs)
        views = views_of(source, self.progress)
        entrants = self._entrants(task, inputs, views)
        with sole_writer(self.folder), journal.keeping_warnings():
            check_claim(self.folder, self.recipe, self.resume, tuned=self.tuned)  # again: now nobody else can write
            sweep(self.folder)
            self._begin(journal, findings, split, source)
            self._keep_training_data(found, inputs, split)
            self._contend_all(journal, entrants, task, inputs, split)
            if self.recipe.rounds > 1:
                with journal.timed("repeats"):
                    self._repeat(task, found, findings.copies, split, views)
            if not split.numeric:
                self._control(journal, found, findings, split)
                with journal.timed("looking inside"):
                    self._look_inside(inputs, split, views)
            if self.recipe.audit.leakage:
                with journal.timed("price of leakage"):
                    self._leakage(found, findings)
            with journal.timed("report"):
                self._report(journal, found)
        return open_run(self.folder)

    def _look_inside(self, inputs: Inputs, split: Split, views: Views) -> None:
        from clearmargin.inside import look_inside

        look_inside(self.folder, inputs, split, views, self.progress)

    def _task(self, split: Split) -> Task:
        from clearmargin.task import task_of

        return task_of(split, self.recipe.data.target)

    def _split(self, inputs: Inputs, copies: np.ndarray) -> tuple[Inputs, Split]:
        inputs, split = divide(inputs, copies, self.recipe.split, self.recipe.seed)
        require_same_split(self.folder, split)
        return inputs, split

    def _entrants(self, task: Task, inputs: Inputs, views: Views) -> list[Entrant]:
        """All contenders, made ready: what can't work is said before anything is trained."""
        from clearmargin.entrants import entrant

        seed, asked = self.recipe.seed, self.recipe.evaluation
        return [entrant(contender, inputs, task, seed, asked, views) for contender in self.recipe.contender]

    def _begin(self, journal: Journal, findings: Audit, split: Split, source: Source | Table) -> None:
        """Write what was asked for and found: from here on there is something to resume."""
        write_text(self.folder / "recipe.toml", dump_recipe(self.recipe.without_paths()))
        about = {"columns": dict(source.meanings)} if isinstance(source, Table) else {}
        write_json(self.folder / "audit.json", {**findings.as_json(), **about, "data_sha256": source.fingerprint()})
        write_split(self.folder, split)
        journal.begin()
        counts, noun = findings.counts, "rows" if split.numeric else "images"
        journal.log(f"{counts['decoded']} of {counts['found']} {noun}, {len(set(split.groups))} groups")

    def _keep_training_data(self, found: Inputs, inputs: Inputs, split: Split) -> None:
        """Keep of the images that are learned from what an external test will ask for."""
        from clearmargin.external import write_training_data

        if not split.numeric:
            write_training_data(self.folder, found, inputs, split)

    def _contend_all(
        self,
        journal: Journal,
        entrants: Sequence[Entrant],
        task: Task,
        inputs: Inputs,
        split: Split,
    ) -> None:
        """Let all of them learn, then evaluate those that did not diverge."""
        from clearmargin.diverged import require_results
        from clearmargin.entrants import contend

        said: dict[str, Any] = {}
        diverged: dict[str, str] = {}
        for contender, entrant in zip(self.recipe.contender, entrants, strict=True):
            name, folder = contender.name, self.folder / "contenders" / slug(contender.name)
            with journal.timed(f"train {name}"):
                make = partial(self._begin_training, journal, name, entrant)
                reason = contend(make, name, task, inputs, split, folder, self.progress)
            if reason is None:
                said[name] = task.read(folder / "predictions.csv")["test"]
            else:
                diverged[name] = reason
            journal.save()
        require_results(said, diverged)
        if not (self.folder / "evaluation.json").is_file():  # else it was stopped after that
            with journal.timed("evaluation"):
                self._evaluate(journal, said, diverged, task, inputs, split)

    def _begin_training(self, journal: Journal, name: str, entrant: Entrant) -> Entrant:
        """Say so; an evaluation that rests on what this contender left before, and was damaged since, goes."""
        journal.log(f"training '{name}'")
        remove(self.folder / "evaluation.json")
        return entrant

    def _evaluate(
        self,
        journal: Journal,
        said: dict[str, Any],
        diverged: dict[str, str],
        task: Task,
        inputs: Inputs,
        split: Split,
    ) -> None:
        """Judge what each said of the test part, enter it in the ledger, and write ``evaluation.json``."""
        from clearmargin.evaluation.ledger import enter, evaluated
        from clearmargin.judgement import judge_contenders, rests_on_files, test_content

        self.progress("Evaluating", 0, 0, "")
        decisions = stored_decisions(self.folder, self.recipe)
        figures = judge_contenders(said, task, inputs, split, self.recipe, self.folder, decisions)
        places = {name: self.folder / "contenders" / slug(name) for name in said}
        number = enter(
            self.folder / "ledger.jsonl",
            test_content(inputs, split),
            {name: evaluated(place) for name, place in places.items()},
            leaky=figures["leaky"],
        )
        rests_on = {"rests_on": rests_on_files(self.folder), **({"diverged": diverged} if diverged else {})}
        write_json(self.folder / "evaluation.json", {**figures, **number.as_json(), **rests_on})
        for comparison in figures["comparisons"]:
            journal.log(comparison["sentence"])

    def _repeat(self, task: Task, inputs: Inputs, copies: np.ndarray, split: Split, views: Views) -> None:
        """Do it again with other seeds, and add what came out to the evaluation."""
        from clearmargin.evaluation.ledger import head
        from clearmargin.judgement import rests_on_files
        from clearmargin.repetition import repeat

        figures = read_json(self.folder / "evaluation.json")
        if "repeats" not in figures:
            summary = repeat(self.recipe, task, inputs, copies, split, self.folder, self.progress, views)
            renewed = {"repeats": summary, "ledger_head": head(self.folder / "ledger.jsonl")}
            rests_on = {"rests_on": rests_on_files(self.folder)}
            write_json(self.folder / "evaluation.json", {**figures, **renewed, **rests_on})

    def _require_groups(self, inputs: Inputs, audited: Audit) -> None:
        """Refuse to measure the price of leakage before anything is trained, not after."""
        from clearmargin.leakage import require_groups

        require_groups(inputs.samples, audited.units)

    def _require_answers(self, task: Task, inputs: Inputs) -> None:
        """Refuse an evaluation that the data can't answer before anything is trained, not after."""
        from clearmargin.judgement import check_asked

        check_asked(self.recipe.evaluation, task, inputs)

    def _leakage(self, inputs: Inputs, audited: Audit) -> None:
        """Measure what leaks would be worth, unless an interrupted run did; given parts are those of a split file."""
        from clearmargin.leakage import SEEDS, leakage

        path, asked = self.folder / "leakage.json", self.recipe.evaluation
        samples = tuple(tied(inputs.samples, self.recipe.split).samples)
        found = leakage(
            replace(inputs, samples=samples),
            audited.copies,
            audited.units,
            seeds=range(self.recipe.seed, self.recipe.seed + SEEDS),
            confidence=asked.confidence,
            resamples=asked.resamples,
            progress=self.progress,
            stored=_stored_figures(path),
        )
        write_json(path, sealed(found))

    def _control(self, journal: Journal, inputs: Inputs, audited: Audit, split: Split) -> None:
        """Try this split with shuffled labels where features are at hand, unless an interrupted run did."""
        from clearmargin.features import image_features, stored_features
        from clearmargin.leakage.own_split import split_control

        path, asked = self.folder / "control.json", self.recipe.audit
        if _stored_figures(path) is not None:
            return
        wanted = asked.label_suspects or asked.leakage
        features = image_features(inputs, self.progress) if wanted else stored_features(inputs)
        if features is not None:
            with journal.timed("random-label control"):
                settings: dict[str, Any] = {"seed": self.recipe.seed, "progress": self.progress}
                write_json(path, sealed(split_control(split, inputs.samples, audited.units, features, **settings)))

    def _report(self, journal: Journal, found: Inputs) -> None:
        """Write the report; pictures are of everything found, copies that were dropped included."""
        from clearmargin.report import write_report

        self.progress("Writing the report", 0, 0, "")
        journal.save(finished=True)
        language = self.recipe.report.language
        write_report(self.folder, lambda names: pictures_of(found, names), language)


def views_of(source: Source | Table, progress: Progress) -> Views:
    """The images in another size, for a contender that sees them so."""

    def view(how: Preprocessing) -> Inputs:
        if isinstance(source, Table):
            raise NotImagesError("A table holds no images that could be shown in another size.")
        what = f"Reading images at {how.size_px} px"
        return open_pixels(source, how, progress=lambda done, total: progress(what, done, total, ""))

    return view


def _require_same_data(folder: Path, source: Source | Table) -> None:
    """Refuse to go on with other data than a run was started with, even under the same names."""
    if not (folder / "audit.json").is_file():
        return
    if read_json(folder / "audit.json").get("data_sha256") != source.fingerprint():
        raise RunFolderError(
            f"The data are not those the run in {folder} was started with (another SHA-256): "
            "give the same data, or choose another folder with --out."
        )


def _stored_figures(path: Path) -> Any:
    """Sealed figures as an interrupted run left them; None when they are not there, or were edited since."""
    if not path.is_file():
        return None
    stored = read_json(path)
    return stored if isinstance(stored, dict) and is_sealed(stored) else None
