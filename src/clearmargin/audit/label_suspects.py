"""Images whose label another look may not bear out: confident learning on cheap features.

Northcutt, Jiang & Chuang, *JAIR* 70 (2021) 1373, as cleanlab computes it. A classifier that learned without an image
and without everything that belongs to it (copies, its patient) says how probable each class is. An image is a suspect
when three things agree: by the noise rates estimated from all images it is among the least probable of its class,
among those most probably of another class, and its margin is among the smallest of as many images as there may be
wrong labels. Each alone names more images, and a smaller part of them rightly (docs/audit.md).

A classifier that knows little of the classes disagrees with everything. So nobody is named unless it agrees with the
labels clearly more often than chance, and suspects are worth a warning only where it agrees with nearly all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from clearmargin.audit.folds import enough_groups, stratified_folds
from clearmargin.audit.linear_classifier import agreement_by_chance, out_of_fold
from clearmargin.records import Finding

FOLDS = 5
FEWEST_GROUPS = FOLDS  # of a class: with fewer, a fold would be told of a class it never saw
MOST_LEARNED = 10_000
MOST_LISTED = 1000
_FILTERS = ("both", "low_normalized_margin")
_STRENGTH = 10.0  # over the number learned from; lower than for telling classes apart, so as not to fit wrong labels
_MANY = 0.02  # share of suspects from which they are worth a warning
# Cohen's kappa, how far accuracy is on the way from chance to certainty: below the first the classifier is no judge;
# from the second on ("almost perfect", Landis & Koch 1977) it is one whose disagreement is a warning.
_JUDGE = 0.2
_GOOD_JUDGE = 0.8
_STANDARD_ERRORS = 3.0  # that kappa is to lie above zero, of as many answers as there are groups


def label_suspects(
    names: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    features: np.ndarray,
    described: str,
    *,
    seed: int = 0,
    after_each: Callable[[], None] = lambda: None,
) -> Iterator[Finding]:
    """Find suspects among labelled images.

    Parameters
    ----------
    names, labels
        Object arrays of shape (images,); labels are class names.
    groups
        int64 of shape (images,): images with the same number can't vouch for each other.
    features
        float32 of shape (images, features).
    described
        What the features are, for a reader.
    after_each
        Called when one of `FOLDS` classifiers is done.
    """
    judged: Any = enough_groups(labels.astype(str), groups, FEWEST_GROUPS)
    if len(np.unique(labels[judged].astype(str))) < 2:
        return
    judged = slice(None) if judged.all() else judged  # features are not copied then
    classes, given = np.unique(labels[judged].astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    folds = stratified_folds(given, groups[judged], FOLDS, rng)
    strength = _STRENGTH / min(len(given), MOST_LEARNED)
    limits: dict[str, Any] = {"strength": strength, "most": MOST_LEARNED, "rng": rng, "after_each": after_each}
    probabilities = out_of_fold(features[judged], given, folds, len(classes), **limits)
    agreement = _agreement(given, probabilities.argmax(axis=1), len(np.unique(groups[judged])))
    evidence = {"features": described, "judged": len(given), **agreement}
    if not agreement["judges"]:
        yield _no_judge(evidence)
        return
    suspects = suspected(given, probabilities)
    if len(suspects):
        said = _listed(names[judged], classes, given, probabilities, suspects)
        left_out = sorted(set(labels.astype(str)) - set(classes.tolist()))
        yield _finding(said, evidence, left_out)


def _agreement(given: np.ndarray, said: np.ndarray, groups: int) -> dict[str, Any]:
    """How often answers agree with the labels, how often by chance, and whether that makes them a judge."""
    accuracy, chance = float((said == given).mean()), agreement_by_chance(given, said)
    kappa, error = (
        (part / max(1 - chance, 1e-12)) for part in (accuracy - chance, (chance * (1 - chance) / groups) ** 0.5)
    )
    return {
        "out_of_fold_accuracy": round(accuracy, 4),
        "chance": round(chance, 4),
        "kappa": round(kappa, 4),
        "judges": bool(kappa >= max(_JUDGE, _STANDARD_ERRORS * error)),
    }


def suspected(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Rows whose label confident learning does not believe, the least believed first.

    Parameters
    ----------
    given
        int64 of shape (images,), classes numbered from 0, each of them there.
    probabilities
        float64 of shape (images, classes), out of fold.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_normalized_margin_for_each_label

    agreed = np.ones(len(given), dtype=bool)
    for way in _FILTERS:
        agreed &= find_label_issues(given, probabilities, filter_by=way, n_jobs=1)
    agreed &= probabilities.argmax(axis=1) != given
    rows = np.flatnonzero(agreed)
    return rows[np.argsort(get_normalized_margin_for_each_label(given, probabilities)[rows], kind="stable")]


def _listed(
    names: np.ndarray, classes: np.ndarray, given: np.ndarray, probabilities: np.ndarray, suspects: np.ndarray
) -> list[dict[str, Any]]:
    likeliest = probabilities.argmax(axis=1)
    return [
        {
            "name": names[row],
            "given": str(classes[given[row]]),
            "suggested": str(classes[likeliest[row]]),
            "p_given": round(float(probabilities[row, given[row]]), 4),
            "p_suggested": round(float(probabilities[row, likeliest[row]]), 4),
        }
        for row in suspects
    ]


def _no_judge(evidence: dict[str, Any]) -> Finding:
    return Finding(
        "label-suspects",
        "note",
        f"Labels can't be checked with these features ({evidence['features']}): a simple classifier "
        f"{_agrees(evidence)}, too close to chance to doubt any label.",
        "Have someone who knows look at a random part of the labels, if they were not checked before.",
        (),
        {**evidence, "suspects": []},
    )


def _agrees(evidence: dict[str, Any]) -> str:
    accuracy, chance = (100 * evidence[key] for key in ("out_of_fold_accuracy", "chance"))
    return f"agrees with {accuracy:.0f} % of all labels (chance: {chance:.0f} %)"


def _finding(suspects: Sequence[dict[str, Any]], evidence: dict[str, Any], left_out: Sequence[str]) -> Finding:
    number, judged, first = len(suspects), evidence["judged"], suspects[0]
    told = f"{first['name']!r}, given as {first['given']!r}, looks like {first['suggested']!r}"
    lacking = f" Classes with too few images to say: {', '.join(map(repr, left_out))}." if left_out else ""
    return Finding(
        "label-suspects",
        "warning" if number >= _MANY * judged and evidence["kappa"] >= _GOOD_JUDGE else "note",
        f"{number:,} of {judged:,} labels ({100 * number / judged:.1f} %) are suspects, not verdicts: a simple "
        "classifier that never saw the image, nor its copies or patient, would rather give it another label. "
        f"The most suspicious: {told}. The classifier {_agrees(evidence)}, so that some suspects are its own "
        f"mistakes.{lacking}",
        "Have someone who knows look at the suspects, the first ones first, and correct what is wrong in the data; "
        "change no label because of this list alone.",
        tuple(suspect["name"] for suspect in suspects),
        {**evidence, "suspects": list(suspects[:MOST_LISTED])},
    )
