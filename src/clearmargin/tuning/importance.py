"""Which settings matter: how much those of the best trials differ from those of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clearmargin.recipe_spaces import Space
from clearmargin.tuning.journal import load_optuna
from clearmargin.tuning.search import distribution
from clearmargin.tuning.trials import Trial

LEAST_TRIALS = 20
LEAST_BEST = 5  # as Optuna advises; a quarter of the least
BEST_SHARE = 0.25
TRIED = ("complete", "pruned", "diverged")  # neither repeats, which would count twice, nor what was never trained


@dataclass(frozen=True)
class Importance:
    """Shares of 1, setting by setting; none where there are too few trials.

    Attributes
    ----------
    best, trials
        How many trials are compared with how many: the best of those are among them.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    best: int = 0
    trials: int = 0


def importance(trials: Sequence[Trial], spaces: Mapping[str, Space]) -> Importance:
    """How much the best quarter of the trials differs from all (PED-ANOVA: Watanabe et al. 2023, arXiv:2304.10255).

    A trial that was given up or diverged counts among all and never among the best: it had fallen behind, or had no
    result, and what it reached before is not asked. The best are therefore only trials that were trained to their
    end; where these are less than a quarter, they are all. Those with the score of the last of the best belong to
    them.
    """
    tried = [trial for trial in trials if trial.outcome in TRIED]
    scores = sorted((trial.score for trial in tried if trial.score is not None), reverse=True)
    most = min(math.ceil(BEST_SHARE * len(tried)), len(scores))
    if len(tried) < LEAST_TRIALS or most < LEAST_BEST:
        return Importance()
    best = [trial.score is not None and trial.score >= scores[most - 1] for trial in tried]
    if all(best):
        return Importance()
    optuna = load_optuna()
    distributions = {name: distribution(space) for name, space in spaces.items()}
    study = optuna.create_study(direction="maximize")
    for trial, is_best in zip(tried, best, strict=True):
        study.add_trial(
            optuna.trial.create_trial(params=dict(trial.settings), distributions=distributions, value=float(is_best))
        )
    quantile = (sum(best) - 0.5) / len(tried)  # of which Optuna takes the next whole trial, and its equals
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Importance({name: float(share) for name, share in found.items()}, sum(best), len(tried))
