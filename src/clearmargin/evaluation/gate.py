"""Telling images that are unlike anything the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.alignment import effective_groups, numbered_groups
from clearmargin.evaluation.conformal import RANGE, Place, conformal_rank, threshold_place
from clearmargin.evaluation.intervals import wilson
from clearmargin.evaluation.shares import Shares
from clearmargin.files import file_sha256, read_table, write_table
from clearmargin.language import tr

COMPONENTS = 64
SAMPLES_PER_COMPONENT = 5
MOST_TRAINING = 1000
SMALLEST_SCALE = 1e-3  # of the largest: a channel that never varied must not decide alone
FARTHEST = 50.0  # deviations: beyond, it is far enough
LARGEST_BYTES = 100_000_000
SHOWN = 200
MADE = ("blank", "noise")


@dataclass(frozen=True)
class GateRule:
    """Fixed on the validation part: an image whose distance is larger than the threshold is unlike the training part.

    Attributes
    ----------
    false_alarms
        Share of images like those of the validation part that is meant to be called unlike.
    threshold
        Distance, as `TrainingFeatures.distances` gives it.
    sha256
        Of ``gate.safetensors``, hex.
    place
        Of the threshold among samples, or among groups that are taken for one sample each; None in a run of an earlier
        version.
    """

    false_alarms: float
    threshold: float
    sha256: str
    place: Place | None = None

    def unlike(self, distances: np.ndarray) -> np.ndarray:
        """Which images are unlike the training part: bool, of the shape of the distances."""
        return np.asarray(distances > self.threshold)


@dataclass(frozen=True)
class TrainingFeatures:
    """Where the features of the training part lie: a normal distribution, and no image of it.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each feature, float32 of shape (features,).
    axes
        Principal axes of the standardised features, float32 of shape (components, features), of length one.
    variances
        Along the axes, float32 of shape (components,).
    rest
        Mean variance across the axes left out, float32 of shape (1,).
    """

    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far each image lies from the training part; about 1 for one of it.

        The root of the mean over features of the Mahalanobis distance squared, ``Σ_k y_k² / λ_k + r² / σ²``: y along
        the axes, r what they leave; Lee, Lee, Lee & Shin, *NeurIPS* (2018), with the covariance of probabilistic
        principal components (Tipping & Bishop, *JRSS B* 61 (1999) 611, section 3.2).

        Parameters
        ----------
        features
            float of shape (images, features).
        """
        standard = (features.astype(np.float64) - self.centre) / self.scale
        standard = np.clip(np.nan_to_num(standard, nan=FARTHEST), -FARTHEST, FARTHEST)
        # Not by BLAS: its threads stay awake for a while, and take the processors from the network's next batch.
        along = np.einsum("if,kf->ik", standard, self.axes.astype(np.float64))  # (images, components)
        left = np.maximum((standard**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        squared = (along**2 / self.variances).sum(axis=1) + left / float(self.rest[0])
        return np.asarray(np.sqrt(squared / len(self.centre)))


def fit_training_features(features: np.ndarray) -> TrainingFeatures:
    """The distribution of the training part's features.

    Parameters
    ----------
    features
        float of shape (images, features); at least one image. Of so few that an axis has not `SAMPLES_PER_COMPONENT`
        images, fewer axes are kept.
    """
    values = features.astype(np.float64)
    n, width = values.shape
    centre, spread = values.mean(axis=0), values.std(axis=0)
    scale = np.maximum(spread, max(SMALLEST_SCALE * spread.max(), np.finfo(np.float32).tiny * 1e6))
    standard = np.clip((values - centre) / scale, -FARTHEST, FARTHEST)
    kept = min(COMPONENTS, n // SAMPLES_PER_COMPONENT, max(width - 1, 0))
    gram_variances, vectors = np.linalg.eigh(standard @ standard.T / n)  # n x n: the features are more
    variances = gram_variances[::-1][:kept]
    sound = variances > 1e-9 * max(float(gram_variances[-1]), 1e-9)
    variances, vectors = variances[sound], vectors[:, ::-1][:, :kept][:, sound]
    axes = (standard.T @ vectors / np.sqrt(variances * n)).T
    left = (standard**2).sum() / n - variances.sum()
    rest = max(float(left) / max(width - len(variances), 1), 1e-6)
    arrays = (centre, scale, axes, variances, np.array([rest]))
    return TrainingFeatures(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))


def fit_gate(distances: np.ndarray, false_alarms: float, sha256: str, groups: np.ndarray | None = None) -> GateRule:
    """The threshold: the distance at `conformal_rank` on the validation part, or the largest when there are too few.

    Parameters
    ----------
    distances
        Of the validation part, float64 of shape (samples,).
    groups
        Group of each sample, object of shape (samples,); None: each is of its own. They say how far the false alarms
        may be off, and change no threshold.
    """
    rank = min(conformal_rank(len(distances), false_alarms), len(distances))
    units = np.arange(len(distances)) if groups is None else numbered_groups(groups)[0]
    fewest = max(1, int(effective_groups(units) + 1e-9))
    place = threshold_place(units, false_alarms) or (fewest, fewest)
    return GateRule(false_alarms, float(np.sort(distances)[rank - 1]), sha256, place)


def expected_false_alarms(rule: GateRule, n_validation: int) -> tuple[float, float] | tuple[None, None]:
    """5th and 95th percentile of the share of false alarms of a gate that was fitted on exchangeable images.

    One minus the coverage of a conformal threshold at the same `Place`, which is Beta(k, n + 1 − k) for distances
    without ties; Vovk, *ACML* (2012), proposition 2a. When images cluster it reaches from the lower to the upper limit
    of two ranges: as if the images of a group were all alike, and as if all images were independent. It is of the rate
    itself: the share found among few test images varies beyond it.

    Parameters
    ----------
    n_validation
        Images that the gate was fitted on.

    Returns
    -------
    Twice None for a gate of an earlier version, of which the place is not known.
    """
    if rule.place is None:
        return None, None
    alone = min(conformal_rank(n_validation, rule.false_alarms), n_validation), n_validation
    ranges = [1 - scipy.stats.beta.ppf(RANGE[::-1], rank, n + 1 - rank) for rank, n in (rule.place, alone)]
    return float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))


