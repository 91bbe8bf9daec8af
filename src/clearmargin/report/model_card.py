"""``MODEL_CARD.md``: what the trained models are, and what they are not, under the headings of Mitchell et al.

The headings are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). What software can't know is a
question that the author must answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clearmargin.language import tr
from clearmargin.report import account
from clearmargin.report.folder import StudyFiles, TrainedFiles
from clearmargin.report.proof import without_result
from clearmargin.report.wording import count, decimal, large, retold_text, visible

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&@])")
MOST_CLASSES = 50


def neutral(text: object) -> str:
    """A text as Markdown that stays what it is: no name in it can become a link, a tag, a heading or a table cell."""
    flat = _MARKUP.sub(r"\\\1", " ".join(visible(text).split()))
    flat = re.sub(r"(?i)(www)\.", r"\1\\.", flat.replace("://", ":\\//"))  # else some readers make links of them
    return re.sub(r"^(\d+(?=[.)]\s)|(?=[-+=]))", r"\1\\", flat)  # else a list, or a line under a heading


def model_card(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> str:
    """The whole card as Markdown."""
    sections = {
        tr("Model details"): _details(run, contenders),
        tr("Intended use"): _asked(
            tr("For which decision, by whom, and on which patients and devices may these models be used?"),
            tr("For which uses are they not meant?"),
            said=(tr("Made for research. Not a medical device: no decision about a person should rest on them."),),
        ),
        tr("Factors"): _asked(
            tr("Which groups of people, devices and sites matter for these models, and were they all in the data?"),
            said=_subgroups(run),
        ),
        tr("Metrics"): _metrics(run),
        tr("Evaluation data"): _listed(account.part_sizes(run), account.level(run), account.tested_where(run)),
        tr("Training data"): _listed(account.origin(run), account.simulated(run), *_classes(run)),
        tr("Quantitative analyses"): _analyses(run, contenders),
        tr("Ethical considerations"): _asked(
            tr("Which board approved the use of the data, and did the people consent?"),
            tr("Who may be harmed by a wrong answer, and how is that prevented?"),
        ),
        tr("Caveats and recommendations"): _caveats(run),
    }
    title = tr("Model card: {title}", title=neutral(run.recipe.get("name") or tr("Study")))
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    return f"# {title}\n\n{body}\n"


def _listed(*facts: str) -> str:
    return "\n".join(f"- {neutral(fact)}" for fact in facts if fact)


def _asked(*questions: str, said: Sequence[str] = ()) -> str:
    asked = [f"- **{tr('Author must answer:')}** {question}" for question in questions]
    return "\n".join([*(f"- {neutral(fact)}" for fact in said if fact), *asked])


def _details(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> str:
    rows = [
        (
            contender.name,
            str((contender.model.get("architecture") or {}).get("architecture") or "–"),
            large(contender.model["parameters"]["total"]),
            str(contender.model.get("weights_sha256", "–")),
        )
        for contender in contenders
    ]
    heads = (tr("model"), tr("architecture"), tr("parameters"), tr("SHA-256 of the weights"))
    made = tr(
        "Trained with clearmargin {version} from seed {seed}.",
        version=run.environment["clearmargin"],
        seed=run.environment["seed"],
    )
    started = [
        tr("{name} started from pretrained weights: {origin}.", name=contender.name, origin=_origin(contender.model))
        for contender in contenders
        if contender.model.get("pretrained_sha256")
    ]
    asked = _asked(tr("Who made and who maintains these models, under which licence, and where are questions welcome?"))
    return f"{_table(heads, rows)}\n\n{_listed(made, *started)}\n{asked}"


def _origin(model: Mapping[str, Any]) -> str:
    return str(model.get("pretrained_attribution") or model.get("pretrained_origin") or model["pretrained_sha256"])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([neutral(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _subgroups(run: StudyFiles) -> list[str]:
    found = run.evaluation.get("subgroups")
    return [tr("The report has figures of {n} subgroups.", n=count(len(found)))] if found else []


def _metrics(run: StudyFiles) -> str:
    names = ", ".join(account.metric_name(key) for key in account.OVERALL[run.evaluation["task"]])
    intervals = tr(
        "Each with its {confidence} % interval: over groups where samples cluster.",
        confidence=f"{100 * run.evaluation.get('confidence', 0.95):g}",
    )
    return _listed(f"{names}.", intervals, account.looked_at(run))


def _classes(run: StudyFiles) -> list[str]:
    names = run.evaluation.get("classes")
    if not names:
        return []
    more = tr(" and {n} more", n=count(len(names) - MOST_CLASSES)) if len(names) > MOST_CLASSES else ""
    return [tr("Classes: {names}.", names=", ".join(names[:MOST_CLASSES]) + more)]


def _analyses(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> str:
    figures = _listed(*(f"{one.name}: {account.reached(run, one.result)}." for one in contenders))
    verdicts = _listed(*(retold_text(pair["sentence"]) for pair in run.evaluation["comparisons"]))
    parts = [figures, verdicts]
    if run.evaluation["task"] == "classification" and len(run.evaluation["classes"]) <= MOST_CLASSES:
        heads = (tr("model"), tr("class"), tr("n"), tr("sensitivity"), tr("specificity"))
        rows = [
            (one.name, row["class"], count(row["n"]), decimal(row["recall"]), decimal(row["specificity"]))
            for one in contenders
            for row in one.result["per_class"]
        ]
        parts.append(_table(heads, rows))
    return "\n\n".join(filter(None, parts))


def _caveats(run: StudyFiles) -> str:
    serious = [finding for finding in run.audit.get("findings", []) if finding["severity"] == "serious"]
    told = [retold_text(finding["message"]) for finding in serious[:5]]
    return _asked(
        tr("What else may go wrong when these models meet other data?"),
        said=(account.simulated(run), account.level(run), account.tested_where(run), *without_result(run), *told),
    )
