"""The price of leakage: the same cheap classifier on the given parts, on random splits, and on leak-free ones.

Random and leak-free splits are cross-validations: every image is tested once a seed, in both, by classifiers that
learned from nine tenths of the images in both. So the two are paired image by image, and no accuracy hangs on which
tenth happened to be drawn. Intervals are of the bootstrap over groups (patients and clusters of copies), of each
image's share of right answers over the seeds; they hold for images like these, learned from a set like this one.

The control repeats the leak-free splits with labels that were shuffled among the groups: nothing is left to be
learned, so a classifier that does better than chance has recognised what it was tested on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from clearmargin.audit.folds import enough_groups, stratified_folds
from clearmargin.audit.linear_classifier import NAME, class_probabilities, out_of_fold
from clearmargin.errors import SourceError
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.evaluation.bootstrap import draw_weights
from clearmargin.evaluation.intervals import bootstrap_figure, paired_figure, share_figure
from clearmargin.features import Features, image_features
from clearmargin.leakage_wording import sentences
from clearmargin.records import Inputs, Progress, Sample

FOLDS = 10
FEWEST_GROUPS = 5  # of a class
SEEDS = 5
SHUFFLES = 5
MOST_IMAGES = 6000
CONTROL_CONFIDENCE = 0.99  # a clean split is to fail its control once in 200 reports, not once in 40
_FORMAT = 1


@dataclass(frozen=True)
class _Images:
    """What is asked about: truth int64 (images,), features float32 (images, …), copies and units int64 (images,)."""

    classes: tuple[str, ...]
    truth: np.ndarray
    features: np.ndarray
    copies: np.ndarray
    units: np.ndarray
    parts: np.ndarray

    @property
    def n_units(self) -> int:
        return int(self.units.max()) + 1

    @property
    def clustered(self) -> bool:
        return self.n_units < len(self.truth)

    @property
    def folds(self) -> int:
        """Ten, or as many as the class with the fewest groups has."""
        groups = np.unique(np.column_stack([self.truth, self.units]), axis=0)[:, 0]
        return min(FOLDS, int(np.bincount(groups).min()))


@dataclass(frozen=True)
class _Answers:
    """Each image's share of right answers, of tests with a copy in training, and of both: float64 (images,)."""

    right: np.ndarray
    with_copy: np.ndarray
    right_with_copy: np.ndarray


def leakage(
    inputs: Inputs,
    copies: np.ndarray,
    groups: np.ndarray,
    *,
    seeds: Sequence[int],
    confidence: float = 0.95,
    resamples: int = 2000,
    progress: Progress,
    stored: Any = None,
) -> dict[str, Any]:
    """`price_of_leakage` of images, with the features the cache has or gets.

    Parameters
    ----------
    stored
        What was found before: given back as it is when it answers the very same question.
    """
    require_groups(inputs.samples, groups)
    features = image_features(inputs, progress)
    asked = [_FORMAT, inputs.key, features.name, features.note, list(seeds), confidence, resamples]
    content = [*asked, groups.tolist(), np.asarray(copies).tolist()]
    question = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if isinstance(stored, dict) and stored.get("question_sha256") == question:
        return stored
    settings: dict[str, Any] = {"seeds": seeds, "confidence": confidence, "resamples": resamples}
    found = price_of_leakage(inputs.samples, copies, groups, features, **settings, progress=progress)
    return {**found, "question_sha256": question}


def require_groups(samples: Sequence[Sample], groups: np.ndarray) -> None:
    """Refuse what the price can't be measured on, before the features are computed, which may take minutes.

    Raises
    ------
    SourceError
        When fewer than two classes have five groups.
    """
    labels = np.array([sample.label for sample in samples], dtype=str)
    rows = enough_groups(labels, numbered_groups(groups)[0], FEWEST_GROUPS)
    if len(np.unique(labels[rows])) < 2:
        raise SourceError(
            f"The price of leakage needs at least two classes with {FEWEST_GROUPS} independent groups each (patients, "
            "or images that are no copies of each other), and there are fewer. Add images of other patients."
        )


