"""The first box, and the proof that nothing leaks: recounted from ``split.csv`` while the page is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clearmargin.report.folder import StudyFiles
from clearmargin.report.wording import count, listed, plural

# The audit's words for copies that a split keeps together, and what is the same in them.
COPIES = {
    "image": {"exact-copies": "pixels", "near-copies": "picture"},
    "row": {"identical-rows": "inputs"},
}


@dataclass(frozen=True)
class Check:
    """One thing that must hold if nothing leaks, recounted from the files."""

    holds: bool
    statement: str
    detail: str


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
        detail = "It was evaluated on a test part that leaks; split.csv does not show it: one of them was changed."
        checks.append(Check(False, "evaluation.json says leaky", detail))
    return checks


def of_learned_groups(run: StudyFiles) -> set[str]:
    """Names of the tested samples of which others of the same group are in another part."""
    rows = run.split_rows
    tested = rows["part"] == run.evaluation.get("part", "test")
    return set(rows["name"][tested & rows["group"].isin(set(rows["group"][~tested]))])


def _groups_stay_together(run: StudyFiles, noun: str) -> Check:
    parts_of_group = run.split_rows.groupby("group")["part"].nunique()
    crossing, groups = int((parts_of_group > 1).sum()), len(parts_of_group)
    unit = (
        "patients or groups"
        if run.split["patients"]
        else f"{noun}s or sets of {'copies' if noun == 'image' else f'identical {noun}s'}"
    )
    detail = f"{count(groups)} {unit} were placed, each as a whole."
    if crossing:
        detail = f"Of {count(groups)} {unit}, so many lie in more than one part: the results are too good."
    consistent = crossing == run.split["crossing_groups"]
    if not consistent:
        detail += f" split.json says {count(run.split['crossing_groups'])}: one of the two files was changed."
    return Check(crossing == 0 and consistent, f"{plural(crossing, 'group')} in more than one part", detail)


def _tested_are_new(run: StudyFiles, tested: list[str], noun: str) -> Check:
    part = run.evaluation.get("part", "test")
    placed = dict(zip(run.split_rows["name"], run.split_rows["part"], strict=True))
    looked_up = f"All {count(len(tested))} names were looked up in split.csv"
    seen = sum(placed.get(name) != part for name in tested)
    if seen:
        detail = f"{looked_up}: these belong to another part, or to none."
        return Check(False, f"{plural(seen, f'tested {noun}')} seen before", detail)
    related = len(of_learned_groups(run).intersection(tested))
    if related:
        detail = f"{looked_up}: of these, others of the same group (a patient, or copies) are in another part."
        return Check(False, f"{plural(related, f'tested {noun}')} of a group also learned from", detail)
    detail = f"{looked_up}: none belongs to another part, or to a group of which anything is in another part."
    return Check(True, f"0 tested {noun}s seen before", detail)


def _copies_stay_together(run: StudyFiles, noun: str) -> Check:
    named = {kind: _named(run, kind) for kind in COPIES[noun]}
    everyone = set().union(*named.values())
    rows = run.split_rows[run.split_rows["name"].isin(everyone)]
    split_up = rows.groupby("group")["part"].nunique() > 1
    apart = int(split_up.sum()) + _pairs_apart(run, noun, set(split_up.index[split_up]))
    said = "; ".join(_told(kind, names, noun) for kind, names in named.items() if names)
    if not everyone:
        detail = f"The audit found no two {noun}s with the same {listed(list(COPIES[noun].values()))}."
    elif apart:
        detail = f"{said}. Some lie in different parts."
    else:
        left_out = len(everyone) - len(rows)
        detail = f"{said}; {f'repeats left out: {count(left_out)}' if left_out else 'copies share a part'}."
    return Check(apart == 0, f"{plural(apart, 'set')} of copies split up", detail)


def _told(kind: str, names: set[str], noun: str) -> str:
    many = len(names)
    if kind == "near-copies":
        return f"{plural(many, noun)} {'is a near-duplicate' if many == 1 else 'are near-duplicates'} of another"
    return f"{plural(many, noun)} {'has' if many == 1 else 'have'} an identical twin"


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

    Of a table whose rows nobody says to depend on each other it says nothing more.
    """
    failed = [check.statement for check in checks if not check.holds]
    told = []
    if failed:
        marked = "Every figure that suffers from it is marked with the word leaky."
        told.append(Standing("leaky", "Leaky: the test part is not clean.", f"{listed(failed)}. {marked}"))
    kept = "" if failed else _kept_together(run, noun)
    if not run.split["patients"] and noun == "image":
        title = "Image-level split: optimistic if slices of one patient are in both parts."
        detail = f"The source does not say of every image which others it belongs with. {kept}"
        told.append(Standing("careful", title, detail))
    elif run.split["patients"] and not failed:
        title = "Split by patient or group: none is in more than one part."
        told.append(Standing("sound", title, f"{count(run.split_rows['group'].nunique())} were placed. {kept}"))
    return told


def _kept_together(run: StudyFiles, noun: str) -> str:
    """How many clusters of near-duplicates and sets of identical samples stayed whole, as the checks recount."""
    by_kind = {finding["kind"]: finding for finding in run.audit["findings"] if finding["kind"] in COPIES[noun]}
    told = []
    for kind, finding in by_kind.items():
        near, clusters = kind == "near-copies", (finding.get("evidence") or {}).get("clusters")
        if clusters:
            of = "near-duplicates" if near else f"identical {noun}s"
            told.append(f"{plural(clusters, 'cluster' if near else 'set')} of {of}")
        else:
            told.append(f"{count(len(_named(run, kind)))} {'near-duplicate' if near else 'identical'} {noun}s")
    if not told:
        return f"The audit found no copies among the {noun}s."
    dropped = run.recipe.get("split", {}).get("near_duplicates") == "drop"
    return f"{listed(told)}: {'one of each was kept' if dropped else 'copies were kept together in one part'}."
