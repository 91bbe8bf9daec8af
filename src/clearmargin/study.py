"""Runs a recipe through the rooms, in order."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clearmargin.audit import Audit, audit
from clearmargin.environment import describe_environment, peak_memory_bytes
from clearmargin.errors import RunFolderError, SourceError
from clearmargin.files import write_json, write_table, write_text
from clearmargin.mapped_rows import Subset
from clearmargin.pixels import Pixels, open_pixels
from clearmargin.recipe import Contender, Data, Recipe, dump_recipe, load_recipe, slug
from clearmargin.records import Predictions, Sample, Split
from clearmargin.runs import Run, is_finished, open_run, read_json
from clearmargin.sources import open_source
from clearmargin.split import make_split, read_split, write_split

if TYPE_CHECKING:
    from clearmargin.models import Network, Pretraining

Progress = Callable[[str, int, int, str], None]  # what, done, in all (0: unknown), a note


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
        Called with (what, done, in all, note) as the work goes on.

    Returns
    -------
    The finished run.

    Raises
    ------
    ClearmarginError
        `UsageError` when the input is at fault, `WorkError` when the work failed.
    """
    settings = load_recipe(recipe, overrides, str(data) if data is not None else None)
    folder = Path(out) if out is not None else Path("runs") / Path(recipe).stem
    _claim(folder, settings, resume)
    if is_finished(folder):
        return open_run(folder)
    return _Study(settings, folder, progress or _silent).run()


def audit_data(data: str | Path, *, progress: Progress | None = None) -> Audit:
    """Audit data without training on them; decodes at the default size, which a later run finds done."""
    return _audit(*_decode(Data(source=str(data)), progress or _silent))


def split_data(data: str | Path, out: Path, *, seed: int = 0, progress: Progress | None = None) -> Split:
    """Split data 8:1:1 by group and class and write ``out`` (name, label, group, part)."""
    pixels, source_kind = _decode(Data(source=str(data)), progress or _silent)
    made = make_split(pixels.samples, _audit(pixels, source_kind).copies, seed=seed)
    columns = {"name": made.names, "label": made.labels, "group": made.groups, "part": made.parts}
    write_table(out, pd.DataFrame(columns))
    return made


def _decode(data: Data, progress: Progress) -> tuple[Pixels, str]:
    """Every image once; and what kind of source they came from."""
    if data.source is None:
        raise SourceError("The recipe names no data: say which with --data PATH, or [data] source in the recipe.")
    opened = open_source(data.source, group_pattern=data.group_pattern)
    pixels = open_pixels(
        opened, data.preprocessing, progress=lambda done, total: progress("Reading images", done, total, "")
    )
    if not pixels.samples:
        raise SourceError(f"None of the {pixels.found} images can be read. {pixels.findings[-1].message}")
    return pixels, opened.kind


def _audit(pixels: Pixels, source_kind: str) -> Audit:
    return audit(
        pixels.samples,
        pixels.facts,
        pixels.findings,
        pixels.found,
        simulated=pixels.simulated,
        source_kind=source_kind,
    )


def _silent(what: str, done: int, total: int, note: str) -> None:
    """Progress for those who don't want any."""


