"""Which settings matter, and on which trials that rests."""

import numpy as np
import pytest

pytest.importorskip("optuna", reason="tuning needs optuna")

import optuna

from clearmargin.recipe_spaces import Choices, Range
from clearmargin.tuning.importance import BEST_SHARE, importance
from clearmargin.tuning.search import distribution
from clearmargin.tuning.trials import Trial

SPACES = {
    "rate": Range(1e-4, 1e-1, True, None, False, 1e-2),
    "width": Range(4, 32, False, 4, True, 16),
    "kind": Choices(("a", "b", True, 3), "a"),
}


def drawn(n, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "rate": float(10 ** rng.uniform(-4, -1)),
            "width": int(4 * rng.integers(1, 9)),
            "kind": SPACES["kind"].values[rng.integers(4)],
        }
        for _ in range(n)
    ]


def complete(n, score):
    return [Trial(k, "complete", settings, score(settings)) for k, settings in enumerate(drawn(n), start=1)]


def width(settings):
    return float(settings["width"]) + settings["rate"]


def test_it_finds_the_setting_that_matters():
    found = importance(complete(40, width), SPACES)
    assert next(iter(found.shares)) == "width"
    assert found.shares["width"] > 0.5
    assert sum(found.shares.values()) == pytest.approx(1)
    assert (found.best, found.trials) == (10, 40)


def test_of_trials_that_were_all_trained_to_the_end_it_is_what_optuna_says_of_them():
    trials = complete(50, width)
    study = optuna.create_study(direction="maximize")
    distributions = {name: distribution(space) for name, space in SPACES.items()}
    for one in trials:
        study.add_trial(
            optuna.trial.create_trial(params=dict(one.settings), distributions=distributions, value=one.score)
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert importance(trials, SPACES).shares == pytest.approx(expected, rel=1e-12)


def test_those_that_fell_behind_or_diverged_are_of_all_and_none_of_the_best():
    ends = complete(40, width)
    behind = [
        Trial(one.number, "pruned" if one.number % 2 else "diverged", one.settings, None, {"balanced_accuracy": 1.0})
        if one.settings["width"] < 20
        else one
        for one in ends
    ]
    kept = sum(one.score is not None for one in behind)
    assert 10 <= kept < 30
    assert importance(behind, SPACES) == importance(ends, SPACES)


def test_where_less_than_a_quarter_came_to_the_end_these_are_the_best():
    ends = complete(40, width)
    kept = {one.number for one in sorted(ends, key=lambda one: -one.score)[:6]}
    few = [one if one.number in kept else Trial(one.number, "pruned", one.settings) for one in ends]
    found = importance(few, SPACES)
    assert (found.best, found.trials) == (6, 40)
    assert next(iter(found.shares)) == "width"


def test_repeats_and_what_was_never_trained_are_not_counted():
    ends = complete(30, width)
    more = [Trial(31, "repeated", ends[0].settings, ends[0].score), Trial(32, "refused", ends[1].settings)]
    assert importance([*ends, *more, Trial(33, "failed", ends[2].settings)], SPACES) == importance(ends, SPACES)


def test_equals_of_the_last_of_the_best_are_among_them():
    found = importance(complete(40, lambda settings: float(settings["kind"] in ("a", "b"))), SPACES)
    assert found.best == sum(settings["kind"] in ("a", "b") for settings in drawn(40)) > 10
    assert next(iter(found.shares)) == "kind"


@pytest.mark.parametrize(
    "trials",
    [
        complete(19, width),
        complete(40, lambda settings: 0.5),
        [one if one.number < 5 else Trial(one.number, "pruned", one.settings) for one in complete(40, width)],
        [],
    ],
    ids=["too few", "all alike", "four of the best", "none"],
)
def test_of_too_few_or_of_equals_it_says_nothing(trials):
    found = importance(trials, SPACES)
    assert (dict(found.shares), found.best, found.trials) == ({}, 0, 0)