def price_of_leakage(
    samples: Sequence[Sample],
    copies: np.ndarray,
    groups: np.ndarray,
    features: Features,
    *,
    seeds: Sequence[int],
    confidence: float = 0.95,
    resamples: int = 2000,
    progress: Progress,
) -> dict[str, Any]:
    """Measure what leaks are worth in a set of labelled images.

    Parameters
    ----------
    samples
        With class names for labels, and parts when they are given.
    copies
        Integers of shape (images,): copies share a number.
    groups
        Object array of shape (images,): what must stay together, copies included.
    seeds
        One random and one leak-free cross-validation for each.

    Returns
    -------
    The content of ``leakage.json``.

    Raises
    ------
    SourceError
        When fewer than two classes have five groups.
    """
    images, notes = _chosen(samples, copies, groups, features, seeds[0])
    one_split = images.folds
    fits = len(seeds) * one_split * (1 + images.clustered) + SHUFFLES * one_split * (1 + images.clustered)
    count = _Counter(progress, fits)
    random = _cross_validated(images, np.arange(len(images.truth)), seeds, count.step)
    free = _cross_validated(images, images.units, seeds, count.step) if images.clustered else random
    weights = draw_weights(np.random.default_rng([seeds[0], 1]), resamples, images.n_units)
    given = _given(images, weights, confidence)
    splits = [*([given] if given else []), _split("random", images, random, weights, confidence)]
    splits.append(_split("leak-free", images, free, weights, confidence))
    found = {
        "format": _FORMAT,
        "features": features.name,
        "classifier": NAME,
        "seeds": list(seeds),
        "folds": one_split,
        "confidence": confidence,
        "images": len(images.truth),
        "groups": images.n_units,
        "notes": [*([features.note] if features.note else []), *notes],
        "splits": splits,
        "difference": _difference(images, random, free, weights, confidence),
        "control": _control(images, seeds[0], count.step),
    }
    return sentences(found)


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step(self) -> None:
        self._done += 1
        self._progress("Price of leakage", self._done, self._total, "classifiers")


def _chosen(
    samples: Sequence[Sample], copies: np.ndarray, groups: np.ndarray, features: Features, seed: int
) -> tuple[_Images, list[str]]:
    """The images that are asked about, and sentences on those that are not."""
    labels = np.array([sample.label for sample in samples], dtype=str)
    units, n_units = numbered_groups(groups)
    require_groups(samples, groups)
    rows, notes = enough_groups(labels, units, FEWEST_GROUPS), []
    lacking = sorted(set(labels) - set(labels[rows]))
    if lacking:
        notes.append(f"Classes with fewer than {FEWEST_GROUPS} groups are left out: {', '.join(map(repr, lacking))}.")
    kept = np.flatnonzero(rows)
    if len(kept) > MOST_IMAGES:
        order = np.random.default_rng([seed, 2]).permutation(n_units)[units[kept]]
        kept = np.sort(kept[np.argsort(order, kind="stable")[:MOST_IMAGES]])
        notes.append(f"Measured on {MOST_IMAGES:,} of {int(rows.sum()):,} images, drawn by whole groups.")
    classes, truth = np.unique(labels[kept], return_inverse=True)
    units = np.unique(units[kept], return_inverse=True)[1]
    parts = np.array([sample.part for sample in samples], dtype=object)[kept]
    return _Images(tuple(classes.tolist()), truth, features.values[kept], copies[kept], units, parts), notes


# --- splits -------------------------------------------------------------------------------------------------


def _cross_validated(images: _Images, together: np.ndarray, seeds: Sequence[int], step: Callable[[], None]) -> _Answers:
    """Each image tested once a seed, with what is ``together`` in one fold."""
    right, with_copy = np.zeros((2, len(seeds), len(images.truth)))
    for number, seed in enumerate(seeds):
        folds = stratified_folds(images.truth, together, images.folds, np.random.default_rng([seed, 0]))
        said = out_of_fold(images.features, images.truth, folds, len(images.classes), after_each=step)
        right[number] = said.argmax(axis=1) == images.truth
        with_copy[number] = _copy_elsewhere(images.copies, folds)
    return _Answers(right.mean(axis=0), with_copy.mean(axis=0), (right * with_copy).mean(axis=0))


