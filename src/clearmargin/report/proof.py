"""The first box, and the proof that nothing leaks: recounted from ``split.csv`` while the page is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clearmargin.language import tr, trn
from clearmargin.report.folder import StudyFiles
from clearmargin.report.wording import count, decimal, estimate, listed, plural, retold_text, sentences, things

# The audit's words for copies that a split keeps together.
COPIES = {"image": ("exact-copies", "near-copies"), "row": ("identical-rows",)}


@dataclass(frozen=True)
class Check:
    """One thing that must hold if nothing leaks, recounted from the files; ``holds`` is None when it can't be tried."""

    holds: bool | None
    statement: str
    detail: str
    must: str = ""


@dataclass(frozen=True)
class Standing:
    """The first box: ``state`` is ``leaky``, ``careful`` or ``sound``; a title, and what goes with it."""

    state: str
    title: str
    detail: str


def leak_checks(run: StudyFiles, tested: Iterable[str], noun: str = "image") -> list[Check]:
    """Recount, from ``split.csv`` and the names of what was ``tested``, what must be zero."""
    checks = [
        _groups_stay_together(run, noun),
        _tested_are_new(run, list(tested), noun),
        _copies_stay_together(run, noun),
    ]
    if run.evaluation.get("leaky") and all(check.holds for check in checks):
        detail = tr("It was evaluated on a test part that leaks; split.csv does not show it: one of them was changed.")
        checks.append(Check(False, tr("evaluation.json says leaky"), detail))
    return checks


def control_check(run: StudyFiles) -> list[Check]:
    """What shuffled labels reach on this split, where that was measured: no more than chance, if nothing leaks."""
    found = run.control
    if found is None:
        return []
    if found["holds"] is None or found["accuracy"] is None:
        detail = tr("Without it, the counts above are the proof: {reason}.", reason=retold_text(found.get("reason")))
        return [Check(None, tr("No random-label control is possible"), detail)]
    values = {"accuracy": estimate(found["accuracy"]), "chance": decimal(found["chance"])}
    statement = tr("Random-label control: accuracy {accuracy}, chance {chance}", **values)
    detail = tr(
        "Labels were dealt out anew to whole groups, learned from {learned} images and tested on {tested}, {n} times: "
        "a classifier that beats chance has recognised what it was tested on.",
        learned=count(found["learned"]),
        tested=count(found["tested"]),
        n=count(found["shuffles"]),
    )
    if found["holds"] and found.get("crossing"):
        detail = sentences(detail, tr("The few groups on both sides are too few to show here: the counts above tell."))
    if not found["holds"] and not found.get("crossing"):
        told = tr("No group is known to be on both sides: of 200 clean splits, one fails like this by chance.")
        detail = sentences(detail, told)
    return [Check(bool(found["holds"]), statement, detail, tr("this must be at chance."))]


def of_learned_groups(run: StudyFiles) -> set[str]:
    """Names of the tested samples of which others of the same group are in another part."""
    rows = run.split_rows
    tested = rows["part"] == run.evaluation.get("part", "test")
    return set(rows["name"][tested & rows["group"].isin(set(rows["group"][~tested]))])


def _groups_stay_together(run: StudyFiles, noun: str) -> Check:
    parts_of_group = run.split_rows.groupby("group")["part"].nunique()
    crossing, groups = int((parts_of_group > 1).sum()), len(parts_of_group)
    units = _units(run, groups, noun)
    detail = tr("{units} were placed, each as a whole.", units=units)
    if crossing:
        detail = tr("Of {units}, so many lie in more than one part: the results are too good.", units=units)
    consistent = crossing == run.split["crossing_groups"]
    if not consistent:
        said = count(run.split["crossing_groups"])
        detail = sentences(detail, tr("split.json says {n}: one of the two files was changed.", n=said))
    statement = trn(crossing, "{n} group in more than one part", "{n} groups in more than one part", n=count(crossing))
    return Check(crossing == 0 and consistent, statement, detail)


def _units(run: StudyFiles, groups: int, noun: str) -> str:
    """What was placed as a whole, counted."""
    if run.split["patients"]:
        return tr("{n} patients or groups", n=count(groups))
    if noun == "image":
        return tr("{n} images or sets of copies", n=count(groups))
    return tr("{n} rows or sets of identical rows", n=count(groups))


def _tested_are_new(run: StudyFiles, tested: list[str], noun: str) -> Check:
    part = run.evaluation.get("part", "test")
    placed = dict(zip(run.split_rows["name"], run.split_rows["part"], strict=True))
    looked_up = count(len(tested))
    seen = sum(placed.get(name) != part for name in tested)
    if seen:
        detail = tr("All {n} names were looked up in split.csv: these belong to another part, or to none.", n=looked_up)
        return Check(False, tr("{things} seen before", things=plural(seen, f"tested {noun}")), detail)
    related = len(of_learned_groups(run).intersection(tested))
    if related:
        detail = tr(
            "All {n} names were looked up in split.csv: of these, others of the same group (a patient, or copies) are "
            "in another part.", n=looked_up,
        )  # fmt: skip
        statement = tr("{things} of a group also learned from", things=plural(related, f"tested {noun}"))
        return Check(False, statement, detail)
    detail = tr(
        "All {n} names were looked up in split.csv: none belongs to another part, or to a group of which anything is "
        "in another part.", n=looked_up,
    )  # fmt: skip
    return Check(True, tr("{things} seen before", things=plural(0, f"tested {noun}")), detail)


