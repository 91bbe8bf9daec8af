"""``--int8``: weights and activations in 8 bits, and what that costs in accuracy and gains in speed.

The ranges of activations come from images of the training part. What it costs is measured on the validation part, by
the rule by which contenders are compared; the test part is not looked at.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clearmargin.errors import ClearmarginError, MissingExtraError, UsageError, WorkError
from clearmargin.evaluation.alignment import align
from clearmargin.evaluation.bootstrap import bootstrap, headline
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.evaluation.neighbours import evenly_spaced
from clearmargin.exported import ExportedContender, exported_contender, softmax
from clearmargin.exporting.graph import describe_model
from clearmargin.exporting.onnx_file import Made
from clearmargin.exporting.parity import Parity
from clearmargin.exporting.places import MADE_BY, account_beside
from clearmargin.exporting.samples import RunData
from clearmargin.files import write_bytes, write_json
from clearmargin.records import Predictions, Progress
from clearmargin.runs import Run
from clearmargin.trained import BATCH

CALIBRATION = 200  # images; activations' ranges hardly move beyond
TIMED_ROUNDS = 7
TIMED_IMAGES = 64
BUSY = "Timed on this machine as busy as it was; times change from machine to machine, their ratio less so."


def write_quantised(run: Run, made: Made, path: Path, data: RunData, progress: Progress) -> dict[str, Any]:
    """Quantise an exported network, compare the two, and write what was found (``PATH.json``) and the file.

    Parameters
    ----------
    made
        The file in float32, and how near it is to the network.

    Raises
    ------
    UsageError
        When the network is not of images, or there is nothing to calibrate or compare with.
    WorkError
        When onnxruntime can't quantise it, or the images can't be read.
    """
    exported, parity = made
    if not exported.classes or exported.about.columns is not None:
        raise UsageError("--int8 is for networks that classify images.")
    learned, judged = data.of("train"), data.of("validation")
    if not len(learned) or not len(judged):
        raise UsageError("--int8 needs images of the training and the validation part: there are none.")
    labels = np.unique(data.split.labels[learned].astype(str), return_inverse=True)[1]
    chosen = learned[evenly_spaced(labels, CALIBRATION)]
    progress("Quantising", 0, 0, "")
    content = _quantised(exported, lambda: (data.read(chosen[start : start + BATCH]) for start in _starts(chosen)))
    small = exported_contender(content, path)
    said = [_answers(one, data, judged, progress) for one in (exported, small)]
    found = {
        "made_by": MADE_BY,
        **_costs(run, exported, data, judged, said),
        "calibration_images": len(chosen),
        "speed": _speed(exported, small, data.read(judged[:TIMED_IMAGES])),
        "bytes": {"float32": len(exported.content), "int8": len(content)},
    }
    write_json(account_beside(path), found)
    write_bytes(path, content)
    return {
        "format": "onnx",
        "contender": exported.name,
        "file": str(path),
        "bytes": len(content),
        "sha256": small.identity(),
        "input": "normalised",
        "float32_parity": parity.as_json(),
        "int8": found,
        "notes": list(_notes(path, found, parity)),
    }


def _starts(rows: np.ndarray) -> range:
    return range(0, len(rows), BATCH)


def _quantised(exported: ExportedContender, batches: Callable[[], Iterator[np.ndarray]]) -> bytes:
    """The file in 8 bits: weights by channel, activations as they ranged over the calibration images."""
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtraError("Quantising", "onnx") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            self.batches = batches()

        def get_next(self) -> dict[str, np.ndarray] | None:
            pixels = next(self.batches, None)
            return None if pixels is None else {exported.facts.input_name: exported.fed(pixels)}

    with tempfile.TemporaryDirectory() as folder:
        given, ready, made = (Path(folder) / name for name in ("given.onnx", "ready.onnx", "int8.onnx"))
        given.write_bytes(exported.content)
        try:
            quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(made),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,  # 7 bits of weights: pairs of products overflow where a processor lacks VNNI
            )
            small = onnx.load(str(made))
        except ClearmarginError:  # of the images, which are read meanwhile
            raise
        except Exception as error:  # the tool raises whatever comes up
            raise WorkError(f"onnxruntime can't quantise '{exported.name}': {str(error)[:300]}") from error
    about = exported.about.model_copy(update={"quantised": True})
    describe_model(small, about)
    return bytes(small.SerializeToString())


def _answers(exported: ExportedContender, data: RunData, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """Probabilities, float64 (images, classes)."""
    said = []
    for start in _starts(rows):
        said.append(exported.logits(data.read(rows[start : start + BATCH])))
        progress("Comparing on the validation part", min(start + BATCH, len(rows)), len(rows), "")
    return softmax(np.concatenate(said) / exported.about.temperature)


def _costs(
    run: Run, exported: ExportedContender, data: RunData, rows: np.ndarray, said: list[np.ndarray]
) -> dict[str, Any]:
    """Accuracies, and the paired comparison by the rule of the study."""
    split = data.split
    whole = Predictions(split.names[rows], split.labels[rows], split.groups[rows], exported.classes, said[0])
    contenders = {"float32": whole, "int8": replace(whole, probabilities=said[1])}
    aligned = align(contenders)
    asked = run.recipe.evaluation
    resampled = bootstrap(aligned, asked.resamples, run.recipe.seed)
    (pair,) = compare(aligned, resampled, confidence=asked.confidence, seed=run.recipe.seed)
    accuracies = {}
    for name, probabilities in aligned.probabilities.items():
        right = predicted_index(probabilities) == aligned.truth
        accuracy = share_figure(right, aligned.units, asked.confidence, aligned.clustered)
        balanced = headline(aligned.truth, probabilities)["balanced_accuracy"]
        accuracies[name] = {"accuracy": accuracy, "balanced_accuracy": balanced}
    return {
        "contender": exported.name,
        "part": "validation",
        "n": len(rows),
        "groups": aligned.n_units,
        **accuracies,
        "same_class": int((predicted_index(said[0]) == predicted_index(said[1])).sum()),
        "largest_probability_difference": float(np.abs(said[0] - said[1]).max()),
        "comparison": pair,
    }


def _speed(exported: ExportedContender, small: ExportedContender, pixels: np.ndarray) -> dict[str, Any]:
    """Milliseconds an image of both in turns, in batches as `predict` takes them, and the median of their ratios."""
    taken: dict[str, list[float]] = {"float32": [], "int8": []}
    sides = (("float32", exported), ("int8", small))
    for turn in range(TIMED_ROUNDS + 1):
        for name, one in sides:
            started = time.perf_counter()
            for start in range(0, len(pixels), BATCH):
                one.logits(pixels[start : start + BATCH])
            if turn:  # the first is to get warm
                taken[name].append(1000 * (time.perf_counter() - started) / len(pixels))
    ratios = [slow / fast for slow, fast in zip(taken["float32"], taken["int8"], strict=True)]
    return {
        "float32_ms": statistics.median(taken["float32"]),
        "int8_ms": statistics.median(taken["int8"]),
        "times_as_fast": statistics.median(ratios),
        "times_as_fast_from": min(ratios),
        "times_as_fast_to": max(ratios),
        "rounds": TIMED_ROUNDS,
        "images": len(pixels),
    }


def _notes(path: Path, found: dict[str, Any], parity: Parity) -> Iterator[str]:
    pair, speed, size = found["comparison"], found["speed"], found["bytes"]
    yield f"Written: {path} ({size['int8'] / 1e6:,.1f} MB; in float32 {size['float32'] / 1e6:,.1f} MB)"
    worst = max(parity.outputs, parity.probabilities or 0.0)
    yield f"In float32 it was at most {worst:.1e} off the network, on {parity.samples}."
    yield f"Ranges of activations from {found['calibration_images']} images of the training part."
    yield (
        "On the validation part: "
        + ", ".join(_accuracy(name, found[name]["accuracy"]) for name in ("float32", "int8"))
        + "."
    )
    first, second = pair["only_first_right"], pair["only_second_right"]
    interval = pair["accuracy_difference"]
    told = "" if interval["low"] is None else f" (from {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"
    yield (
        f"{pair['first']} minus {pair['second']}: {100 * interval['value']:+.1f} points of accuracy{told}; {first} and "
        f"{second} images only one of them gets right, McNemar's mid-p {pair['mcnemar_mid_p']:.3f}. {pair['sentence']}"
    )
    yield f"The same class for {found['same_class']:,} of {found['n']:,} images."
    spread = f"{speed['times_as_fast_from']:.2f} to {speed['times_as_fast_to']:.2f} over {speed['rounds']} rounds"
    yield (
        f"{speed['int8_ms']:.3g} ms an image instead of {speed['float32_ms']:.3g}: {speed['times_as_fast']:.2f} times "
        f"as fast ({spread}). {BUSY}"
    )
    yield f"All of it: {account_beside(path)}"


def _accuracy(name: str, figure: dict[str, Any]) -> str:
    low = "" if figure["low"] is None else f" ({figure['low']:.3f}–{figure['high']:.3f})"
    return f"{name} {figure['value']:.3f}{low}"
