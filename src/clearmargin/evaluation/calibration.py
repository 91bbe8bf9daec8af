"""Are the probabilities right: temperature scaling, the reliability diagram, and calibration errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from clearmargin.evaluation.metrics import log_loss, predicted_index
from clearmargin.language import tr, trn

BINS = 15
LOWEST, HIGHEST = 0.1, 10.0
FEWEST_SAMPLES = 20
NULL_RESAMPLES = 1000
NULL_PERCENTILE = 95
_CHUNK_ELEMENTS = 2**21


Outcome = Literal["fitted", "few", "all-right", "lowest", "highest", "as-published"]


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by before they become probabilities.

    Attributes
    ----------
    value
        From `LOWEST` to `HIGHEST`; 1 leaves the probabilities alone.
    outcome
        ``fitted``: it is the minimum of the log loss. Else why it is not: too ``few`` samples, or ``all-right``, so
        that ever smaller temperatures are better (both leave it at 1); the ``lowest`` or ``highest`` that is allowed;
        ``as-published``: the model is taken as it came.
    """

    value: float = 1.0
    outcome: Outcome = "as-published"


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> Temperature:
    """The temperature with the smallest log loss on the validation part.

    With ``b = 1 / T`` the mean loss ``log Σ exp(b z_k) − b z_true`` is convex; its slope, the mean of
    ``Σ softmax(b z)_k z_k − z_true``, crosses zero at the minimum and is solved for by bisection (Brent). Guo,
    Pleiss, Sun & Weinberger, *ICML* (2017), section 4.2. Dividing by a positive number keeps the order of the classes.

    Parameters
    ----------
    logits
        float of shape (samples, classes); logarithms of probabilities serve as well.
    truth
        Position of the true class, int64 of shape (samples,).

    Returns
    -------
    `Temperature`: 1 where the data can't tell: fewer than `FEWEST_SAMPLES` samples, or every answer
    right (then ever smaller temperatures are better, without end).
    """
    if len(truth) < FEWEST_SAMPLES:
        return Temperature(1.0, "few")
    centred = np.asarray(logits, dtype=np.float64)
    centred = centred - centred.max(axis=1, keepdims=True)
    own = centred[np.arange(len(truth)), truth]
    if (own == 0).all():
        return Temperature(1.0, "all-right")

    def slope(log_temperature: float) -> float:
        """Of the loss over ``1 / T``: its zero is the minimum."""
        shares = scipy.special.softmax(centred * np.exp(-log_temperature), axis=1)
        return float((np.where(shares > 0, shares * centred, 0.0).sum(axis=1) - own).mean())

    coldest, hottest = np.log(LOWEST), np.log(HIGHEST)
    if slope(hottest) > 0:  # the loss falls as 1 / T falls, even here
        return Temperature(HIGHEST, "highest")
    if slope(coldest) < 0:
        return Temperature(LOWEST, "lowest")
    return Temperature(float(np.exp(scipy.optimize.brentq(slope, coldest, hottest, xtol=1e-12, rtol=1e-12))), "fitted")


def temperature_note(temperature: Temperature, n_validation: int) -> str:
    """How the temperature came about, for a reader."""
    match temperature.outcome:
        case "few":
            return trn(
                n_validation,
                "The validation part has only {n} sample, too few to fit a temperature: it was left at 1.",
                "The validation part has only {n} samples, too few to fit a temperature: it was left at 1.",
                n=n_validation,
            )
        case "all-right":
            return tr("Every validation sample is answered right, so that no temperature fits best: it was left at 1.")
        case "lowest" | "highest":
            return tr(
                "The temperature is at the end of what is allowed ({t}): the validation part would take it further.",
                t=f"{temperature.value:g}",
            )
        case "as-published":
            return tr("The probabilities are taken as the model gives them: no temperature was fitted.")
    return tr("The temperature was fitted on {n} validation samples.", n=n_validation)


def uncalibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What was said before scaling: ``p^T``, made to sum to one, as softmax(z) follows from softmax(z / T).

    Probabilities that scaling rounded to 0 stay 0.
    """
    if temperature == 1:
        return probabilities
    raised = (probabilities / probabilities.max(axis=1, keepdims=True)) ** temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def brier_score(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over samples of ``Σ_k (p_k − y_k)²``, from 0 to 2; Brier, *Monthly Weather Review* 78 (1950) 1."""
    own = probabilities[np.arange(len(truth)), truth]
    return float(((probabilities**2).sum(axis=1) - 2 * own + 1).mean())


