"""An exported file is run and compared with the network it came from, before it counts as exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from clearmargin.decoding import prepared_pixels
from clearmargin.errors import WorkError
from clearmargin.exported import ExportedContender, softmax
from clearmargin.exporting.network import plain_network
from clearmargin.exporting.samples import Samples
from clearmargin.models.inputs import to_input
from clearmargin.records import Columns, Preprocessing
from clearmargin.trained import BATCH, TrainedContender

TOLERANCE = 1e-4
SHAPES = ((97, 150), (230, 141), (33, 310), (700, 400))  # height and width of pictures that have to be framed
SEED = 1


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the network in float32, on the same samples.

    Attributes
    ----------
    samples, real
        What was compared, in words; whether these are real samples of the study.
    n
        How many.
    outputs
        Largest difference of what comes out (logits, or standardised numbers), over the largest of them or 1.
    probabilities
        Largest difference of a probability; None for a regression.
    framed
        Of ``n_framed`` pictures of other sizes: largest difference of what comes out, as above; None where the file
        does no framing.
    as_predicted
        Largest difference of a probability (or of a number in the unit of the target) from `clearmargin predict RUN`,
        which computes in the precision of training.
    """

    samples: str
    real: bool
    n: int
    outputs: float
    probabilities: float | None
    framed: float | None
    n_framed: int
    as_predicted: float
    tolerance: float = TOLERANCE

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return asdict(self)


def check_parity(contender: TrainedContender, exported: ExportedContender, samples: Samples) -> Parity:
    """Compare; a file that is off is refused.

    Raises
    ------
    WorkError
        When an output or a probability differs by more than `TOLERANCE`, or the file can't be run.
    """
    own = reference(contender)(samples.values)
    theirs = given(exported, samples.values)
    framed = _framed(contender, exported) if exported.about.input == "image" else None
    classes = bool(contender.classes)
    scale = exported.about.temperature
    parity = Parity(
        samples=samples.origin,
        real=samples.real,
        n=len(own),
        outputs=relative(own, theirs),
        probabilities=float(np.abs(softmax(own / scale) - softmax(theirs / scale)).max()) if classes else None,
        framed=framed,
        n_framed=0 if framed is None else len(SHAPES),
        as_predicted=_from_predict(contender, exported, samples.values),
    )
    worst = max(parity.outputs, parity.probabilities or 0.0, parity.framed or 0.0)
    if not worst <= TOLERANCE:
        raise WorkError(
            f"The exported file does not answer as '{contender.name}' does: on {samples.origin} it is up to "
            f"{worst:.2g} off, and {TOLERANCE:g} is allowed. Nothing was written."
        )
    return parity


def reference(contender: TrainedContender) -> Callable[[np.ndarray], np.ndarray]:
    """The network in float32, run by torch: prepared samples to outputs, float64 (samples, outputs)."""
    said = contender.description["preprocessing"]
    network = plain_network(contender.network)

    def answers(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batches = [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
            outputs = [network(to_input(batch, tuple(said["mean"]), tuple(said["std"]))) for batch in batches]
        return np.asarray(torch.cat(outputs).double().numpy())

    return answers


def given(exported: ExportedContender, values: np.ndarray) -> np.ndarray:
    """What an exported file says of prepared samples, float64 (samples, outputs), before any scaling."""
    if isinstance(exported.preprocessing, Columns):
        target = exported.about.target
        if target is None:
            raise WorkError(f"{exported.folder.name} classifies rows of a table, which is not compared.")
        return ((exported.estimates(values) - target.mean) / target.std)[:, None]
    return np.concatenate([exported.logits(values[start : start + BATCH]) for start in range(0, len(values), BATCH)])


def relative(own: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, over the largest value of the first or 1; infinite where a value is not finite."""
    apart = float(np.abs(own - theirs).max() / max(1.0, float(np.abs(own).max())))
    return apart if np.isfinite(apart) else float("inf")


def _from_predict(contender: TrainedContender, exported: ExportedContender, values: np.ndarray) -> float:
    if isinstance(contender.preprocessing, Columns):
        return float(np.abs(contender.estimates(values) - exported.estimates(values)).max())
    pixels = list(values)
    return float(np.abs(contender.probabilities(pixels) - exported.probabilities(pixels)).max())


def _framed(contender: TrainedContender, exported: ExportedContender) -> float:
    """The same of seeded pictures that the graph frames itself, against those that our decoding framed."""
    how = contender.preprocessing
    if not isinstance(how, Preprocessing):
        raise WorkError(f"'{contender.name}' takes rows of a table, and nothing is framed.")
    random = np.random.default_rng(SEED)
    answers, worst = reference(contender), 0.0
    for height, width in SHAPES:
        coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
        worst = max(worst, relative(answers(prepared_pixels(picture, how)[None]), exported.outputs_of(picture[None])))
    return worst
