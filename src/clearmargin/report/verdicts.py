"""The verdict sentences of a run, said again from its records where the page is not in English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.evaluation import regression_verdict, repeats_verdict, verdict
from clearmargin.language import language
from clearmargin.report.marking import unmarked


def sentence(evaluation: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """Who is better of a pair, or that they can't be told apart, without the study's own word for a leak.

    In English it is the sentence that ``evaluation.json`` keeps; in another language it is said from the record.

    Parameters
    ----------
    evaluation
        The content of ``evaluation.json``.
    pair
        One of its comparisons.
    """
    if language() == "en":
        return unmarked(pair["sentence"])
    say = regression_verdict.sentence if evaluation["task"] == "regression" else verdict.sentence
    groups = evaluation["groups"] if evaluation.get("clustered") else None
    return say(pair, evaluation["n"], groups, len(evaluation["comparisons"]), evaluation.get("confidence", 0.95))


def repeats_sentence(evaluation: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """The same of a pair over seeds or folds; ``pair`` is one of ``evaluation.json``'s comparisons of repeats."""
    if language() == "en":
        return unmarked(pair["sentence"])
    tested = [one for one in evaluation["repeats"]["comparisons"] if one["p_value"] is not None]
    return repeats_verdict.sentence(pair, len(tested), evaluation.get("confidence", 0.95))