def _binned(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each confidence: equally wide, each with its upper end; 0 goes to the first."""
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def reliability_bins(confidences: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """The reliability diagram: how often answers given with a confidence are right.

    Parameters
    ----------
    confidences
        Probability of the predicted class, float64 of shape (samples,), from 0 to 1.
    right
        bool of shape (samples,).

    Returns
    -------
    For each of the equally wide bins ``(low, high]``: ``low``, ``high``, ``n``, and the means ``confidence`` and
    ``accuracy``, None in an empty bin. DeGroot & Fienberg, *The Statistician* 32 (1983) 12.
    """
    place = _binned(confidences, bins)
    counts = np.bincount(place, minlength=bins)
    said = np.bincount(place, weights=confidences, minlength=bins)
    true = np.bincount(place, weights=right, minlength=bins)
    return [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "n": int(n),
            "confidence": float(said[number] / n) if n else None,
            "accuracy": float(true[number] / n) if n else None,
        }
        for number, n in enumerate(counts)
    ]


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """``Σ_b n_b / n |accuracy_b − confidence_b|`` over equally wide bins, from 0 to 1.

    Naeini, Cooper & Hauskrecht, *AAAI* (2015) 2901. It is never 0 for finite samples, not even of a perfect model:
    `error_if_perfect` says how large.
    """
    apart = np.bincount(_binned(confidences, bins), weights=confidences - right, minlength=bins)
    return float(np.abs(apart).sum() / len(confidences))


def error_if_perfect(
    confidences: np.ndarray, bins: int = BINS, resamples: int = NULL_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """What `expected_calibration_error` would be if every probability were exactly right, at this n.

    Whether each answer is right is drawn with its own confidence, many times over ("consistency resampling":
    Bröcker & Smith, *Weather and Forecasting* 22 (2007) 651).

    Returns
    -------
    Mean and 95th percentile of the error.
    """
    random = np.random.default_rng([seed, 17])
    order = np.argsort(_binned(confidences, bins), kind="stable")
    ordered = confidences[order]
    starts = np.unique(_binned(ordered, bins), return_index=True)[1]
    chunk = max(1, _CHUNK_ELEMENTS // len(confidences))
    errors = []
    for first in range(0, resamples, chunk):
        drawn = random.random((min(chunk, resamples - first), len(ordered))) < ordered
        errors.append(np.abs(np.add.reduceat(ordered - drawn, starts, axis=1)).sum(axis=1) / len(ordered))
    found = np.concatenate(errors)
    return float(found.mean()), float(np.percentile(found, NULL_PERCENTILE))


def classwise_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Mean over classes of the calibration error of that class's own probability.

    Of each class ``Σ_b n_b / n |share of it_b − mean probability_b|``; Kull et al., *NeurIPS* (2019), section 2.
    """
    n, classes = probabilities.shape
    cell = _binned(probabilities, bins) + np.arange(classes) * bins
    apart = np.bincount(cell.ravel(), weights=probabilities.ravel(), minlength=classes * bins)
    apart -= np.bincount(cell[np.arange(n), truth], minlength=classes * bins)
    return float(np.abs(apart).sum() / (n * classes))


def calibration_block(
    truth: np.ndarray,
    probabilities: np.ndarray,
    temperature: Temperature,
    n_validation: int,
    seed: int,
    clustered: bool,
) -> dict[str, Any]:
    """The block ``calibration`` of a contender, ready for JSON.

    What the calibration error of a perfect model would be (``ece_if_perfect``, ``ece_if_perfect_high``) is drawn for
    independent samples: None when samples cluster, where one mistake of a group comes with others and the error of a
    perfect model is larger than the draws say.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        After scaling, float64 of shape (samples, classes).
    clustered
        Whether any group holds more than one sample.
    """
    before = uncalibrated(probabilities, temperature.value)
    confidences, right = _confidences(truth, probabilities)
    mean, high = (None, None) if clustered else error_if_perfect(confidences, seed=seed)
    return {
        "temperature": temperature.value,
        "outcome": temperature.outcome,
        "note": temperature_note(temperature, n_validation),
        "n_validation": n_validation,
        "bins": reliability_bins(confidences, right),
        "ece": expected_calibration_error(confidences, right),
        "ece_if_perfect": mean,
        "ece_if_perfect_high": high,
        "classwise_ece": classwise_error(truth, probabilities),
        "log_loss": log_loss(truth, probabilities),
        "brier": brier_score(truth, probabilities),
        "uncalibrated": {
            "bins": reliability_bins(*_confidences(truth, before)),
            "ece": expected_calibration_error(*_confidences(truth, before)),
            "classwise_ece": classwise_error(truth, before),
            "log_loss": log_loss(truth, before),
            "brier": brier_score(truth, before),
        },
    }


def _confidences(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the predicted class, at most 1, and whether that class is right."""
    predicted = predicted_index(probabilities)
    said = np.clip(probabilities[np.arange(len(truth)), predicted], 0.0, 1.0)
    return said, predicted == truth
