"""What was done in a regression, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.language import tr
from clearmargin.report.methods import (
    evaluation_number,
    given_parts,
    has_convolution,
    intervals_sentence,
    repeats_step,
    settings_of,
    tested_on,
    training_steps,
)
from clearmargin.report.regression.folder import RegressionContender, RegressionRun
from clearmargin.report.tuning import tuning_step
from clearmargin.report.wording import large, plural, sentences, without_folders


def steps(run: RegressionRun) -> list[tuple[str, str]]:
    """What was done, as (step, sentences) in the order it happened."""
    told = [
        (tr("Data"), _data(run)),
        (tr("Preprocessing"), _preprocessing(run)),
        (tr("Split"), _split(run)),
        *((contender.name, _contender(run, contender)) for contender in run.contenders),
        *training_steps(run, run.contenders),
        *tuning_step(run),
    ]
    if run.evaluation["baselines"]:
        told.append((tr("Baselines"), _baselines(run)))
    told.append((tr("Evaluation"), _evaluation(run)))
    return told + repeats_step(run)


def _data(run: RegressionRun) -> str:
    source = without_folders(str(run.recipe.get("data", {}).get("source", "")))
    inputs = run.contenders[0].model.get("preprocessing", {}).get("columns") or []
    values = {
        "rows": plural(run.audit["counts"]["decoded"], "row"),
        "target": run.target,
        "columns": plural(len(inputs), "input column"),
    }
    if source:
        return tr("{rows} of a table ({source}): the target {target} and {columns}.", **values, source=source)
    return tr("{rows} of a table: the target {target} and {columns}.", **values)


def _preprocessing(run: RegressionRun) -> str:
    return tr(
        "Every input column was standardised with its mean and standard deviation in the training part; so was the "
        "target, and all figures are in its own unit again."
    )


def _split(run: RegressionRun) -> str:
    if run.split.get("given"):
        return given_parts(run, "row", tr("the target"))
    asked = ", ".join(f"{fraction:g}" for fraction in run.split["asked"])
    drawn = tr(
        "Drawn anew from seed {seed}, stratified by the target, fractions asked for {fractions} (training, validation, "
        "test).",
        seed=run.environment["seed"], fractions=asked,
    )  # fmt: skip
    kept = tr("Each row and those with the same inputs went to one part as a whole.")
    if run.split["patients"]:
        kept = tr("Each group went to one part as a whole.")
    return sentences(drawn, kept)


def _contender(run: RegressionRun, contender: RegressionContender) -> str:
    parameters = contender.model["parameters"]
    settings = settings_of(run, contender.name).get("training") or run.recipe.get("training", {})
    values = {"total": large(parameters["total"]), "loss": _loss(settings)}
    if has_convolution(contender):
        return tr(
            "A 1-D CNN over the columns of a row, with {total} parameters, trained to the least {loss}.", **values
        )
    return tr(
        "A dense network over the columns of a row, with {total} parameters, trained to the least {loss}.", **values
    )


def _loss(settings: Mapping[str, Any]) -> str:
    kind = str(settings.get("loss") or "squared")
    if kind == "huber":
        delta = settings.get("huber_delta", 1.0)
        return tr(
            "Huber loss (delta {delta}: squared up to {delta} standard deviations of the target, linear beyond)",
            delta=f"{delta:g}",
        )
    return {"squared": tr("squared error"), "absolute": tr("absolute error")}.get(kind, kind)


def _baselines(run: RegressionRun) -> str:
    return tr(
        "They learned from training and validation part together, both of which the contenders used, with settings "
        "fixed beforehand: the mean; a ridge regression on standardised inputs, its penalty chosen by leave-one-out; "
        "and gradient-boosted trees as scikit-learn ships them."
    )


def _evaluation(run: RegressionRun) -> str:
    result = run.evaluation
    spread = tr("groups") if result.get("clustered") else tr("rows")
    return sentences(
        tested_on(run, "row"),
        evaluation_number(result),
        intervals_sentence(result, spread),
        tr("R² is against the mean of the test rows themselves."),
    )