@dataclass
class _Study:
    """One execution of a recipe, room by room."""

    recipe: Recipe
    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = field(default_factory=lambda: _now())

    def run(self) -> Run:
        """From data to report; reads like the table of contents."""
        with self._timed("images"):
            pixels, source_kind = _decode(self.recipe.data, self.progress)
        with self._timed("audit"):
            findings = _audit(pixels, source_kind)
        with self._timed("split"):
            pixels, split = self._split(pixels, findings.copies)
        networks = self._networks(split)
        self._begin(findings, split)
        predictions: dict[str, Predictions] = {}
        for contender, (network, pretraining) in zip(self.recipe.contender, networks, strict=True):
            predictions[contender.name] = self._contend(contender, network, pretraining, pixels, split)
        with self._timed("evaluation"):
            self._evaluate(predictions, split)
        with self._timed("report"):
            self._report(pixels)
        return open_run(self.folder)

    def _split(self, pixels: Pixels, copies: np.ndarray) -> tuple[Pixels, Split]:
        asked = self.recipe.split
        if asked.near_duplicates == "drop":
            kept = _first_of_each(copies, pixels.facts["name"])
            pixels, copies = _only(pixels, kept), copies[kept]
        split = make_split(
            _grouped(pixels.samples, asked.group_by),
            copies,
            fractions=asked.fractions,
            seed=self.recipe.seed,
            use_given=asked.use_given,
            accept_leaks=asked.accept_leaks,
        )
        if (self.folder / "split.csv").is_file():
            _require_same(read_split(self.folder), split, self.folder)
        return pixels, split

    def _networks(self, split: Split) -> list[tuple[Network, Pretraining | None]]:
        """All networks, first weights set: what can't work is said before anything is trained."""
        from clearmargin.contest import first_network

        pre = self.recipe.data.preprocessing
        shape, classes = (pre.channels, pre.size_px, pre.size_px), len(set(split.labels))
        return [first_network(contender, shape, classes, self.recipe.seed) for contender in self.recipe.contender]

    def _begin(self, findings: Audit, split: Split) -> None:
        """Make the run folder: from here on there is something to resume."""
        write_text(self.folder / "recipe.toml", dump_recipe(self.recipe.without_paths()))
        write_json(self.folder / "audit.json", findings.as_json())
        write_split(self.folder, split)
        self._log(f"{findings.counts['decoded']} of {findings.counts['found']} images, {len(set(split.groups))} groups")

    def _contend(
        self, contender: Contender, network: Network, pretraining: Pretraining | None, pixels: Pixels, split: Split
    ) -> Predictions:
        """Train one contender, unless an interrupted run did; then read what it says of the test part."""
        from clearmargin.contest import train_contender
        from clearmargin.evaluation import read_predictions

        folder = self.folder / "contenders" / slug(contender.name)
        stored = folder / "predictions.csv"
        if not stored.is_file():
            self._log(f"training '{contender.name}'")
            with self._timed(f"train {contender.name}"):
                train_contender(contender, network, pretraining, pixels, split, folder, self.recipe.seed, self.progress)
        return read_predictions(stored)["test"]

    def _evaluate(self, predictions: dict[str, Predictions], split: Split) -> None:
        from clearmargin.evaluation import evaluate
        from clearmargin.evaluation.ledger import enter

        self.progress("Evaluating", 0, 0, "")
        asked = self.recipe.evaluation
        figures = evaluate(
            predictions,
            train_labels=split.labels[split.rows("train")],
            confidence=asked.confidence,
            resamples=asked.resamples,
            seed=self.recipe.seed,
        )
        weights = {
            contender.name: read_json(self.folder / "contenders" / slug(contender.name) / "model.json")[
                "weights_sha256"
            ]
            for contender in self.recipe.contender
        }
        number = enter(self.folder / "ledger.jsonl", split.names[split.rows("test")], weights)
        write_json(self.folder / "evaluation.json", {**figures, "evaluation_number": number})
        for comparison in figures["comparisons"]:
            self._log(comparison["sentence"])

    def _report(self, pixels: Pixels) -> None:
        from clearmargin.report import write_report

        self.progress("Writing the report", 0, 0, "")
        environment = {
            **describe_environment(),
            "seed": self.recipe.seed,
            "started": self.started,
            "finished": _now(),
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(self.folder / "environment.json", environment)
        write_report(self.folder, lambda names: _pictures(pixels, names))

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started

    def _log(self, message: str) -> None:
        with (self.folder / "run.log").open("a", encoding="utf-8", errors="surrogateescape") as log:
            log.write(f"{_now()} {message}\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _claim(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder that holds something which this run would spoil or could not go on with."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is a file: --out needs a folder that is new or empty.")
    if not any(folder.iterdir()):
        return
    if not (folder / "recipe.toml").is_file():
        raise RunFolderError(f"{folder} holds other files: choose a new or empty folder with --out.")
    if not resume:
        state = "a finished run" if is_finished(folder) else "a run that was interrupted"
        advice = "" if is_finished(folder) else "go on with it by --resume, or "
        raise RunFolderError(f"{folder} holds {state}: {advice}choose another folder with --out.")
    if load_recipe(folder / "recipe.toml") != recipe.without_paths():
        raise RunFolderError(
            f"The run in {folder} was started with another recipe: resume with the same recipe, settings and seed, "
            "or choose another folder with --out."
        )


def _grouped(samples: Sequence[Sample], group_by: str) -> Sequence[Sample]:
    """Samples with the group the recipe names: ``patient`` is the source's own, others are manifest columns."""
    if group_by == "patient":
        return samples
    known = sorted({key for sample in samples for key in sample.attributes})
    if group_by not in known:
        raise SourceError(
            f"There is no column '{group_by}' to group by ([split] group_by): expected patient"
            + "".join(f", {key}" for key in known)
            + "."
        )
    return [replace(sample, group=sample.attributes.get(group_by) or None) for sample in samples]


def _first_of_each(copies: np.ndarray, names: pd.Series) -> np.ndarray:
    """Rows (ascending) that keep one of each cluster of copies: the first by name."""
    order = np.argsort(names.to_numpy(dtype=str), kind="stable")
    _, first = np.unique(copies[order], return_index=True)
    return np.sort(order[first])


def _only(pixels: Pixels, rows: np.ndarray) -> Pixels:
    key = hashlib.sha256(pixels.key.encode() + rows.astype("<i8").tobytes()).hexdigest()
    samples = tuple(pixels.samples[row] for row in rows)
    facts = pixels.facts.iloc[rows].reset_index(drop=True)
    return replace(pixels, rows=Subset(pixels.rows, rows), samples=samples, facts=facts, key=key)


def _require_same(stored: Split, made: Split, folder: Path) -> None:
    if _assignments(stored) != _assignments(made):
        raise RunFolderError(
            f"The data are not those the run in {folder} was started with: its split no longer fits. "
            "Give the same data, or choose another folder with --out."
        )


def _assignments(split: Split) -> dict[str, tuple[str, str, str]]:
    return dict(zip(split.names, zip(split.labels, split.groups, split.parts, strict=True), strict=True))


def _pictures(pixels: Pixels, names: Sequence[str]) -> dict[str, np.ndarray]:
    place = {sample.name: row for row, sample in enumerate(pixels.samples)}
    rows = np.array([place[name] for name in names], dtype=np.int64)
    return dict(zip(names, pixels.rows.read(rows), strict=True))