def _copy_elsewhere(copies: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Whether an image has a copy outside its fold: bool (images,)."""
    number = np.unique(copies, return_inverse=True)[1]
    here = np.unique(np.column_stack([number, folds]), axis=0, return_inverse=True)[1]
    return np.bincount(number)[number] > np.bincount(here)[here]


def _given(images: _Images, weights: np.ndarray, confidence: float) -> dict[str, Any] | None:
    """The given parts, when training and test part have images of two classes at least."""
    learned = np.flatnonzero(np.isin(images.parts, ("train", "validation")))
    tested = np.flatnonzero(images.parts == "test")
    if len(tested) == 0 or len(np.unique(images.truth[learned])) < 2:
        return None
    known = images.features[learned], images.truth[learned]
    said = class_probabilities(*known, images.features[tested], len(images.classes))
    right = np.zeros(len(images.truth))
    right[tested] = said.argmax(axis=1) == images.truth[tested]
    with_copy = np.zeros(len(images.truth))
    with_copy[tested] = np.isin(images.copies[tested], images.copies[learned])
    answers = _Answers(right, with_copy, right * with_copy)
    record = _split("given", images, answers, weights, confidence, tested)
    units = images.units[tested]
    clustered = len(np.unique(units)) < len(units)
    resampled = _scores(images, weights, right, np.isin(np.arange(len(right)), tested))["accuracy"]
    record["accuracy"] = share_figure(right[tested] == 1, units, resampled, confidence, clustered)
    return record


def _split(
    name: str,
    images: _Images,
    answers: _Answers,
    weights: np.ndarray,
    confidence: float,
    tested: np.ndarray | None = None,
) -> dict[str, Any]:
    among = (
        np.ones(len(images.truth)) if tested is None else np.isin(np.arange(len(images.truth)), tested).astype(float)
    )
    without = {"right": answers.right - answers.right_with_copy, "among": among - answers.with_copy}
    copies = {"right": answers.right_with_copy, "among": answers.with_copy}
    figures = _figures(images, weights, answers.right, among, confidence)
    return {
        "split": name,
        **figures,
        "n_test": int(among.sum()),
        "with_copy": _share(images, weights, **copies, confidence=confidence) if answers.with_copy.any() else None,
        "without_copy": _share(images, weights, **without, confidence=confidence) if without["among"].any() else None,
    }


def _share(
    images: _Images, weights: np.ndarray, right: np.ndarray, among: np.ndarray, confidence: float
) -> dict[str, Any]:
    """Accuracy on some of the tests; ``n`` is how many they are, on average over the seeds."""
    return {
        "n": round(float(among.sum()), 1),
        "accuracy": _figures(images, weights, right, among, confidence)["accuracy"],
    }


# --- figures ------------------------------------------------------------------------------------------------


def _scores(images: _Images, weights: np.ndarray, right: np.ndarray, among: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and balanced accuracy of each weighting of the groups, float64 (weightings,)."""
    shape = (images.n_units, len(images.classes))
    cell = images.units * shape[1] + images.truth
    rights, tests = (
        weights @ np.bincount(cell, values, minlength=shape[0] * shape[1]).reshape(shape)
        for values in (right, np.asarray(among, dtype=np.float64))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = rights / tests
        accuracy = rights.sum(axis=1) / tests.sum(axis=1)
    there = ~np.isnan(recalls)
    sums = np.where(there, recalls, 0).sum(axis=1)
    balanced = np.divide(sums, there.sum(axis=1), out=np.full(len(sums), np.nan), where=there.any(axis=1))
    return {"accuracy": accuracy, "balanced_accuracy": balanced}


def _figures(
    images: _Images, weights: np.ndarray, right: np.ndarray, among: np.ndarray, confidence: float
) -> dict[str, dict[str, Any]]:
    """Accuracy and balanced accuracy with their intervals, by name."""
    n_units = len(np.unique(images.units[among > 0]))
    clustered = n_units < int((among > 0).sum())
    point = _scores(images, np.ones((1, images.n_units)), right, among)
    spread = _scores(images, weights, right, among)
    return {
        name: bootstrap_figure(float(point[name][0]), spread[name], confidence, n_units, clustered) for name in point
    }


def _difference(
    images: _Images, random: _Answers, free: _Answers, weights: np.ndarray, confidence: float
) -> dict[str, Any]:
    """How much more often random splits are right, and how much of it is owed to images that have a copy."""
    sizes = np.bincount(np.unique(images.copies, return_inverse=True)[1])
    has_copy = sizes[np.unique(images.copies, return_inverse=True)[1]] > 1
    apart, everything = random.right - free.right, np.ones(len(images.truth))
    settings = confidence, images.n_units, images.clustered

    def figure(gained: np.ndarray) -> dict[str, Any]:
        if not images.clustered:
            return {"value": 0.0, "low": None, "high": None, "method": "none: the two kinds of split are the same here"}
        resampled = _scores(images, weights, gained, everything)["accuracy"]
        return paired_figure(float(gained.mean()), resampled, *settings)

    return {
        "first": "random",
        "second": "leak-free",
        **figure(apart),
        "beyond_copies": images.n_units < len(sizes),
        "from_copies": {**figure(apart * has_copy), "images": int(has_copy.sum())} if has_copy.any() else None,
    }


# --- the control --------------------------------------------------------------------------------------------


def _control(images: _Images, seed: int, step: Callable[[], None]) -> dict[str, Any]:
    """Accuracy on labels shuffled by group, on leak-free splits and, where it differs, on random ones."""
    shuffled = [_shuffled(images, np.random.default_rng([seed, 3, number])) for number in range(SHUFFLES)]
    clean = _at_chance(shuffled, grouped=True, step=step)
    return {**clean, "random": _at_chance(shuffled, grouped=False, step=step) if images.clustered else None}


def _shuffled(images: _Images, rng: np.random.Generator) -> _Images:
    """The same images, with one label for all images of a group, dealt out anew among the groups.

    A group gets the commonest label of another one; class sizes are kept as well as the sizes of groups allow.
    """
    shape = (images.n_units, len(images.classes))
    counts = np.bincount(images.units * shape[1] + images.truth, minlength=shape[0] * shape[1]).reshape(shape)
    own = counts.argmax(axis=1)
    return replace(images, truth=rng.permutation(own)[images.units])


def _at_chance(shuffled: Sequence[_Images], *, grouped: bool, step: Callable[[], None]) -> dict[str, Any]:
    """Mean accuracy over the shuffles, beside what answers that know nothing would reach.

    Chance is the sum over the classes of (share of the labels) · (share of the answers), as in Cohen's kappa. The
    interval is Student's, of accuracy minus chance over the shuffles, which are independent of each other.
    """
    accuracies, chances = [], []
    for number, images in enumerate(shuffled):
        together = images.units if grouped else np.arange(len(images.truth))
        folds = stratified_folds(images.truth, together, images.folds, np.random.default_rng([number, 4]))
        said = out_of_fold(images.features, images.truth, folds, len(images.classes), after_each=step).argmax(axis=1)
        n, k = len(said), len(images.classes)
        accuracies.append(float((said == images.truth).mean()))
        chances.append(float(np.bincount(said, minlength=k) @ np.bincount(images.truth, minlength=k)) / n**2)
    excess = np.array(accuracies) - np.array(chances)
    accuracy, chance = float(np.mean(accuracies)), float(np.mean(chances))
    reach = float(
        stats.t.isf((1 - CONTROL_CONFIDENCE) / 2, len(excess) - 1) * excess.std(ddof=1) / np.sqrt(len(excess))
    )
    method = f"Student's t over {len(excess)} shuffles, {100 * CONTROL_CONFIDENCE:g} %"
    figure = {
        "value": accuracy,
        "low": max(accuracy - reach, 0.0),
        "high": min(accuracy + reach, 1.0),
        "method": method,
    }
    return {"accuracy": figure, "chance": chance, "shuffles": len(excess), "holds": bool(accuracy - reach <= chance)}
