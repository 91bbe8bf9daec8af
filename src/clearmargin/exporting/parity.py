"""An exported file is run and compared with the network it came from, before it counts as exported."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

from clearmargin.decoding import prepared_pixels, whole_picture
from clearmargin.errors import ImageError, WorkError
from clearmargin.exported import ExportedContender, softmax
from clearmargin.exporting.network import plain_network
from clearmargin.exporting.samples import Samples
from clearmargin.models.inputs import to_input
from clearmargin.records import Columns, Preprocessing
from clearmargin.trained import BATCH, TrainedContender

TOLERANCE = 1e-4
MOST_PIXELS = 16_000_000  # of a picture that the graph frames: it holds it several times, in wider numbers
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
        Of ``n_framed`` pictures of all sizes, ``n_originals`` of them files of the data: largest difference of what
        comes out, as above; None where the file does no framing.
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
    n_originals: int
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
    made_up, originals = _framed(contender, exported, samples) if exported.about.input == "image" else ([], [])
    classes = bool(contender.classes)
    scale = exported.about.temperature
    parity = Parity(
        samples=samples.origin,
        real=samples.real,
        n=len(own),
        outputs=relative(own, theirs),
        probabilities=float(np.abs(softmax(own / scale) - softmax(theirs / scale)).max()) if classes else None,
        framed=max((*made_up, *originals), default=None),
        n_framed=len(made_up) + len(originals),
        n_originals=len(originals),
        as_predicted=_from_predict(contender, exported, samples.values),
    )
    apart = max(parity.outputs, parity.probabilities or 0.0)
    if not apart <= TOLERANCE:
        raise WorkError(_off(contender, samples.origin, apart))
    if not (parity.framed or 0.0) <= TOLERANCE:
        where = f"pictures that the graph resizes itself, as Pillow 13 does (this is Pillow {PIL.__version__})"
        raise WorkError(_off(contender, where, parity.framed or 0.0))
    return parity


def _off(contender: TrainedContender, where: str, apart: float) -> str:
    return (
        f"The exported file does not answer as '{contender.name}' does: on {where} it is up to {apart:.2g} off, and "
        f"{TOLERANCE:g} is allowed. Nothing was written."
    )


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


def shapes(side: int) -> tuple[tuple[int, int], ...]:
    """Height and width of pictures on which framing for ``side`` takes every way that it has, up to 665 pixels.

    As large as what is wanted; reduced by a whole factor before it is resized; tall, where columns come before rows;
    wide; enlarged. For a larger side, a square that is reduced would have more than `MOST_PIXELS`: the second is then
    only made smaller, and that way is not compared.
    """
    far = min(7 * side, math.isqrt(MOST_PIXELS) - 5)
    return (
        (side, side),
        (far, far + 5),
        (5 * side // 2, side // 2),
        (side // 2, 5 * side // 2),
        (side // 3, side // 4),
    )


def _framed(
    contender: TrainedContender, exported: ExportedContender, samples: Samples
) -> tuple[list[float], list[float]]:
    """Differences on pictures that the graph frames itself, against our decoding: of made-up ones, and of originals."""
    how = contender.preprocessing
    if not isinstance(how, Preprocessing):
        raise WorkError(f"'{contender.name}' takes rows of a table, and nothing is framed.")
    answers = reference(contender)

    def apart(content: bytes | np.ndarray, picture: np.ndarray) -> float:
        return relative(answers(prepared_pixels(content, how)[None]), exported.outputs_of(picture[None]))

    made_up = [apart(picture, picture) for picture in _made_up(how.size_px)]
    return made_up, [apart(content, picture) for content, picture in _decoded(samples, how)]


def _made_up(side: int) -> Iterator[np.ndarray]:
    """Seeded pictures of these shapes, uint8 (height, width, 3)."""
    random = np.random.default_rng(SEED)
    for height, width in shapes(side):
        size = (max(1, height // 8), max(1, width // 8), 3)
        coarse = Image.fromarray(random.integers(0, 256, size, dtype=np.uint8))
        yield np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))


def _decoded(samples: Samples, how: Preprocessing) -> Iterator[tuple[bytes | np.ndarray, np.ndarray]]:
    """Each original with its picture in full size; those that are too large for the graph are left out."""
    for content in samples.originals:
        try:
            yield content, whole_picture(content, how.window, MOST_PIXELS)
        except ImageError:
            continue
