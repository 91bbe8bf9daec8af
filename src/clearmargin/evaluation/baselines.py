"""What simple methods make of the same table: a network that does not beat them has not earned its parameters.

They learn from training and validation part together: a contender needs the validation part too, to choose its epoch.
Chosen beforehand, each with the settings its library ships or a textbook gives, and never tuned on the test part:

mean predictor
    The mean of all rows it may learn from; knows no input at all. R² near 0; worse means that the split is unlucky or
    the model harmful.
ridge regression
    The linear model: inputs standardised on the rows it learns from, and the penalty, one of 13 from 0.001 to 1000,
    chosen by leave-one-out on those rows alone (Hoerl & Kennard, *Technometrics* 12 (1970) 55).
gradient-boosted trees
    What usually wins on tables of this size (Grinsztajn, Oyallon & Varoquaux, NeurIPS 2022). scikit-learn's
    ``GradientBoostingRegressor`` as it ships (100 trees of depth 3, learning rate 0.1; Friedman, *Annals of Statistics*
    29 (2001) 1189); beyond 10,000 rows its histogram version as it ships, as scikit-learn's documentation recommends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from clearmargin.columns import column_statistics, standardised
from clearmargin.mapped_rows import ArrayRows

MEAN, RIDGE, TREES = "mean predictor", "ridge regression", "gradient-boosted trees"
RIDGE_PENALTIES = np.logspace(-3, 3, 13)
MANY_ROWS = 10_000


def baseline_estimates(
    train_inputs: np.ndarray, train_targets: np.ndarray, inputs: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Fit the baselines of this module and let them predict.

    The same numbers give the same answers: one thread, one seed.

    Parameters
    ----------
    train_inputs, train_targets
        All rows a contender may learn from (training and validation part), float of shape (rows, columns) and (rows,).
    inputs
        Rows to predict, float of shape (other rows, columns).
    seed
        Of the trees.

    Returns
    -------
    Predicted targets by the baseline's name, float64 of shape (other rows,).
    """
    from threadpoolctl import threadpool_limits

    # Trees compute in float32, which keeps the digits of large numbers only when these are standardised.
    scale_of = column_statistics(ArrayRows(np.asarray(train_inputs, dtype=np.float64)))
    known, asked = (standardised(np.asarray(rows, dtype=np.float64), *scale_of) for rows in (train_inputs, inputs))
    targets = np.asarray(train_targets, dtype=np.float64)
    # Targets of any unit, and of any size, are learned as if of size one.
    middle, scale = float(targets.mean()), float(targets.std()) or 1.0
    found = {}
    with threadpool_limits(1):
        for name, make in BASELINES.items():
            model = make(len(known), seed).fit(known, (targets - middle) / scale)
            found[name] = np.asarray(model.predict(asked), dtype=np.float64) * scale + middle
    return found


def _mean(rows: int, seed: int) -> Any:
    from sklearn.dummy import DummyRegressor

    return DummyRegressor(strategy="mean")


def _ridge(rows: int, seed: int) -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=RIDGE_PENALTIES))


def _trees(rows: int, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

    if rows > MANY_ROWS:
        return HistGradientBoostingRegressor(random_state=seed)
    return GradientBoostingRegressor(random_state=seed)


BASELINES: Mapping[str, Callable[[int, int], Any]] = {MEAN: _mean, RIDGE: _ridge, TREES: _trees}
