"""``--format onnx``: one file, compared with the network it came from and only then written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from clearmargin import __version__
from clearmargin.exported import About, ExportedContender, describe_contender, exported_contender
from clearmargin.exporting.graph import onnx_bytes
from clearmargin.exporting.parity import Parity, check_parity
from clearmargin.exporting.samples import ORIGINALS, RunData, samples_to_compare
from clearmargin.files import write_bytes
from clearmargin.records import Columns
from clearmargin.runs import Run
from clearmargin.trained import TrainedContender

Made = tuple[ExportedContender, Parity]


def make_onnx(
    run: Run, contender: TrainedContender, path: Path, data: RunData | None, *, with_preprocessing: bool = False
) -> Made:
    """The file as bytes, opened and compared; nothing is written yet.

    Parameters
    ----------
    path
        Where it will lie.
    with_preprocessing
        Images go in as they are decoded, and rows as they stand in the table. Of a run that trims images or stretches
        their grey levels, images go in trimmed, stretched and framed.

    Raises
    ------
    WorkError
        When it does not answer as the network does.
    UsageError, MissingExtraError
        When it can't be made.
    """
    about = describe_contender(contender, version=__version__, leaky=bool(run.evaluation.get("leaky")))
    if with_preprocessing:
        about = about.model_copy(update={"input": _input(contender, about)})
    exported = exported_contender(onnx_bytes(contender, about), path)
    samples = samples_to_compare(run, contender, data)
    if about.input == "image" and data is not None:
        samples = replace(samples, originals=data.originals(ORIGINALS))
    return exported, check_parity(contender, exported, samples)


def _input(contender: TrainedContender, about: About) -> str:
    if isinstance(contender.preprocessing, Columns):
        return "values"
    return "square" if about.trim or about.intensity != "as-is" else "image"


def write_onnx(made: Made) -> dict[str, Any]:
    """Write the file, whole or not at all; return what was done, ready for JSON, with ``notes`` in words."""
    exported, parity = made
    write_bytes(exported.folder, exported.content)
    return {
        "format": "onnx",
        "contender": exported.name,
        "file": str(exported.folder),
        "bytes": len(exported.content),
        "sha256": hashlib.sha256(exported.content).hexdigest(),
        "input": exported.about.input,
        "parity": parity.as_json(),
        "notes": list(_notes(exported, parity)),
    }


def _notes(exported: ExportedContender, parity: Parity) -> Iterator[str]:
    about = exported.about
    yield f"Written: {exported.folder} ({len(exported.content) / 1e6:,.1f} MB)"
    shape = ", ".join(
        axis if size is None else str(size) for size, axis in zip(about.input_shape, _axes(about), strict=True)
    )
    yield f"In: {exported.facts.input_type} ({shape}), {WHAT_GOES_IN[about.input]}. Out: {_what_comes_out(about)}."
    yield from parity_notes(parity)
    if about.task == "classification":
        yield (
            "Left behind: the gate, which tells images unlike those of the training part. Thresholds, classes and the "
            "rest stand in the file's metadata."
        )


def parity_notes(parity: Parity) -> Iterator[str]:
    """What was compared, and how near it is."""
    worst = max(parity.outputs, parity.probabilities or 0.0)
    yield (
        f"Run and compared with the network on {parity.samples}: at most {worst:.1e} off "
        f"({parity.tolerance:g} is allowed)."
    )
    if parity.framed is not None:
        real = f" and {parity.n_originals} files of the data" if parity.n_originals else ""
        made_up = parity.n_framed - parity.n_originals
        yield f"On {made_up} made-up pictures{real} that the graph frames itself: at most {parity.framed:.1e} off."
    if parity.as_predicted > parity.tolerance:
        yield (
            "`clearmargin predict RUN` computes in the number format of training, and its answers differ from the "
            f"file's by up to {parity.as_predicted:.1e}."
        )


WHAT_GOES_IN = {
    "normalised": "normalised by the mean and std in the metadata",
    "image": "decoded pictures of any size, red, green, blue from 0 to 255",
    "square": "pictures trimmed, stretched and framed as the metadata say, red, green, blue from 0 to 255",
    "values": "rows as they stand in the table",
}


def _axes(about: About) -> tuple[str, ...]:
    if about.columns is not None:
        return ("batch", "columns") if about.input == "values" else ("batch", "1", "columns")
    return ("batch", "channels", "height", "width") if about.input == "normalised" else (
        "batch", "height", "width", "colours")  # fmt: skip


def _what_comes_out(about: About) -> str:
    if about.target is not None:
        return f"the target in deviations from its mean: times {about.target.std:.6g}, plus {about.target.mean:.6g}"
    return f"logits of {len(about.classes or ())} classes: divide by {about.temperature:.6g}, then softmax"