def _copies_stay_together(run: StudyFiles, noun: str) -> Check:
    named = {kind: _named(run, kind) for kind in COPIES[noun]}
    everyone = set().union(*named.values())
    rows = run.split_rows[run.split_rows["name"].isin(everyone)]
    split_up = rows.groupby("group")["part"].nunique() > 1
    apart = int(split_up.sum()) + _pairs_apart(run, noun, set(split_up.index[split_up]))
    said = tr("; ").join(_told(kind, names, noun) for kind, names in named.items() if names)
    left_out = len(everyone) - len(rows)
    if not everyone and noun == "image":
        detail = tr("The audit found no two images with the same pixels and picture.")
    elif not everyone:
        detail = tr("The audit found no two rows with the same inputs.")
    elif apart:
        detail = tr("{copies}. Some lie in different parts.", copies=said)
    elif left_out:
        detail = tr("{copies}; repeats left out: {n}.", copies=said, n=count(left_out))
    else:
        detail = tr("{copies}; copies share a part.", copies=said)
    statement = trn(apart, "{n} set of copies split up", "{n} sets of copies split up", n=count(apart))
    return Check(apart == 0, statement, detail)


def _told(kind: str, names: set[str], noun: str) -> str:
    many = len(names)
    values = {"things": plural(many, noun)}
    if kind == "near-copies":
        return trn(many, "{things} is a near-duplicate of another", "{things} are near-duplicates of another", **values)
    return trn(many, "{things} has an identical twin", "{things} have an identical twin", **values)


def _named(run: StudyFiles, kind: str) -> set[str]:
    found = [finding for finding in run.audit["findings"] if finding["kind"] == kind]
    return {name for finding in found for name in finding.get("samples", ())}


def _pairs_apart(run: StudyFiles, noun: str, known: set[str]) -> int:
    """Pairs of the evidence in different parts, whose groups (not ``known`` to be split up) do not tell so."""
    columns = (run.split_rows[column].tolist() for column in ("name", "part", "group"))
    placed = {name: (part, group) for name, part, group in zip(*columns, strict=True)}
    apart = 0
    for first, second in _pairs(run, noun):
        if first in placed and second in placed:
            (one, group), (other, other_group) = placed[first], placed[second]
            apart += one != other and not {group, other_group} & known
    return apart


def _pairs(run: StudyFiles, noun: str) -> set[tuple[str, str]]:
    evidence = [f.get("evidence") or {} for f in run.audit["findings"] if f["kind"] in COPIES[noun]]
    return {(pair["first"], pair["second"]) for one in evidence for pair in one.get("pairs") or []}


def standing(run: StudyFiles, checks: Iterable[Check], noun: str = "image") -> list[Standing]:
    """What the first box says of the split: whether it leaks, whether it is by patient, and what was kept together.

    Of a table whose rows nobody says to depend on each other it says nothing more. Those without a result are named.
    """
    failed = [check.statement for check in checks if not check.holds]
    told = []
    if failed:
        detail = tr("{faults}. Every figure that suffers from it is marked with the word leaky.", faults=listed(failed))
        told.append(Standing("leaky", tr("Leaky: the test part is not clean."), detail))
    kept = "" if failed else _kept_together(run, noun)
    if not run.split["patients"] and noun == "image":
        title = tr("Image-level split: optimistic if related images (of one patient) are in both parts.")
        detail = sentences(tr("The source does not say of every image which others it belongs with."), kept)
        told.append(Standing("careful", title, detail))
    elif run.split["patients"] and not failed:
        title = tr("Split by patient or group: none is in more than one part.")
        placed = tr("{n} were placed.", n=count(run.split_rows["group"].nunique()))
        told.append(Standing("sound", title, sentences(placed, kept)))
    for sentence in without_result(run):
        told.append(Standing("careful", tr("Not every contender has a result."), sentence))
    return told


def without_result(run: StudyFiles) -> list[str]:
    """Sentences on contenders that have no result, of the study and of its rounds."""
    of_rounds = (run.evaluation.get("repeats") or {}).get("diverged", {})
    reasons = {**of_rounds, **run.evaluation.get("diverged", {})}
    return [
        tr("{name} diverged in training and has no result. {reason}", name=name, reason=retold_text(reason))
        if name not in run.evaluation["contenders"]
        else tr(
            "{name} diverged in a round and has no result over the rounds. {reason}",
            name=name,
            reason=retold_text(reason),
        )
        for name, reason in reasons.items()
    ]


def _kept_together(run: StudyFiles, noun: str) -> str:
    """How many clusters of near-duplicates and sets of identical samples stayed whole, as the checks recount."""
    by_kind = {finding["kind"]: finding for finding in run.audit["findings"] if finding["kind"] in COPIES[noun]}
    told = []
    for kind, finding in by_kind.items():
        clusters = (finding.get("evidence") or {}).get("clusters")
        told.append(_counted(kind, clusters or 0, len(_named(run, kind)), noun))
    if not told:
        return tr("The audit found no copies among the {things}.", things=things(noun))
    if run.recipe.get("split", {}).get("near_duplicates") == "drop":
        return tr("{copies}: one of each was kept.", copies=listed(told))
    return tr("{copies}: copies were kept together in one part.", copies=listed(told))


def _counted(kind: str, clusters: int, names: int, noun: str) -> str:
    """Copies of one kind: how many clusters of them there are, or, where that is not known, how many samples."""
    values = {"clusters": count(clusters), "n": count(names), "things": things(noun)}
    if kind == "near-copies":
        if not clusters:
            return tr("{n} near-duplicate {things}", **values)
        return trn(
            clusters, "{clusters} cluster of near-duplicates", "{clusters} clusters of near-duplicates", **values
        )
    if not clusters:
        return tr("{n} identical {things}", **values)
    return trn(clusters, "{clusters} set of identical {things}", "{clusters} sets of identical {things}", **values)
