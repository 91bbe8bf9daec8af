"""Runs a recipe through the rooms, in order."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clearmargin.audit import Audit, audit
from clearmargin.audit.duplicates import join_groups
from clearmargin.claim import check_apart, check_claim, sole_writer
from clearmargin.console import ConsoleProgress
from clearmargin.environment import describe_environment, peak_memory_bytes
from clearmargin.errors import DiskError, RunFolderError, SourceError
from clearmargin.files import write_json, write_table, write_text
from clearmargin.inside import look_inside
from clearmargin.mapped_rows import Subset
from clearmargin.pixels import open_pixels
from clearmargin.recipe import Contender, Data, Recipe, dump_recipe, load_recipe, slug
from clearmargin.records import Inputs, Predictions, Sample, Source, Split
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
        Called with (what, done, in all, note) as the work goes on; None shows it on stderr.

    Returns
    -------
    The finished run.

    Raises
    ------
    ClearmarginError
        `UsageError` when the input is at fault, `WorkError` when the work failed.
    """
    settings = load_recipe(recipe, overrides, _named(data) if data is not None else None)
    folder = Path(out) if out is not None else Path("runs") / Path(recipe).stem
    check_claim(folder, settings, resume)
    check_apart(folder, settings.data.source)
    with _shown(progress) as shown:
        return _Study(settings, folder, resume, shown).run()


def audit_data(data: str | Path, *, progress: Progress | None = None) -> Audit:
    """Audit data without training on them; decodes at the default size, which a later run finds done."""
    with _shown(progress) as shown:
        return _audit(*_decode(Data(source=_named(data)), shown))


def split_data(data: str | Path, out: Path, *, seed: int = 0, progress: Progress | None = None) -> Split:
    """Split data 8:1:1 by group and class and write ``out`` (name, label, group, part)."""
    with _shown(progress) as shown:
        pixels, source = _decode(Data(source=_named(data)), shown)
    made = make_split(pixels.samples, _audit(pixels, source).copies, seed=seed)
    columns = {"name": made.names, "label": made.labels, "group": made.groups, "part": made.parts}
    write_table(out, pd.DataFrame(columns))
    return made


def _named(data: str | Path) -> str:
    """Data as a recipe names them: a path is never taken for a name of the catalogue."""
    return data if isinstance(data, str) else str(data if data.is_absolute() else Path.cwd() / data)


def _decode(data: Data, progress: Progress) -> tuple[Inputs, Source]:
    """Every image once, and the source they came from."""
    if data.source is None:
        raise SourceError("The recipe names no data: say which with --data PATH, or [data] source in the recipe.")
    opened = open_source(data.source, group_pattern=data.group_pattern)
    pixels = open_pixels(
        opened, data.preprocessing, progress=lambda done, total: progress("Reading images", done, total, "")
    )
    if not pixels.samples:
        raise SourceError(f"None of the {pixels.found} images can be read. {pixels.findings[-1].message}")
    return pixels, opened


def _audit(pixels: Inputs, source: Source) -> Audit:
    return audit(
        pixels.samples,
        pixels.facts,
        pixels.findings,
        pixels.found,
        simulated=pixels.simulated,
        source_kind=source.kind,
    )


def _shown(progress: Progress | None) -> AbstractContextManager[Progress]:
    return ConsoleProgress() if progress is None else nullcontext(progress)


