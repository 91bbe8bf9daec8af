"""The price of leakage: the same cheap classifier on the given parts, on random splits, and on leak-free ones.

Random and leak-free splits are cross-validations: every image is tested once a seed, in both, by classifiers that
learned from equally many images of each class in both. So the two are paired image by image, and no accuracy hangs on
which tenth happened to be drawn. Where patients are known beside copies, a third one keeps only copies together, and
tells what copies and what patients are worth. Intervals are of the bootstrap over groups (patients and clusters of
copies), of each image's share of right answers over the seeds; they hold for images like these, learned from a set
like this one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clearmargin.audit.linear_classifier import NAME, STRENGTH
from clearmargin.features import Features, image_features
from clearmargin.leakage.control import CONTROL_CONFIDENCE, SHUFFLES, random_label_control, shuffles
from clearmargin.leakage.figures import Bootstrap, Tests
from clearmargin.leakage.images import FEWEST_GROUPS, FOLDS, MOST_IMAGES, Images, chosen
from clearmargin.leakage.splits import Answers, Lesson, answers, lessons, tested, ways_of_splitting
from clearmargin.leakage.wording import sentences
from clearmargin.records import Inputs, Progress, Sample

SEEDS = 5
_FORMAT = 1
_MEASURE = 2  # raise it when the same question gets another answer
_FEWER = 0.95  # of what a split into equal folds learns from; with less, a note


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
    features = image_features(inputs, progress)
    settings: dict[str, Any] = {"seeds": list(seeds), "confidence": confidence, "resamples": resamples}
    question = _question(inputs, copies, groups, features, settings)
    if isinstance(stored, dict) and stored.get("question_sha256") == question:
        return stored
    found = price_of_leakage(inputs.samples, copies, groups, features, **settings, progress=progress)
    return {**found, "question_sha256": question}


def _question(
    inputs: Inputs, copies: np.ndarray, groups: np.ndarray, features: Features, settings: Mapping[str, Any]
) -> str:
    """SHA-256 of all that the answer depends on."""
    here = [_MEASURE, FOLDS, FEWEST_GROUPS, MOST_IMAGES, STRENGTH, SHUFFLES, CONTROL_CONFIDENCE]
    images = [[sample.label, sample.part] for sample in inputs.samples]
    content = [*here, settings, inputs.key, features.name, features.note, images]
    content += [groups.tolist(), np.asarray(copies).tolist()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        One cross-validation for each, of every way of splitting.

    Returns
    -------
    The content of ``leakage.json``.

    Raises
    ------
    SourceError
        When fewer than two classes have five groups.
    """
    images, notes = chosen(samples, copies, groups, features, seeds[0])
    planned = lessons(images, ways_of_splitting(images), seeds)
    shuffled = shuffles(images, seeds[0])
    count = _Counter(progress, len(planned) + len(shuffled) * images.folds * (1 + images.clustered))
    said = answers(images, planned, count.step)
    splits, differences = _figures(images, said, resamples=resamples, confidence=confidence, seed=seeds[0])
    learned = _learned_from(planned)
    found = {
        "format": _FORMAT,
        "features": features.name,
        "classifier": NAME,
        "seeds": list(seeds),
        "folds": images.folds,
        "confidence": confidence,
        "images": len(images.truth),
        "groups": images.n_units,
        "effective_groups": round(images.effective_units, 1),
        "learned_from": learned,
        "notes": [*([features.note] if features.note else []), *notes, *_fewer(images, learned)],
        "splits": splits,
        "difference": differences,
        "control": random_label_control(shuffled, images.folds, count.step),
    }
    return sentences(found)


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step(self) -> None:
        self._done += 1
        self._progress("Price of leakage", self._done, self._total, "classifiers")


def _learned_from(planned: Sequence[Lesson]) -> list[int]:
    """The fewest and the most images that a classifier learned from."""
    sizes = [len(lesson.learned) for lesson in planned]
    return [min(sizes), max(sizes)]


