"""A checklist of what a paper must report: filled in where software can know, a question to the author elsewhere.

The topics are those of TRIPOD+AI (Collins et al., *BMJ* 385 (2024) e078378, 27 items) and CLAIM 2024 (Tejani et al.,
*Radiology: Artificial Intelligence* 6 (2024) e240300, 44 items), in words of our own; the numbers tell where each
stands there. It helps to fill in those checklists and does not replace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clearmargin.language import tr
from clearmargin.report import account
from clearmargin.report.folder import StudyFiles, TrainedFiles
from clearmargin.report.methods import settings_of
from clearmargin.report.tuning import tuning_step
from clearmargin.report.wording import count, listed, percent, plural, sentences


@dataclass(frozen=True)
class Item:
    """One thing to report.

    Attributes
    ----------
    topic
        What it is about.
    tripod, claim
        Numbers of the items of TRIPOD+AI and of CLAIM 2024; empty where there is none.
    done
        True when ``text`` is the answer; False when it is a question that the author must answer.
    """

    topic: str
    tripod: str
    claim: str
    done: bool
    text: str


def checklist(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> list[Item]:
    """All items, in the order of a paper."""
    return [
        *_introduction(),
        *_data(run),
        *_truth(run),
        *_split(run),
        *_models(run, contenders),
        *_evaluation(run),
        *_results(run, contenders),
        *_discussion(run),
    ]


def _is_table(run: StudyFiles) -> bool:
    """Whether the samples are rows of numbers, so that nothing is said of images and classes."""
    return account.noun_of(run) == "row"


def _ask(topic: str, tripod: str, claim: str, question: str) -> Item:
    return Item(topic, tripod, claim, False, question)


def _tell(topic: str, tripod: str, claim: str, *told: str) -> Item:
    return Item(topic, tripod, claim, True, sentences(*told))


def _introduction() -> list[Item]:
    return [
        _ask(
            tr("Title and abstract"),
            "1, 2",
            "1, 2",
            tr("Do they name the task, the kind of model and the figures with their intervals?"),
        ),
        _ask(
            tr("Purpose"),
            "3a, 3b",
            "3",
            tr("Which decision shall the model support, for whom, and where in the course of care?"),
        ),
        _ask(
            tr("Inequalities"),
            "3c, 14",
            "",
            tr("Which groups of people may be served worse, and what was done about it?"),
        ),
        _ask(
            tr("Objectives"),
            "4",
            "4, 6",
            tr("Is the aim to develop a model, to test one, or both; and which hypothesis was fixed beforehand?"),
        ),
    ]


def _data(run: StudyFiles) -> list[Item]:
    exclusions = run.audit["counts"]["found"] - run.audit["counts"]["decoded"]
    findings = run.audit.get("findings", [])
    serious = sum(finding["severity"] == "serious" for finding in findings)
    acquired = tr("Which devices, sequences and settings made the images?")
    if _is_table(run):
        acquired = tr("How, by whom and with which instruments was each column measured?")
        prepared = tr(
            "Columns standardised with mean and deviation of the training part; details under “What was done”."
        )
    else:
        prepared = tr(
            "Size, shape and grey levels as under “What was done”; normalised with figures of the training "
            "part or of ImageNet, never of the test part."
        )
    return [
        _tell(tr("Source of the data"), "5a", "7", account.origin(run), account.simulated(run)),
        _ask(
            tr("Time and place"),
            "5b, 6a",
            "5, 7",
            tr("When and where were the data collected, and was the collection planned for this study?"),
        ),
        _ask(
            tr("Who was included"),
            "6b, 6c",
            "8",
            tr(
                "Which people were eligible, who was left out before the data came here, and what treatment "
                "had they had?"
            ),
        ),
        _tell(
            tr("Left out here"),
            "20a",
            "8, 35",
            tr(
                "{n} left out because they could not be used; each is listed under “What the audit noticed”.",
                n=plural(exclusions, account.noun_of(run)),
            ),
        ),
        _tell(tr("Preparation"), "7", "9, 10", prepared),
        _ask(tr("Acquisition"), "9b", "13", acquired),
        _ask(tr("De-identification"), "17", "11", tr("How were names and other identifiers removed?")),
        _tell(
            tr("Quality of the data"),
            "7",
            "10, 12",
            tr(
                "Looked for copies, shortcuts, doubtful labels and poor samples: {findings}, {serious} of them "
                "serious.",
                findings=plural(len(findings), "finding"),
                serious=count(serious),
            ),
        ),
        _tell(tr("Missing data"), "11", "12", tr("Samples that could not be read were left out, none was filled in.")),
    ]


def _truth(run: StudyFiles) -> list[Item]:
    standard = tr("How was the true class established, and why in this way?")
    if _is_table(run):
        standard = tr("How was the true value established, and why in this way?")
    return [
        _ask(tr("Reference standard"), "8a", "14, 15", standard),
        _ask(
            tr("Who labelled"),
            "8b, 8c",
            "16, 17",
            tr("How many people of which training established it, and did they see anything the model does not?"),
        ),
        _ask(
            tr("Agreement of labels"),
            "8b",
            "18",
            tr("How well did they agree with each other and with themselves?"),
        ),
    ]


def _split(run: StudyFiles) -> list[Item]:
    sample_size = run.evaluation.get("sample_size") or {}
    half_width = sample_size.get("accuracy_half_width")
    size = tr("{n} tested.", n=plural(run.evaluation["n"], account.noun_of(run)))
    if half_width is not None:
        size = tr(
            "{n} tested: the interval of the accuracy reaches {reach} to each side.",
            n=plural(run.evaluation["n"], account.noun_of(run)),
            reach=percent(half_width),
        )
    return [
        _tell(tr("Parts"), "12a, 16", "19", f"{account.part_sizes(run)}."),
        _tell(tr("Level of the parts"), "12a", "20", account.level(run)),
        _tell(tr("Samples tested"), "10, 21", "21", size),
        _ask(tr("Sample size planned"), "10", "21", tr("How many samples were planned, and by which reckoning?")),
    ]


def _models(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> list[Item]:
    names = listed([contender.name for contender in contenders])
    started = [contender.name for contender in contenders if contender.model.get("pretrained_sha256")]
    first = tr("From pretrained weights: {names}; SHA-256 under “Reproduce it”.", names=listed(started))
    versions = [
        f"{name} {run.environment[name]}" for name in ("clearmargin", "torch", "numpy") if run.environment.get(name)
    ]
    return [
        _tell(
            tr("Models"),
            "12c, 22",
            "22",
            tr("{names}: each layer, its size and its parameters are under “The networks”.", names=names),
        ),
        _tell(tr("First weights"), "12c", "24", first if started else tr("By chance, from the seed of the study.")),
        _tell(
            tr("Training"),
            "12b, 12c",
            "25",
            tr("Optimiser, schedule and loss are under “What was done”; the whole recipe under “Reproduce it”.")
            if _is_table(run)
            else tr(
                "Optimiser, schedule, loss and augmentation are under “What was done”; the whole recipe under "
                "“Reproduce it”."
            ),
        ),
        _tell(
            tr("Choice of the final model"),
            "12c",
            "26",
            _chosen(run, contenders),
        ),
        _tell(tr("What a model says"), "15", "", _output(run)),
        _tell(tr("Software"), "18f", "23", f"{', '.join(versions)}."),
        _tell(tr("Classes out of balance"), "13", "", account.classes_by_part(run))
        if not _is_table(run)
        else _tell(
            tr("Outcome"), "8a", "", tr("The column “{target}”, in its own unit.", target=str(run.evaluation["target"]))
        ),
    ]


def _output(run: StudyFiles) -> str:
    """What a model gives, and where thresholds came from."""
    if _is_table(run):
        return tr("One number, in the unit of the column “{target}”.", target=str(run.evaluation["target"]))
    return tr(
        "A probability for each class; the most probable class is the answer. Where a model has a temperature or "
        "thresholds, they were fixed on the validation part."
    )


def _chosen(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> str:
    """By what the weights that were tested were chosen."""
    searched = tuning_step(run)
    if searched:
        return sentences(searched[0][1], tr("The test part was looked at afterwards."))
    asked = [
        settings_of(run, contender.name).get("training") or run.recipe.get("training", {}) for contender in contenders
    ]
    if any(settings.get("keep", "best") == "best" for settings in asked):
        return tr("By the validation part; the test part was looked at afterwards.")
    return tr("The weights of the last epoch; the test part was looked at afterwards.")


def _evaluation(run: StudyFiles) -> list[Item]:
    over = tr("over groups") if run.evaluation.get("clustered") else tr("over samples")
    confidence = 100 * run.evaluation.get("confidence", 0.95)
    intervals = tr(
        "{confidence} % intervals, bootstraps {over}; paired tests, adjusted after Holm where there are several. A "
        "rule fixed beforehand names a winner, or none.",
        confidence=f"{confidence:g}",
        over=over,
    )
    subgroups = run.evaluation.get("subgroups")
    external = account.external_tests(run)
    rows = [
        _tell(
            tr("Measures"),
            "12e",
            "28",
            tr("The figures of the first table, each with its interval.")
            if _is_table(run)
            else tr("The figures of the first table and those of each class, each with its interval."),
        ),
        _tell(tr("Uncertainty"), "12e, 23a", "29, 38", intervals),
        _tell(tr("Use of the test part"), "12e, 16", "32", account.looked_at(run)),
        _tell(tr("Where it was tested"), "12d, 16", "32, 33", account.tested_where(run))
        if external
        else _ask(
            tr("External test"),
            "12d, 16",
            "33",
            f"{account.tested_where(run)} {tr('Was the model tested on data of another place?')}",
        ),
    ]
    if subgroups:
        rows.append(
            _tell(
                tr("Subgroups"),
                "14, 23a",
                "30, 36",
                tr("Figures of {n} subgroups are in the report.", n=count(len(subgroups))),
            )
        )
    else:
        rows.append(
            _ask(
                tr("Subgroups"),
                "14, 23a",
                "30, 36",
                tr("How do the figures differ by sex, age, device and site? The data name no such columns."),
            )
        )
    return rows


def _results(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> list[Item]:
    figures = [f"{name}: {account.reached(run, said)}." for name, said in run.evaluation["contenders"].items()]
    rows = [
        _tell(tr("Flow"), "20a", "35", tr("Found, left out and used: under “Data flow”.")),
        _ask(tr("Who they were"), "20b", "36", tr("What were age, sex and severity of disease in each part?")),
        _tell(tr("Performance"), "23a", "37, 38", *figures[:6]),
    ]
    if run.evaluation["comparisons"]:
        compared = tr("Every pair of contenders, with interval and p-value: under “Result”.")
        rows.append(_tell(tr("Comparison"), "23a", "29, 37", compared))
    inside = [run.folder / "contenders" / contender.slug / "inside" / "inside.json" for contender in contenders]
    if any(path.is_file() for path in inside):
        explained = tr("Grad-CAM, filters and feature maps are under “A look inside”.")
        rows.append(_tell(tr("Explanation"), "12c", "31", explained))
    if not _is_table(run):
        rows.append(
            _tell(tr("Failures"), "23a", "39", tr("Every mistake is counted, and the most confident are shown."))
        )
    return rows


def _discussion(run: StudyFiles) -> list[Item]:
    limits = [account.simulated(run), account.level(run), account.tested_where(run)]
    return [
        _tell(tr("Limits that software sees"), "26", "40", *limits),
        _ask(
            tr("Interpretation and further limits"),
            "25, 26",
            "40, 41",
            tr("What do the figures mean for practice, and what else may be wrong with them?"),
        ),
        _ask(
            tr("Use"),
            "27a, 27b, 27c",
            "41",
            tr("What must be at hand to use the model, who may use it, and what is to be done with poor input?"),
        ),
        _ask(
            tr("Ethics and consent"),
            "17",
            "",
            tr("Which board approved the study, and how was consent obtained or waived?"),
        ),
        _ask(
            tr("Protocol and registration"),
            "18c, 18d",
            "34, 42",
            tr("Where is the protocol, and where was the study registered?"),
        ),
        _ask(tr("Public involvement"), "19", "", tr("How were those whom it concerns involved?")),
        _ask(tr("Funding and interests"), "18a, 18b", "44", tr("Who paid, and who has an interest in the result?")),
        _tell(
            tr("Code and predictions"),
            "18e, 18f",
            "43",
            tr("All predictions, the split and a script that computes every figure anew lie in the run folder."),
        ),
        _ask(tr("Sharing"), "18e, 18f", "43", tr("Where can others get the data, the weights and this run folder?")),
    ]
