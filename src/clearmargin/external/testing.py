"""The external test of a finished run, from the new images to its folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clearmargin.claim import check_apart, sole_writer
from clearmargin.errors import DamagedStoreError, RunFolderError, UsageError
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.evaluation.assessment import evaluate
from clearmargin.evaluation.gate import gate_block, read_distances
from clearmargin.evaluation.ledger import Evaluated, enter
from clearmargin.evaluation.metrics import label_index
from clearmargin.evaluation.predictions import read_predictions
from clearmargin.evaluation.shares import Shares
from clearmargin.external.evidence import Judged, rests_on, write_evidence
from clearmargin.external.frozen import require_frozen
from clearmargin.external.mapping import ClassMapping, class_mapping
from clearmargin.external.merged import merged_blocks
from clearmargin.external.overlap import Overlap, find_overlap, require_same_images
from clearmargin.external.sentences import sentences, warnings
from clearmargin.external.shift import shift_table
from clearmargin.external.training_data import read_training_data, summarise
from clearmargin.external.untouched import rows_to_test, some_of
from clearmargin.files import sealed, write_json
from clearmargin.judgement import called_foreign
from clearmargin.language import tr, using
from clearmargin.pixels import StoredMiniatures, open_pixels, stored_miniatures
from clearmargin.preparation import named, only, open_data
from clearmargin.recipe import Data, slug
from clearmargin.records import Inputs, Predictions, Preprocessing, Progress, Source
from clearmargin.runs import Run, open_run
from clearmargin.sources import Table
from clearmargin.split import read_split
from clearmargin.trained import TrainedContender

CHUNK = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExternalTest:
    """What an external test found, as its two files hold it.

    Attributes
    ----------
    evaluation
        ``evaluation.json``: the figures of the images tested, as those of a run.
    record
        ``external.json``: data, classes, overlap with what was learned from, shift, the figures of the internal test in
        the same classes, and those of all images where some were left out.
    """

    folder: Path
    evaluation: dict[str, Any]
    record: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"folder": str(self.folder), "external": self.record, **self.evaluation}


def evaluate_external(
    run: str | Path,
    data: str,
    *,
    maps: Sequence[str] = (),
    merges: Sequence[str] = (),
    contenders: Sequence[str] = (),
    out: Path | None = None,
    training_data: str | None = None,
    group_pattern: str | None = None,
    progress: Progress,
) -> ExternalTest:
    """Test a finished run on images from elsewhere.

    The test part are those images whose whole group holds no copy of one that was learned from. Weights, temperature
    and thresholds are those of the run, and refused if they were changed since.

    Parameters
    ----------
    data
        A path or a name of the catalogue.
    maps, merges
        As `class_mapping` takes them.
    contenders
        Names; all of the run when empty.
    out
        Folder to make; ``RUN/external/NAME`` when None.
    training_data
        The data the run learned from, to look for near copies in when their pixels are no longer in the cache.

    Raises
    ------
    ClearmarginError
        `UsageError` when the run, the data or the classes are at fault, or no image is left to test (nothing is then
        predicted, written or entered in the ledger); `WorkError` when the work failed.
    """
    opened = open_run(run)
    if opened.evaluation["task"] != "classification":
        raise UsageError("An external test is for runs that classify images, and this one learned numbers.")
    chosen = [opened.contender(name) for name in dict.fromkeys(contenders)] or list(opened.contenders.values())
    frozen = require_frozen(opened, [contender.name for contender in chosen])
    source = _open_images(data, group_pattern)
    mapping = class_mapping(opened.evaluation["classes"], _classes(source), maps, merges)
    folder = out if out is not None else opened.folder / "external" / slug(Path(named(data)).stem)
    _check_folder(folder, named(data))
    return _Test(opened, chosen, frozen, source, named(data), mapping, folder, training_data, progress).run()


def _open_images(data: str, group_pattern: str | None) -> Source:
    source = open_data(Data.model_construct(source=data, target=None, group_pattern=group_pattern))
    if isinstance(source, Table):
        raise UsageError(f"{data!r} is a table, and this run classifies images.")
    return source


def _classes(source: Source) -> list[str]:
    return sorted({str(sample.label) for sample in source.samples})


def _check_folder(folder: Path, data: str) -> None:
    check_apart(folder, data)
    try:
        holds = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise RunFolderError(f"{folder} can't be used as --out: {error.strerror or error}.") from error
    if holds:
        raise RunFolderError(f"{folder} holds files, perhaps of an earlier test: choose another folder with --out.")


@dataclass(frozen=True)
class _Test:
    """One external test, step by step."""

    opened: Run
    chosen: list[TrainedContender]
    frozen: dict[str, Evaluated]
    source: Source
    data: str
    mapping: ClassMapping
    folder: Path
    training_data: str | None
    progress: Progress

    def run(self) -> ExternalTest:
        """From images to the two files."""
        summary, learned = read_training_data(self.opened.folder)
        images = self._images(self.chosen[0])
        stored, why_not = self._stored(summary["pixels_key"], learned)
        self.progress("Looking for copies of training images", 0, 0, "")
        overlap = self._overlap(images, learned, stored, why_not)
        rows = rows_to_test(overlap)
        own = {contender.name: self._judged(contender, rows) for contender in self.chosen}
        said = {name: self._predictions(images, overlap, judged.probabilities) for name, judged in own.items()}
        self.progress("Evaluating", 0, 0, "")
        figures = self._figures(
            {name: some_of(each, rows) for name, each in said.items()},
            {name: judged.some(rows) for name, judged in own.items()},
        )
        hashes = images.facts["pixel_sha256"].to_numpy(dtype=object)
        record = self._record(images, overlap, rows, said, summary)
        number = self._enter(hashes[rows])
        write_evidence(self.folder, self.mapping, said, own, hashes, overlap)
        return self._write({**figures, "kind": "external", **number}, record, next(iter(said.values())).labels)

    def _record(
        self,
        images: Inputs,
        overlap: Overlap,
        rows: np.ndarray,
        said: dict[str, Predictions],
        summary: dict[str, Any],
    ) -> dict[str, Any]:
        """What ``external.json`` keeps beside the sentences."""
        labels = next(iter(said.values())).labels[rows]
        return {
            "format": 1,
            "run": self.opened.folder.resolve().name,
            "study": self.opened.recipe.name,
            "data": self._described(images),
            "classes": self._described_classes(),
            "frozen": {name: vars(one) for name, one in self.frozen.items()},
            "overlap": overlap.as_json(),
            "all_images": self._all_images(said) if overlap.left_out.any() else None,
            "shift": shift_table(self._renamed(summary), summarise(images.facts.iloc[rows], labels)),
            "internal": self._internal(),
        }

    def _images(self, contender: TrainedContender) -> Inputs:
        """The new images of tested classes, as a contender takes them."""
        how = contender.preprocessing
        if not isinstance(how, Preprocessing):
            raise UsageError(f"'{contender.name}' takes rows of a table, not images.")
        what = f"Reading images at {how.size_px} px"
        images = open_pixels(self.source, how, progress=lambda done, total: self.progress(what, done, total, ""))
        rows = np.flatnonzero([self.mapping.theirs[str(sample.label)] is not None for sample in images.samples])
        if not len(rows):
            raise UsageError("None of the images that can be read has a class that is tested.")
        return only(images, rows)

    def _stored(self, key: str, learned: Any) -> tuple[StoredMiniatures | None, str]:
        """Small pictures of the training images, or why there are none."""
        if self.training_data is not None:
            given = open_pixels(
                _open_images(self.training_data, None), self.opened.recipe.data.preprocessing,
                progress=lambda done, total: self.progress("Reading training images", done, total, ""),
            )  # fmt: skip
            require_same_images(learned, given)
            key = given.key
        stored = stored_miniatures(key)
        if stored is None or not set(learned["name"]) <= set(stored.names):
            return None, tr(
                "The pictures the run learned from are not in the cache of this machine: name the data with "
                "--training-data to look for near copies too."
            )
        return stored, ""

    @staticmethod
    def _overlap(images: Inputs, learned: Any, stored: StoredMiniatures | None, why_not: str) -> Overlap:
        """Copies among the new images; near ones only while the pictures of the training images are undamaged."""
        try:
            return find_overlap(images, learned, stored, why_not)
        except DamagedStoreError as damage:
            if stored is None:
                raise
            _log.warning("%s Near copies of training images are not looked for.", damage)
        why_not = tr("The pictures the run learned from are damaged in the cache of this machine.")
        return find_overlap(images, learned, None, why_not)

    def _judged(self, contender: TrainedContender, tested: np.ndarray) -> Judged:
        """What a contender says of every new image, in its own classes, and how far it finds them off.

        Those that are tested go through it first and by themselves: what shares a batch with an image moves its last
        digits, and copies of training images shall not do even that.
        """
        images = self._images(contender)
        others = np.setdiff1d(np.arange(len(images.samples)), tested)
        said = []
        for rows in (tested, others):
            for start in range(0, len(rows), CHUNK):
                done = start if rows is tested else len(tested) + start
                self.progress(f"{contender.name}: predicting", done, len(images.samples), "")
                said.append(contender.judged(list(images.rows.read(rows[start : start + CHUNK]))))
        back = np.argsort(np.concatenate([tested, others]))
        probabilities, distances = (np.concatenate(column)[back] for column in zip(*said, strict=True))
        return Judged(contender.classes, probabilities, distances)

    def _predictions(self, images: Inputs, overlap: Overlap, values: np.ndarray) -> Predictions:
        samples = images.samples
        return Predictions(
            names=np.array([sample.name for sample in samples], dtype=object),
            labels=np.array([self.mapping.theirs[str(sample.label)] for sample in samples], dtype=object),
            groups=np.array([f"group {number}" for number in overlap.groups], dtype=object),
            classes=self.mapping.classes,
            probabilities=self.mapping.merge(values),
        )

    @property
    def _settings(self) -> dict[str, Any]:
        asked = self.opened.recipe.evaluation
        return {"confidence": asked.confidence, "resamples": asked.resamples, "seed": self.opened.recipe.seed}

    def _evaluate(self, said: dict[str, Predictions], decisions: dict[str, Any] | None = None) -> dict[str, Any]:
        split = read_split(self.opened.folder)
        labels = self.mapping.renamed(split.labels[split.rows("train")])
        return called_foreign(
            evaluate(said, train_labels=labels, decisions=decisions, **self._settings), self.opened.recipe
        )

    def _figures(self, said: dict[str, Predictions], own: dict[str, Judged]) -> dict[str, Any]:
        """The figures of the test, with the rules that were fixed in the run."""
        decided = {one.name: one.decision for one in self.chosen if one.decision is not None}
        figures = self._evaluate(said, {} if self.mapping.merges else decided)
        for name, decision in decided.items():
            groups, values = said[name].groups, own[name]
            units, n_units = numbered_groups(groups)
            shares = Shares(units, n_units < len(units), self._settings["confidence"])
            blocks = {}
            if self.mapping.merges:
                truth = label_index(said[name].labels, self.mapping.classes)
                blocks = merged_blocks(
                    self.mapping,
                    decision,
                    truth,
                    values.probabilities,
                    shares,
                    self._settings["resamples"],
                    self._settings["seed"],
                )
            if decision.gate is not None:
                before = read_distances(self.opened.contender(name).folder / "gate.csv")
                distances = {"validation": before["validation"], "test": values.distances}
                blocks["gate"] = gate_block(decision.gate, distances, shares, decision.groups)
            figures["contenders"][name] = {**figures["contenders"][name], **blocks}
        return figures

    def _all_images(self, said: dict[str, Predictions]) -> dict[str, Any]:
        """The figures that would have been found with the copies of training images."""
        figures = self._evaluate(said)
        return {"n": figures["n"], "contenders": _metrics(figures)}

    def _internal(self) -> dict[str, Any]:
        """The figures of the run's own test part, in the classes of this test."""
        said = {}
        for contender in self.chosen:
            test = read_predictions(contender.folder / "predictions.csv")["test"]
            said[contender.name] = Predictions(
                test.names, self.mapping.renamed(test.labels), test.groups, self.mapping.classes,
                self.mapping.merge(test.probabilities),
            )  # fmt: skip
        figures = self._evaluate(said)
        return {"n": figures["n"], "leaky": bool(self.opened.evaluation.get("leaky")), "contenders": _metrics(figures)}

    def _described(self, images: Inputs) -> dict[str, Any]:
        left_out = sum(self.mapping.theirs[str(sample.label)] is None for sample in self.source.samples)
        return {
            "name": Path(self.data).resolve().name or self.data,
            "sha256": self.source.fingerprint(),
            "kind": self.source.kind,
            "simulated": self.source.simulated,
            "found": images.found,
            "left_out": left_out,
            "unreadable": images.found - left_out - len(images.samples),
            "used": len(images.samples),
        }

    def _described_classes(self) -> dict[str, Any]:
        merged = dict(zip(self.mapping.trained, self.mapping.merged, strict=True))
        return {"new_data": dict(self.mapping.theirs), "run": merged, "tested": list(self.mapping.classes)}

    def _renamed(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The summary of the training part with the classes of this test."""
        called = dict(zip(self.mapping.trained, self.mapping.merged, strict=True))
        counts: dict[str, int] = {}
        for name, count in summary["categories"]["class"].items():
            counts[called.get(name, name)] = counts.get(called.get(name, name), 0) + count
        return {**summary, "categories": {**summary["categories"], "class": counts}}

    def _enter(self, hashes: np.ndarray) -> dict[str, Any]:
        """Enter the test in the run's ledger."""
        with sole_writer(self.opened.folder):
            return enter(self.opened.folder / "ledger.jsonl", list(hashes), self.frozen, kind="external").as_json()

    def _write(self, evaluation: dict[str, Any], record: dict[str, Any], labels: np.ndarray) -> ExternalTest:
        """Write what was found into the test's folder: ``external.json`` last, then the pages."""
        warned = warnings(evaluation, list(labels), record["overlap"])
        told = sealed({**record, "sentences": sentences(evaluation, record), "warnings": warned})
        write_json(self.folder / "evaluation.json", {**evaluation, "rests_on": rests_on(self.folder)})
        write_json(self.folder / "external.json", told)
        self._write_pages()
        return ExternalTest(self.folder, evaluation, told)

    def _write_pages(self) -> None:
        """The page of the test; and the run's report anew where the test lies in its folder, which then leads to it."""
        from clearmargin.environment import describe_environment
        from clearmargin.report import write_report
        from clearmargin.report.external_page import write_external_page

        with using(self.opened.recipe.report.language):
            write_external_page(self.folder, describe_environment()["clearmargin"])
        if self.folder.resolve().parent == (self.opened.folder / "external").resolve():
            write_report(self.opened.folder)


def _metrics(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: said["metrics"] for name, said in figures["contenders"].items()}