def _fewer(images: Images, learned: Sequence[int]) -> list[str]:
    """What to say when groups are so large that there is less to learn from."""
    if learned[0] >= _FEWER * (1 - 1 / images.folds) * len(images.truth):
        return []
    return [
        "Large groups leave less to learn from when they are tested. So that this does not pass for leakage, an image "
        "was tested under each kind of split by classifiers that learned from equally many images of each class, "
        f"{learned[0]:,} to {learned[1]:,} in all."
    ]


# --- figures ------------------------------------------------------------------------------------------------


def _figures(
    images: Images, said: Mapping[str, Answers], *, resamples: int, confidence: float, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The splits with their accuracies, and what lies between them."""
    everything = np.ones(len(images.truth))
    by_split = {way: (of_way, everything) for way, of_way in said.items()}
    by_split.setdefault("leak-free", by_split["random"])  # without groups every split is
    given = _given(images)
    by_split = {**({"given": given} if given else {}), **by_split}
    tests = {}
    for name, (of_split, among) in by_split.items():
        tests[name, "all"] = Tests(of_split.right, among)
        tests[name, "with"] = Tests(of_split.right_with_copy, of_split.with_copy)
        tests[name, "without"] = Tests(of_split.right - of_split.right_with_copy, among - of_split.with_copy)
    steps = _steps(images)
    for name, (first, second) in steps.items():
        tests["gained", name] = Tests(said[first].right - said[second].right, everything)
    drawn = Bootstrap(images, tests, resamples=resamples, confidence=confidence, seed=seed)
    return [_split(name, tests, drawn) for name in by_split], _difference(steps, drawn)


def _split(name: str, tests: Mapping[tuple[str, str], Tests], drawn: Bootstrap) -> dict[str, Any]:
    """A way of splitting; ``n`` is how many tests there are of a kind, on average over the seeds."""
    record = {
        "split": name,
        "accuracy": drawn.share((name, "all")) if name == "given" else drawn.figure((name, "all")),
        "balanced_accuracy": drawn.figure((name, "all"), "balanced_accuracy"),
        "n_test": int(tests[name, "all"].among.sum()),
    }
    for kind in ("with", "without"):
        among = tests[name, kind].among
        figure = {"n": round(float(among.sum()), 1), "accuracy": drawn.figure((name, kind))} if among.any() else None
        record[f"{kind}_copy"] = figure
    return record


def _given(images: Images) -> tuple[Answers, np.ndarray] | None:
    """The given parts, when there are two classes at least to learn: answers, and which images are tested."""
    learned = np.flatnonzero(np.isin(images.parts, ("train", "validation")))
    told = np.flatnonzero(images.parts == "test")
    if len(told) == 0 or len(np.unique(images.truth[learned])) < 2:
        return None
    right, copied = tested(images, learned, told)
    values = np.zeros((4, len(images.truth)))
    values[:, told] = [right, copied, right & copied, np.ones(len(told))]
    return Answers(*values[:3]), values[3]


def _steps(images: Images) -> dict[str, tuple[str, str]]:
    """Between which ways of splitting lies what copies and patients are worth."""
    if not images.clustered:
        return {}
    everything = {"difference": ("random", "leak-free")}
    if images.n_copies == len(images.truth):
        return {**everything, "from_patients": ("random", "leak-free")}
    if images.n_copies <= images.n_units:
        return {**everything, "from_copies": ("random", "leak-free")}
    return {
        **everything,
        "from_copies": ("random", "copies together"),
        "from_patients": ("copies together", "leak-free"),
    }


def _difference(steps: Mapping[str, tuple[str, str]], drawn: Bootstrap) -> dict[str, Any]:
    """How much more often random splits are right; what of it copies and patients are worth, None where not known."""
    same = {"value": 0.0, "low": None, "high": None, "method": "none: the two kinds of split are the same here"}
    found = {name: drawn.difference(("gained", name)) for name in steps}
    return {
        "first": "random",
        "second": "leak-free",
        **found.get("difference", same),
        "from_copies": found.get("from_copies"),
        "from_patients": found.get("from_patients"),
    }
