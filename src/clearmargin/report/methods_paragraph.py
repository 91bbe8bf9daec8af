"""The methods and results of a run as running text, to be pasted into a paper: with numbers, and with the sources.

It is honest where it costs something: an image-level split, leaks that were accepted, simulated images, an internal
test only, and a test part that was looked at before are each said in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearmargin.language import tr
from clearmargin.report import account
from clearmargin.report.folder import StudyFiles
from clearmargin.report.proof import without_result
from clearmargin.report.verdicts import repeats_sentence, sentence
from clearmargin.report.wording import count, plural, sentences

MOST_VERDICTS = 5


def methods_text(run: StudyFiles, steps: Sequence[tuple[str, str]]) -> list[str]:
    """Paragraphs: data and parts, models, statistics, results, limits.

    Parameters
    ----------
    steps
        What was done, as (step, sentences) in its order: data, preprocessing, split, then models and their training.
    """
    told = [sentence for _, sentence in steps]
    models = [
        said if step == tr("Training") else tr("{step}: {sentences}", step=step, sentences=said)
        for step, said in steps[3:]
        if step not in _left_out()
    ]
    return [
        sentences(account.simulated(run), *told[:3], _sizes(run), account.level(run)),
        sentences(*models),
        sentences(*_statistics(run)),
        sentences(*_results(run)),
        sentences(account.tested_where(run), account.looked_at(run), _software(run)),
    ]


def _left_out() -> set[str]:
    """Steps that this text tells in its own way."""
    return {tr("Evaluation"), tr("Repeats")}


def _sizes(run: StudyFiles) -> str:
    return tr("This gave {sizes}.", sizes=account.part_sizes(run))


def _statistics(run: StudyFiles) -> list[str]:
    """Which methods were used, each with its source; only those that this run used."""
    result = run.evaluation
    confidence, drawn = f"{100 * result.get('confidence', 0.95):g}", count(result.get("resamples"))
    used = _methods_named(result)
    told = [tr("All intervals are {confidence} % intervals.", confidence=confidence)]
    if any(method.startswith("Clopper-Pearson over") and "design effect" in method for method in used):
        told.append(
            tr(
                "Shares of samples in groups have Clopper and Pearson's interval for the effective number of samples "
                "(Korn and Graubard 1998)."
            )
        )
    if "Wilson score" in used:
        told.append(tr("Shares of independent samples have Wilson's score interval (Wilson 1927)."))
    if any(method.startswith("Clopper-Pearson over") and "design effect" not in method for method in used):
        told.append(
            tr("Where all or no answers were right, Clopper and Pearson's interval over groups is given (1934).")
        )
    if any(method.startswith("class by class over") for method in used):
        told.append(
            tr(
                "Balanced accuracy has the wider of two intervals: one made class by class (Agresti and Coull 1998), "
                "and one over groups in which each class has the same weight (Korn and Graubard 1998)."
            )
        )
    elif any(method.startswith("class by class:") for method in used):
        told.append(
            tr(
                "Balanced accuracy has the wider of two intervals made class by class (Agresti and Coull 1998; Zou and "
                "Donner 2008)."
            )
        )
    if result["task"] == "regression":
        told.append(tr("Errors have bootstrap intervals by the BCa method (Efron 1987), with {n} resamples.", n=drawn))
    else:
        told.append(
            tr(
                "Other figures have percentile bootstrap intervals (Efron and Tibshirani 1993), with {n} resamples.",
                n=drawn,
            )
        )
    if result.get("clustered"):
        groups = count(result["groups"])
        told.append(tr("Samples of one group are alike: whole groups were resampled ({n} groups).", n=groups))
    return [*told, *_tests(run), *_on_validation(run)]


def _tests(run: StudyFiles) -> list[str]:
    result = run.evaluation
    told = []
    if result["comparisons"]:
        if result["task"] == "regression":
            told.append(
                tr(
                    "Models were compared on the same samples by a randomisation test that flips the signs of whole "
                    "groups' differences (a sample without a group is its own)."
                )
            )
        else:
            told.append(
                tr(
                    "Models were compared on the same samples by two tests of balanced accuracy, of which the larger p "
                    "counts: one that flips the signs of whole groups' differences (a sample without a group is its "
                    "own), and Student's t test with the variance of each class (Agresti and Min 2005; Welch 1947)."
                )
            )
            if not result.get("clustered"):
                told.append(
                    tr(
                        "McNemar's mid-p test of accuracy (Fagerland, Lydersen and Laake 2013) has to agree before a "
                        "model is called better."
                    )
                )
        methods = [str(pair.get("auc_method")) for pair in result["comparisons"] if pair.get("auc_p") is not None]
        if any(method.startswith("DeLong") for method in methods):
            told.append(
                tr(
                    "Areas under ROC curves were compared after DeLong (DeLong, DeLong and Clarke-Pearson 1988; Sun "
                    "and Xu 2014), their p-values unadjusted."
                )
            )
        elif methods:
            told.append(
                tr("Mean areas under the ROC curves were compared by the paired bootstrap, their p-values unadjusted.")
            )
        if len(result["comparisons"]) > 1:
            told.append(
                tr(
                    "The p-values that decide were adjusted after Holm (1979) for {n} comparisons.",
                    n=count(len(result["comparisons"])),
                )
            )
        told.append(
            tr(
                "One model is called better only when the interval of the difference excludes zero, the adjusted "
                "p-value is below the level and a second measure does not say the opposite; the rule was fixed before "
                "any result was seen."
            )
        )
    if result.get("repeats"):
        told.append(
            tr(
                "Rounds of the same data overlap, so that means over rounds have the corrected resampled t "
                "interval and test (Nadeau and Bengio 2003)."
            )
        )
    return told


def _on_validation(run: StudyFiles) -> list[str]:
    """What was fixed on the validation part, where a run did that."""
    said: list[Any] = list(run.evaluation["contenders"].values())
    told = []
    fitted = ("fitted", "lowest", "highest")
    if any((one.get("calibration") or {}).get("outcome") in fitted for one in said):
        told.append(
            tr(
                "Probabilities were calibrated by temperature scaling (Guo et al. 2017), the temperature being "
                "fitted on the validation part."
            )
        )
    if any(one.get("conformal") for one in said):
        told.append(
            tr(
                "Prediction sets are split-conformal (Vovk, Gammerman and Shafer 2005), their threshold fixed on "
                "the validation part."
            )
        )
    if any((one.get("abstention") or {}).get("threshold") is not None for one in said):
        told.append(tr("The threshold below which the model abstains was chosen on the validation part."))
    return told


def _methods_named(result: Any) -> set[str]:
    figures = [figure for said in result["contenders"].values() for figure in said["metrics"].values()]
    named = {str(figure.get("method")) for figure in figures}
    rows = [row for said in result["contenders"].values() for row in said.get("per_class", ())]
    return named | {str(row.get("recall_method")) for row in rows}


def _results(run: StudyFiles) -> list[str]:
    tested = plural(run.evaluation["n"], account.noun_of(run))
    told = [
        tr(
            "On {tested} of the test part, {name} reached {figures}.",
            tested=tested,
            name=name,
            figures=account.reached(run, said),
        )
        for name, said in run.evaluation["contenders"].items()
    ]
    result = run.evaluation
    verdicts = [
        *(repeats_sentence(result, pair) for pair in (result.get("repeats") or {}).get("comparisons", [])),
        *(sentence(result, pair) for pair in result["comparisons"]),
    ]
    return [*told, *without_result(run), *verdicts[:MOST_VERDICTS]]


def _software(run: StudyFiles) -> str:
    environment = run.environment
    return tr(
        "The study was run with clearmargin {version} (PyTorch {torch}, seed {seed}); its predictions, split and a "
        "script that computes every figure anew lie in the run folder.",
        version=environment["clearmargin"],
        torch=environment.get("torch") or "–",
        seed=environment["seed"],
    )