@dataclass
class _Study:
    """One execution of a recipe, room by room."""

    recipe: Recipe
    folder: Path
    resume: bool
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = ""

    def run(self) -> Run:
        """From data to report; reads like the table of contents."""
        with self._timed("images"):
            pixels, source = _decode(self.recipe.data, self.progress)
        if self.resume:
            _require_same_data(self.folder, source)
            if is_finished(self.folder):
                return open_run(self.folder)
        with self._timed("audit"):
            findings = _audit(pixels, source)
        with self._timed("split"):
            pixels, split = self._split(pixels, findings.copies)
        networks = self._networks(split)
        with sole_writer(self.folder):
            check_claim(self.folder, self.recipe, self.resume)  # again: now nobody else can write
            self._begin(findings, split, source)
            self._contend_all(networks, pixels, split)
            with self._timed("looking inside"):
                look_inside(self.folder, pixels, split, self.progress)
            with self._timed("report"):
                self._report(pixels)
        return open_run(self.folder)

    def _contend_all(
        self, networks: Sequence[tuple[Network, Pretraining | None]], pixels: Inputs, split: Split
    ) -> None:
        predictions: dict[str, Predictions] = {}
        for contender, (network, pretraining) in zip(self.recipe.contender, networks, strict=True):
            predictions[contender.name] = self._contend(contender, network, pretraining, pixels, split)
            self._save_environment()
        if not (self.folder / "evaluation.json").is_file():  # else it was stopped while writing the report
            with self._timed("evaluation"):
                self._evaluate(predictions, split)

    def _split(self, pixels: Inputs, copies: np.ndarray) -> tuple[Inputs, Split]:
        asked = self.recipe.split
        if asked.near_duplicates == "drop":
            kept = _first_of_each(copies, pixels.facts["name"])
            pixels, copies = _only(pixels, kept), copies[kept]
        samples, together = _grouped(pixels.samples, copies, asked.group_by)
        split = make_split(
            samples,
            together,
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

    def _begin(self, findings: Audit, split: Split, source: Source) -> None:
        """Write what was asked for and found: from here on there is something to resume."""
        stored = self.folder / "environment.json"
        earlier = read_json(stored) if stored.is_file() else {}
        self.started = earlier.get("started", _now())
        self.seconds = {**earlier.get("seconds", {}), **self.seconds}
        write_text(self.folder / "recipe.toml", dump_recipe(self.recipe.without_paths()))
        write_json(self.folder / "audit.json", {**findings.as_json(), "data_sha256": source.fingerprint()})
        write_split(self.folder, split)
        self._save_environment()
        self._log(f"{findings.counts['decoded']} of {findings.counts['found']} images, {len(set(split.groups))} groups")

    def _contend(
        self, contender: Contender, network: Network, pretraining: Pretraining | None, pixels: Inputs, split: Split
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

    def _report(self, pixels: Inputs) -> None:
        from clearmargin.report import write_report

        self.progress("Writing the report", 0, 0, "")
        self._save_environment(finished=_now())
        write_report(self.folder, lambda names: _pictures(pixels, names))

    def _save_environment(self, finished: str | None = None) -> None:
        environment = {
            **describe_environment(),
            "seed": self.recipe.seed,
            "started": self.started,
            "finished": finished,
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(self.folder / "environment.json", environment)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:  # a resumed run adds to what the interrupted one took
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def _log(self, message: str) -> None:
        try:
            with (self.folder / "run.log").open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{_now()} {message}\n")
        except OSError as error:
            raise DiskError(f"Could not write run.log in {self.folder}: {error.strerror or error}.") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _grouped(samples: Sequence[Sample], copies: np.ndarray, group_by: str) -> tuple[Sequence[Sample], np.ndarray]:
    """Samples with their groups, and clusters that stay together as well.

    ``patient`` is the source's own group. Another manifest column joins what shares a value in it; patients, where
    they are known, still stay whole.
    """
    if group_by == "patient":
        return samples, copies
    known = sorted({key for sample in samples for key in sample.attributes})
    if group_by not in known:
        columns = ", ".join(["patient", *known])
        raise SourceError(f"There is no column '{group_by}' to group by ([split] group_by): expected {columns}.")
    values = [sample.attributes.get(group_by) or None for sample in samples]
    if all(sample.group is None for sample in samples):
        return [replace(sample, group=value) for sample, value in zip(samples, values, strict=True)], copies
    # a sample without a value is alone with its own number
    keys = [value if value is not None else row for row, value in enumerate(values)]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return samples, join_groups(copies, np.array([number[key] for key in keys], dtype=np.int64))


def _first_of_each(copies: np.ndarray, names: pd.Series) -> np.ndarray:
    """Rows (ascending) that keep one of each cluster of copies: the first by name."""
    order = np.argsort(names.to_numpy(dtype=str), kind="stable")
    _, first = np.unique(copies[order], return_index=True)
    return np.sort(order[first])


def _only(pixels: Inputs, rows: np.ndarray) -> Inputs:
    key = hashlib.sha256(pixels.key.encode() + rows.astype("<i8").tobytes()).hexdigest()
    samples = tuple(pixels.samples[row] for row in rows)
    facts = pixels.facts.iloc[rows].reset_index(drop=True)
    return replace(pixels, rows=Subset(pixels.rows, rows), samples=samples, facts=facts, key=key)


def _require_same_data(folder: Path, source: Source) -> None:
    """Refuse to go on with other data than a run was started with, even under the same names."""
    if not (folder / "audit.json").is_file():
        return
    if read_json(folder / "audit.json").get("data_sha256") != source.fingerprint():
        raise RunFolderError(
            f"The data are not those the run in {folder} was started with (another SHA-256): "
            "give the same data, or choose another folder with --out."
        )


def _require_same(stored: Split, made: Split, folder: Path) -> None:
    if _assignments(stored) != _assignments(made):
        raise RunFolderError(
            f"The data are not those the run in {folder} was started with: its split no longer fits. "
            "Give the same data, or choose another folder with --out."
        )


def _assignments(split: Split) -> dict[str, tuple[str, str, str]]:
    return dict(zip(split.names, zip(split.labels, split.groups, split.parts, strict=True), strict=True))


def _pictures(pixels: Inputs, names: Sequence[str]) -> dict[str, np.ndarray]:
    place = {sample.name: row for row, sample in enumerate(pixels.samples)}
    rows = np.array([place[name] for name in names], dtype=np.int64)
    return dict(zip(names, pixels.rows.read(rows), strict=True))