def read_training_features(folder: Path, rule: GateRule) -> TrainingFeatures:
    """What ``gate.safetensors`` of a contender holds.

    Raises
    ------
    RunFolderError
        When it is missing, or not the file that the run was finished with.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / "gate.safetensors"
    try:
        if path.stat().st_size > LARGEST_BYTES or file_sha256(path) != rule.sha256:
            raise RunFolderError(
                f"{path} is not the file this run was finished with: its SHA-256 differs from model.json. Take the "
                "folder from where it is whole, or run the study again."
            )
        return TrainingFeatures(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise RunFolderError(f"{path} is missing or damaged ({error}): run the study again.") from error


def write_distances(path: Path, distances: Mapping[str, np.ndarray], names: Mapping[str, np.ndarray]) -> None:
    """Write ``gate.csv``: columns ``part, name, distance``; made-up images have their kind for a part, and numbers."""
    frames = [
        pd.DataFrame(
            {
                "part": np.array([part] * len(values), dtype=object),
                "name": np.array([str(name) for name in names.get(part, range(1, len(values) + 1))], dtype=object),
                "distance": values,
            }
        )
        for part, values in distances.items()
    ]
    write_table(path, pd.concat(frames, ignore_index=True))


def read_distances(path: Path) -> dict[str, np.ndarray]:
    """What `write_distances` wrote, by part, in its order.

    Raises
    ------
    RunFolderError
        When the file is missing, or not such a table.
    """
    try:
        frame = read_table(path, ("part", "name"))
        values = frame["distance"].to_numpy(dtype=np.float64)
        return {str(part): values[(frame["part"] == part).to_numpy()] for part in dict.fromkeys(frame["part"])}
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"{path} is missing or damaged ({error}): run the study again.") from error


def made_images(shape: tuple[int, ...], each: int = 16) -> dict[str, np.ndarray]:
    """Images of nothing: ``blank`` ones of a single grey, from black to white; and ``noise``, pixel by pixel.

    Parameters
    ----------
    shape
        (channels, height, width).

    Returns
    -------
    uint8 of shape (each, height, width, channels), by kind; always the same.
    """
    channels, height, width = shape
    greys = np.linspace(0, 255, each).round().astype(np.uint8)
    blank = np.broadcast_to(greys[:, None, None, None], (each, height, width, channels)).copy()
    noise = np.random.default_rng(0).integers(0, 256, (each, height, width, channels), dtype=np.uint8)
    return {"blank": blank, "noise": noise}


def gate_block(
    rule: GateRule, distances: Mapping[str, np.ndarray], shares: Shares, validation_groups: int
) -> dict[str, Any]:
    """The block ``gate`` of a contender, ready for JSON.

    Parameters
    ----------
    distances
        By part, ``test`` and the kinds of `made_images` among them.
    shares
        Of the test part.
    validation_groups
        How many groups the validation samples are of.
    """
    low, high = expected_false_alarms(rule, len(distances["validation"]))
    return {
        "false_alarms": rule.false_alarms,
        "expected_low": low,
        "expected_high": high,
        "threshold": rule.threshold,
        "n_validation": len(distances["validation"]),
        "validation_groups": validation_groups,
        "unlike": shares.figure(rule.unlike(distances["test"])),
        "unlike_n": int(rule.unlike(distances["test"]).sum()),
        "detected": [
            _detected(kind, rule.unlike(distances[kind]), shares.confidence) for kind in MADE if kind in distances
        ],
        "distances": {part: _some(values) for part, values in distances.items()},
        "note": gate_note(rule, len(distances["validation"]), validation_groups),
    }


def _detected(kind: str, unlike: np.ndarray, confidence: float) -> dict[str, Any]:
    found, n = int(unlike.sum()), len(unlike)
    low, high = wilson(found, n, confidence)
    return {"kind": kind, "n": n, "unlike": found, "share": found / n, "low": low, "high": high}


def _some(values: np.ndarray) -> list[float]:
    """Up to 200 quantiles, ascending: enough to draw."""
    return [float(value) for value in np.quantile(values, np.linspace(0, 1, min(SHOWN, len(values))))]


def gate_note(rule: GateRule, n_validation: int, groups: int) -> str:
    """What the gate can do, and how far it can be trusted, for a reader."""
    few = conformal_rank(n_validation, rule.false_alarms) > n_validation
    if few:
        said = tr(
            "{n} validation images are too few for false alarms at a rate of {rate}: an image is called unlike when it "
            "is farther off than all of them.",
            n=n_validation,
            rate=f"{rule.false_alarms:.4g}",
        )
    else:
        said = tr(
            "On average {rate} of images like those of the validation part are called unlike, were they independent. "
            "That an image is not called so does not mean that the model knows such images.",
            rate=f"{1 - conformal_rank(n_validation, rule.false_alarms) / (n_validation + 1):.2g}",
        )
    if groups >= n_validation:
        return said
    return f"{said} " + tr(
        "The {n} validation images are of {groups} groups, and images of a group are alike: the expected range of "
        "false alarms holds both the range as if each group were one image, and that of independent images.",
        n=n_validation,
        groups=groups,
    )
