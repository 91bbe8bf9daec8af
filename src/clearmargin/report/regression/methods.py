"""What was done in a regression, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.report.methods import (
    evaluation_number,
    given_parts,
    has_convolution,
    repeats_step,
    settings_of,
    tested_on,
    training_steps,
)
from clearmargin.report.regression.folder import RegressionContender, RegressionRun
from clearmargin.report.wording import count, large, plural, without_folders


def steps(run: RegressionRun) -> list[tuple[str, str]]:
    """What was done, as (step, sentences) in the order it happened."""
    told = [
        ("Data", _data(run)),
        ("Preprocessing", _preprocessing(run)),
        ("Split", _split(run)),
        *((contender.name, _contender(run, contender)) for contender in run.contenders),
        *training_steps(run, run.contenders),
    ]
    if run.evaluation["baselines"]:
        told.append(("Baselines", _baselines(run)))
    told.append(("Evaluation", _evaluation(run)))
    return told + repeats_step(run)


def _data(run: RegressionRun) -> str:
    source = without_folders(str(run.recipe.get("data", {}).get("source", "")))
    named = f" ({source})" if source else ""
    inputs = run.contenders[0].model.get("preprocessing", {}).get("columns") or []
    return (
        f"{plural(run.audit['counts']['decoded'], 'row')} of a table{named}: the target {run.target} and "
        f"{plural(len(inputs), 'input column')}."
    )


def _preprocessing(run: RegressionRun) -> str:
    return (
        "Every input column was standardised with its mean and standard deviation in the training part; so was the "
        "target, and all figures are in its own unit again."
    )


def _split(run: RegressionRun) -> str:
    if run.split.get("given"):
        return given_parts(run, "row", "the target")
    asked = ", ".join(f"{fraction:g}" for fraction in run.split["asked"])
    kept = "group" if run.split["patients"] else "row and those with the same inputs"
    return (
        f"Drawn anew from seed {run.environment['seed']}, stratified by the target, fractions asked for {asked} "
        f"(training, validation, test). Each {kept} went to one part as a whole."
    )


def _contender(run: RegressionRun, contender: RegressionContender) -> str:
    parameters = contender.model["parameters"]
    settings = settings_of(run, contender.name).get("training") or run.recipe.get("training", {})
    kind = "1-D CNN" if has_convolution(contender) else "dense network"
    return (
        f"A {kind} over the columns of a row, with {large(parameters['total'])} parameters, "
        f"trained to the least {_loss(settings)}."
    )


def _loss(settings: Mapping[str, Any]) -> str:
    kind = str(settings.get("loss") or "squared")
    if kind == "huber":
        delta = settings.get("huber_delta", 1.0)
        return f"Huber loss (delta {delta:g}: squared up to {delta:g} standard deviations of the target, linear beyond)"
    return f"{kind} error"


def _baselines(run: RegressionRun) -> str:
    return (
        "They learned from training and validation part together, both of which the contenders used, with settings "
        "fixed beforehand: the mean; a ridge regression on standardised inputs, its penalty chosen by leave-one-out; "
        "and gradient-boosted trees as scikit-learn ships them."
    )


def _evaluation(run: RegressionRun) -> str:
    result = run.evaluation
    spread = "groups" if result.get("clustered") else "rows"
    return (
        f"{tested_on(run, 'row')} {evaluation_number(result)}"
        f"Intervals are {100 * result.get('confidence', 0.95):g} % intervals; bootstraps drew "
        f"{count(result.get('resamples'))} times over {spread}. R² is against the mean of the test rows themselves."
    )
