"""Check a run folder: every number of ``evaluation.json`` is computed anew from the predictions.

Needs Python 3.11 and numpy, nothing else: this file imports nothing of the program that wrote the run, and a copy of it
lies in every run folder. It was written apart from that program, with other algorithms where there are any: areas under
curves by counting pairs in blocks of equal scores, binomial tests in whole numbers, quantiles of Student's t by
bisection over a continued fraction. The bootstrap's draws are those that the program documents (numpy's ``default_rng``
with the seed of the study), so that the same resamples come up and the limits agree to the last digits.

    python check.py [RUN]            RUN is the folder this file lies in when it is not given
    python -m clearmargin.check RUN

In a run folder that somebody else gave you, this file is theirs: check it with a copy of your own.

What it does, in this order; each part is a section of this file:

1. reads predictions.csv of every contender, split.csv, model.json, recipe.toml and evaluation.json;
2. looks at what holds the files together: groups in one part only, the same samples in split and predictions, hashes of
   weights, of files and of sealed records, the chain of the ledger;
3. computes every block of evaluation.json (the table BLOCKS), and of tuning.json where settings were searched, and
   compares it number by number;
4. compares the numbers printed in the first table of report.html, and in its section on a search.

A number of evaluation.json that no block computes is a failure, unless the table GIVEN says why it can't be computed
from these files. Exit status: 0 all agrees, 1 something differs, 2 the folder can't be checked.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from html import unescape
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # two numbers agree when they are as near as one of these says
ROUNDING = 1e-12  # the program takes smaller differences for none
PARTS = ("train", "validation", "test")
Tree = Any  # what JSON holds
Path_ = tuple[str | int, ...]


class BadInput(Exception):
    """The folder can't be checked: the message says why."""


# ---------------------------------------------------------------------------------------------------------------------
# 1. Reading
# ---------------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Tree:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is missing or damaged: {error}") from error


def read_columns(path: Path) -> dict[str, list[str]]:
    """Columns of a CSV file as text. An apostrophe in front keeps a cell from being a formula: it is taken off."""
    try:
        with path.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path} is missing or damaged: {error}") from error
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise BadInput(f"{path} is not a table: its rows are not all of the same length.")
    names = [name.removeprefix("'") for name in rows[0]]
    return {name: [row[place].removeprefix("'") for row in rows[1:]] for place, name in enumerate(names)}


@dataclass(frozen=True)
class Answers:
    """What one contender says of one part.

    ``values`` are probabilities (samples, classes), or of a regression the predicted numbers (samples,).
    """

    names: list[str]
    labels: list[str]
    groups: list[str]
    predicted: list[str]
    classes: list[str]
    values: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """Column of the true class, (samples,); of a regression the true numbers."""
        if not self.classes:
            return np.array(self.labels, dtype=np.float64)
        place = {name: number for number, name in enumerate(self.classes)}
        return np.array([place[label] for label in self.labels], dtype=np.int64)

    @cached_property
    def units(self) -> np.ndarray:
        """Group of each sample, numbered as they appear; a sample without one is its own, (samples,)."""
        seen: dict[Any, int] = {}
        keys = (group or ("alone", row) for row, group in enumerate(self.groups))
        return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def read_answers(path: Path) -> dict[str, Answers]:
    """By part."""
    table = read_columns(path)
    true = "label" if "label" in table else "target"
    classes = [name[2:-1] for name in table if name.startswith("P(") and name.endswith(")")]
    needed = ["part", "name", true, "group", "predicted"]
    if list(table) != needed + [f"P({name})" for name in classes]:
        raise BadInput(f"{path} has other columns than predictions have: {list(table)[:8]}")
    try:
        own = [table[f"P({name})"] for name in classes] or [table["predicted"]]
        values = np.array(own, dtype=np.float64).T
    except ValueError as error:
        raise BadInput(f"{path} holds what is not a number: {error}") from error
    if not np.isfinite(values).all():
        raise BadInput(f"{path} holds a number that is not finite.")
    found = {}
    for part in dict.fromkeys(table["part"]):
        rows = [row for row, own_part in enumerate(table["part"]) if own_part == part]
        names, labels, groups, predicted = ([table[name][row] for row in rows] for name in needed[1:])
        own_values = values[rows] if classes else values[rows, 0]
        found[part] = Answers(names, labels, groups, predicted, classes, own_values)
    return found


class Round:
    """A folder with a split and what contenders said on it: the run itself, or one of its repeats."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.split = read_columns(folder / "split.csv")
        self.places = {}
        for path in sorted(folder.glob("contenders/*/model.json")):
            self.places[str(read_json(path)["name"])] = path.parent
        if not self.places:
            raise BadInput(f"{folder} holds no contenders/*/model.json: is it a finished run?")

    @cached_property
    def models(self) -> dict[str, Tree]:
        return {name: read_json(place / "model.json") for name, place in self.places.items()}

    @cached_property
    def answers(self) -> dict[str, dict[str, Answers]]:
        """By contender and part."""
        return {name: read_answers(place / "predictions.csv") for name, place in self.places.items()}

    @cached_property
    def baselines(self) -> dict[str, Answers]:
        """What simple methods say of the test part of a regression, by the name of their folder."""
        paths = sorted(self.folder.glob("baselines/*/predictions.csv"))
        return {path.parent.name: read_answers(path)["test"] for path in paths}

    @cached_property
    def leaky(self) -> bool:
        """Whether a group is in two parts."""
        return bool(crossing(self.split))


class Study(Round):
    """The run folder."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "evaluation.json").is_file():
            raise BadInput(f"{folder} holds no evaluation.json: expected the folder of a finished run.")
        self.evaluation = read_json(folder / "evaluation.json")
        if not isinstance(self.evaluation, dict) or self.evaluation.get("format") != 1:
            raise BadInput(f"{folder / 'evaluation.json'} is not of format 1, which this checker knows.")
        super().__init__(folder)
        try:
            self.recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8", errors="surrogateescape"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{folder / 'recipe.toml'} is missing or damaged: {error}") from error
        self.asked: dict[str, Any] = self.recipe.get("evaluation", {})
        self.confidence = float(self.asked.get("confidence", 0.95))
        self.resamples = int(self.asked.get("resamples", 2000))
        self.seed = int(self.recipe.get("seed", 0))
        order = [str(one["name"]) for one in self.recipe.get("contender", [])]
        self.names = [name for name in order if name in self.places]
        self.task = str(self.evaluation.get("task"))

    @cached_property
    def test(self) -> dict[str, Answers]:
        """What each contender says of the test part."""
        return {name: self.answers[name]["test"] for name in self.names}

    @cached_property
    def first(self) -> Answers:
        return self.test[self.names[0]]

    @property
    def n(self) -> int:
        return len(self.first.names)

    @property
    def n_units(self) -> int:
        return int(self.first.units.max()) + 1

    @property
    def clustered(self) -> bool:
        return self.n_units < self.n

    def draws(self, row_elements: int) -> Iterator[np.ndarray]:
        """How often each group comes up in each resample, (some resamples, groups): the documented draws."""
        rng = np.random.default_rng([self.seed, 0])
        for size in chunks(self.resamples, row_elements):
            drawn = rng.integers(0, self.n_units, size=(size, self.n_units))
            yield np.stack([np.bincount(row, minlength=self.n_units) for row in drawn]).astype(np.float64)

    def distances(self, name: str) -> dict[str, np.ndarray]:
        """How far the images of each part lie from the training part."""
        return read_distances(self.places[name])

    @cached_property
    def resampled(self) -> dict[str, dict[str, np.ndarray]]:
        """By contender and metric, (resamples, …)."""
        return resample_classification(self)

    @cached_property
    def rounds(self) -> list[tuple[str, Round]]:
        """Name and files of each time the study was done: by seed, by fold in it, by initialisation in that."""
        folds = int(self.recipe.get("split", {}).get("folds", 0))
        found: list[tuple[str, Round]] = []
        for seed in range(self.seed, self.seed + int(self.asked.get("repeats", 1))):
            for fold in range(1, max(folds, 1) + 1):
                for initialisation in range(1, self.initialisations + 1):
                    steps = [f"seed-{seed}", f"fold-{fold}" * bool(folds), f"init-{initialisation}"]
                    place = "/".join(filter(None, steps[: 3 if initialisation > 1 else 2]))
                    found.append((place, Round(self.folder / "repeats" / place) if found else self))
        return found

    @property
    def initialisations(self) -> int:
        """How often each split was trained on."""
        return int(self.asked.get("initialisations", 1))


def chunks(resamples: int, row_elements: int) -> Iterator[int]:
    """The documented sizes of the pieces that resamples are drawn in."""
    size = max(1, 2**20 // row_elements)
    for done in range(0, resamples, size):
        yield min(size, resamples - done)


def crossing(split: Mapping[str, Sequence[str]]) -> set[str]:
    """Groups that are in more than one part."""
    parts: dict[str, set[str]] = {}
    for group, part in zip(split["group"], split["part"], strict=True):
        parts.setdefault(group, set()).add(part)
    return {group for group, own in parts.items() if len(own) > 1}


# ---------------------------------------------------------------------------------------------------------------------
# 2. What holds the files together
# ---------------------------------------------------------------------------------------------------------------------


def file_problems(study: Study) -> Iterator[str]:
    """What does not belong together, as sentences."""
    rounds: list[tuple[str, Round]] = [(study.folder.name, study)]
    if "repeats" in study.evaluation:
        rounds += study.rounds[1:]
    if set(study.names) != set(study.evaluation.get("contenders", {})):
        yield f"evaluation.json speaks of {list(study.evaluation.get('contenders', {}))}, the folders of {study.names}."
    yield from divergence_problems(study)
    for told, one in rounds:
        for problem in [*split_problems(one), *prediction_problems(one), *weight_problems(one)]:
            yield f"{told}: {problem}"
    if study.leaky != bool(study.evaluation.get("leaky")):
        yield f"split.csv has groups in two parts: {study.leaky}; evaluation.json says leaky: {not study.leaky}."
    yield from hash_problems(study)
    yield from ledger_problems(study, [one for _, one in rounds])


def divergence_problems(study: Study) -> Iterator[str]:
    """Contenders of the recipe that have neither a result nor a record of having diverged, and the other way round."""
    asked = {str(one["name"]) for one in study.recipe.get("contender", [])}
    recorded = {str(read_json(path)["name"]) for path in study.folder.glob("contenders/*/diverged.json")}
    said = set(study.evaluation.get("diverged", {}))
    if not asked - set(study.names) == said == recorded:
        yield f"evaluation.json says that {sorted(said)} diverged; the folders say so of {sorted(recorded)}."
    over_rounds = set(study.evaluation.get("repeats", {}).get("diverged", {}))
    if over_rounds != set(diverged_in_rounds(study)):
        yield f"evaluation.json says that {sorted(over_rounds)} diverged in a round; the folders say otherwise."


def diverged_in_rounds(study: Study) -> list[str]:
    """Contenders that diverged in the run or in one of its repeats."""
    if "repeats" not in study.evaluation:
        return []
    paths = (path for _, one in study.rounds for path in sorted(one.folder.glob("contenders/*/diverged.json")))
    return [str(read_json(path)["name"]) for path in paths]


def split_problems(one: Round) -> Iterator[str]:
    across = crossing(one.split)
    if len(set(one.split["name"])) != len(one.split["name"]):
        yield "split.csv names a sample twice."
    if set(one.split["part"]) - set(PARTS):
        yield "split.csv has a part that is none of train, validation and test."
    path = one.folder / "split.json"
    told = read_json(path) if path.is_file() else {}
    if across and not told.get("given"):
        yield f"split.csv: {len(across)} group(s) are in two parts, such as {sorted(across)[0]!r}."
    if told.get("crossing_groups", len(across)) != len(across):
        yield f"split.csv has {len(across)} group(s) in two parts, split.json says {told['crossing_groups']}."
    for part in PARTS:
        counted = one.split["part"].count(part)
        if "counts" in told and sum(told["counts"].get(part, {}).values()) != counted:
            yield f"split.csv has {counted} samples in {part}, split.json another number."


def prediction_problems(one: Round) -> Iterator[str]:
    where: dict[str, dict[str, tuple[str, str]]] = {part: {} for part in PARTS}
    for name, label, group, part in zip(*(one.split[key] for key in ("name", "label", "group", "part")), strict=True):
        where[part][name] = (label, group)
    sets = [(name, part, said) for name, parts in one.answers.items() for part, said in parts.items()]
    sets += [(name, "test", said) for name, said in one.baselines.items()]
    for name, part, said in sets:
        numeric = not said.classes
        same = len(said.names) == len(where[part])
        for sample, label, group in zip(said.names, said.labels, said.groups, strict=True):
            known = where[part].get(sample)
            if known is None or known[1] != group:
                same = False
                continue
            same = same and (float(known[0]) == float(label) if numeric else known[0] == label)
        if not same:
            yield f"{name}: the {part} samples of predictions.csv are not those of split.csv, with label and group."
        if said.classes and [said.classes[k] for k in said.values.argmax(axis=1)] != said.predicted:
            yield f"{name}: a predicted class of the {part} part is not the most probable one."
        if said.classes and np.abs(said.values.sum(axis=1) - 1).max(initial=0) > 1e-6:
            yield f"{name}: probabilities of the {part} part don't sum to one."


def weight_problems(one: Round) -> Iterator[str]:
    for name, place in one.places.items():
        kept = [place / file for file in ("model.safetensors", "model.onnx") if (place / file).is_file()]
        if isinstance(one, Study) and not kept:
            yield f"{name}: its weights are missing."
        if any(sha256(path) != one.models[name].get("weights_sha256") for path in kept):
            yield f"{name}: its weights are not those that model.json names by SHA-256."


def hash_problems(study: Study) -> Iterator[str]:
    """Files that the figures rest on, and sealed records."""
    for name, digest in study.evaluation.get("rests_on", {}).items():
        path = study.folder / name
        if not path.is_file() or sha256(path) != digest:
            yield f"{name} is not the file that the figures were computed from (another SHA-256)."
    for path in sorted(study.folder.glob("contenders/*/done.json")):
        for name, digest in read_json(path)["files"].items():
            left = path.parent / name
            if not left.is_file() or sha256(left) != digest:
                yield f"{left.relative_to(study.folder)} is not the file that its contender left (another SHA-256)."
    patterns = (
        *("leakage.json", "control.json", "tuning/tuning.json", "external/*/external.json"),
        *("contenders/*/model.json", "contenders/*/done.json"),
    )
    for path in sorted(path for pattern in patterns for path in study.folder.glob(pattern)):
        for sealed in sealed_records(read_json(path)):
            bare = {key: value for key, value in sealed.items() if key != "content_sha256"}
            if json_sha256(bare) != sealed["content_sha256"]:
                yield f"{path.relative_to(study.folder)} was edited: its content_sha256 is that of other figures."


def sealed_records(tree: Tree) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "content_sha256" in tree:
            yield tree
        for value in tree.values():
            yield from sealed_records(value)


def read_chain(path: Path) -> list[dict[str, Any]]:
    """Entries of a ledger as far as its chain holds; the number of the first that does not follow is an error."""
    if not path.is_file():
        raise ValueError("ledger.jsonl is missing.")
    previous, entries = "0" * 64, []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = json.loads(line)
            bare = {key: value for key, value in entry.items() if key != "hash"}
            sound = entry["previous"] == previous and entry["hash"] == json_sha256(bare)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise ValueError(f"ledger.jsonl was edited: entry {number} does not follow from the one before.")
        previous = entry["hash"]
        entries.append(entry)
    return entries


def ledger_problems(study: Study, rounds: Sequence[Round]) -> Iterator[str]:
    try:
        entries = read_chain(study.folder / "ledger.jsonl")
    except ValueError as error:
        yield str(error)
        return
    heads = [study.evaluation.get("ledger_head")]
    heads += [read_json(path).get("ledger_head") for path in sorted(study.folder.glob("external/**/*.json"))]
    for head in filter(None, heads):
        if head not in {entry["hash"] for entry in entries}:
            yield "ledger.jsonl was cut off or replaced: the entry that the figures name is not in it."
    for one in rounds:
        if not any(is_of(entry, one) for entry in entries):
            yield f"ledger.jsonl has no entry of the models in {one.folder.name}: one of them was changed."
    for place, entry in enumerate(entries):
        if entry["number"] != 1 + sum(one["test_part"] == entry["test_part"] for one in entries[:place]):
            yield f"ledger.jsonl: entry {place + 1} is not evaluation number {entry['number']} of its test part."


def is_of(entry: Mapping[str, Any], one: Round) -> bool:
    """Whether an entry of the ledger is of the models that a folder holds."""
    weights = {name: model.get("weights_sha256") for name, model in one.models.items()}
    models = {name: sha256(place / "model.json") for name, place in one.places.items()}
    return entry["weights"] == weights and entry.get("models", models) == models


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(content: Tree) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# 3a. Distributions and tests
# ---------------------------------------------------------------------------------------------------------------------


def incomplete_beta(a: float, b: float, x: float, turned: bool = False) -> float:
    """Regularised incomplete beta function, by its continued fraction (Press et al., Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if not turned and x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x, turned=True)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    tiny, c, d = 1e-300, 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + top * d) or tiny)
            c = (1 + top / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 3e-16:
            break
    return front * fraction / a


def bisected(rising: Callable[[float], float], goal: float, low: float, high: float) -> float:
    """Where a rising function reaches the goal."""
    middle = (low + high) / 2
    while low < middle < high:
        low, high = (middle, high) if rising(middle) < goal else (low, middle)
        middle = (low + high) / 2
    return middle


def t_tail(t: float, degrees: float) -> float:
    """P(T > t) for t of 0 or more; by that of the two complementary forms that keeps its digits."""
    if t * t < degrees:
        return (1 - incomplete_beta(0.5, degrees / 2, t * t / (degrees + t * t))) / 2
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2


def t_quantile(tail: float, degrees: float) -> float:
    high = 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    return bisected(lambda t: -t_tail(t, degrees), -tail, 0.0, high)


def binomial_lower(most: int, n: int) -> tuple[int, int]:
    """How many of the 2**n outcomes of n coins show at most ``most`` heads, and exactly so many."""
    total, ways = 0, 1
    for heads in range(most + 1):
        total += ways
        last, ways = ways, ways * (n - heads) // (heads + 1)
    return total, last


def mcnemar(one: int, other: int) -> tuple[float, float, float]:
    """Exact p, mid-p, and P(Beta(one + 1, other + 1) < 1/2), in whole numbers until the last division."""
    n, fewer = one + other, min(one, other)
    total, seen = binomial_lower(fewer, n)
    exact = min(1.0, 2 * total / 2**n)
    mid = min(1.0, (2 * total - seen) / 2**n) if n else 1.0
    return exact, mid, binomial_lower(other, n + 1)[0] / 2 ** (n + 1)


def most_patterns(first: int, tests: int, confidence: float) -> int:
    """So many random patterns that 20 are as far where p times the tests is the level; at least the first ones."""
    return max(first, math.ceil(20 * tests / round(1 - confidence, 12)))


def random_p(as_far: Callable[[int], int], width: int, first: int, most: int) -> float:
    """Share of random patterns as far from zero, the observed one among them; more of them while fewer than 20 are."""
    found = drawn = 0
    for size in (*chunks(first, width), *chunks(max(0, most - first), width)):
        if drawn < first or found < 20:
            found, drawn = found + as_far(size), drawn + size
    return (found + 1) / (drawn + 1)


def sign_flips(differences: np.ndarray, first: int, most: int, seed: int) -> float:
    """Random patterns of signs, and how far from zero the sum is."""
    moving = differences[differences != 0]
    if not moving.size:
        return 1.0
    rng = np.random.default_rng([seed, 1])

    def as_far(size: int) -> int:
        signs = np.where(rng.integers(0, 2, size=(size, moving.size)) == 1, 1.0, -1.0)
        return int((np.abs((signs * moving).sum(axis=1)) >= abs(moving.sum()) - ROUNDING).sum())

    return random_p(as_far, moving.size, first, most)


def holm(p_values: Sequence[float]) -> list[float]:
    """The largest of (m − j) p_j over all p_j that are no larger."""
    ordered = sorted(p_values)
    m = len(ordered)
    return [max(min(1.0, (m - j) * q) for j, q in enumerate(ordered[: ordered.index(p) + 1])) for p in p_values]


# ---------------------------------------------------------------------------------------------------------------------
# 3b. Intervals
# ---------------------------------------------------------------------------------------------------------------------


def figure(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": known(value), "low": known(low), "high": known(high)}


def known_or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """The two p at which (share − p)² = quantile² p (1 − p) / n: roots of a quadratic."""
    share, quantile = successes / n, NormalDist().inv_cdf((1 + confidence) / 2)
    a, b, c = n + quantile**2, -(2 * share * n + quantile**2), share**2 * n
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    high = (-b + root) / (2 * a)
    low = c / (a * high) if high else 0.0
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def all_or_none(successes: int, n: float, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson for no success, or for successes only: an n-th root."""
    edge = ((1 - confidence) / 2) ** (1 / n)
    return (edge, 1.0) if successes else (0.0, 1 - edge)


def some_right(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson for some, not all: where the incomplete beta function reaches either tail."""
    tail = (1 - confidence) / 2
    low = bisected(lambda p: incomplete_beta(successes, n - successes + 1, p), tail, 0.0, 1.0)
    high = bisected(lambda p: incomplete_beta(successes + 1, n - successes, p), 1 - tail, 0.0, 1.0)
    return low, high


def percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def spread_figure(value: float, limits: tuple[float, float]) -> dict[str, float | None]:
    """No limits where the resamples show no spread."""
    low, high = limits
    return figure(value, low, high) if high - low > 1e-12 * abs(value) else figure(value)


def share(right: np.ndarray, units: np.ndarray, confidence: float, clustered: bool) -> dict[str, float | None]:
    """A share of right answers: Wilson, or of clustered samples Clopper-Pearson by their effective number."""
    n, successes = len(right), int(right.sum())
    if not n:
        return figure(math.nan)
    if not clustered:
        return figure(successes / n, *wilson(successes, n, confidence))
    if successes in (0, n):
        return figure(successes / n, *all_or_none(successes, effective_number(units), confidence))
    _, units = np.unique(units, return_inverse=True)
    sizes, hits, p = np.bincount(units), np.bincount(units[right], minlength=units.max() + 1), successes / n
    groups = len(sizes)
    if groups == 1:
        return figure(p)
    # what leaving a group out moves the share by
    moved = (hits - p * sizes) / (n - sizes)
    variance = raised(float(moved @ moved) * (1 - 1 / groups), p * (1 - p), effective_number(units))
    worth = min(n, p * (1 - p) / variance)
    return figure(p, *some_right(p * worth, worth, confidence))


def raised(seen: float, spread: float, groups: float) -> float:
    """A twentieth of a group that is unlike the others more, up to what groups all alike within would show."""
    return max(seen, min(seen + 0.05 / (groups + 1) ** 2, spread / groups))


@dataclass(frozen=True)
class ClassMean:
    """Mean over the samples of one class, what each group adds to it (z), and how many groups these are worth."""

    mean: float
    n: int
    worth: float
    added: np.ndarray  # of each group that has samples of the class
    jackknife: float

    @property
    def squares(self) -> float:
        return float(self.added @ self.added)


def class_means(values: np.ndarray, truth: np.ndarray, units: np.ndarray) -> tuple[list[ClassMean], float]:
    """Of each class that has samples; and by which share their common groups raise the variance of the mean of all."""
    found, total = [], np.zeros(int(units.max()) + 1)
    for k in np.unique(truth):
        own, of = values[truth == k], units[truth == k]
        groups, place = np.unique(of, return_inverse=True)
        mean, n, sizes = float(own.mean()), len(own), np.bincount(place)
        added = np.bincount(place, (own - mean) / n)
        total[groups] += added
        left = np.maximum(n - sizes, 1)  # of a class in a single group nothing is left, and nothing is known
        jackknife = float(((added * n / left) ** 2).sum()) * (1 - 1 / len(groups))
        found.append(ClassMean(mean, n, effective_number(of), added, jackknife))
    squares = sum(one.squares for one in found)
    return found, max(0.0, (float(total @ total) - squares) / squares) if squares > 1e-24 else 0.0


def balanced(right: np.ndarray, truth: np.ndarray, units: np.ndarray, study: Study) -> dict[str, float | None]:
    """Balanced accuracy: the wider of two intervals, as documented."""
    classes, shared = class_means(right.astype(float), truth, units)
    value, k = sum(one.mean for one in classes) / len(classes), len(classes)
    if study.clustered and len(np.unique(units)) == 1:
        return figure(value)
    worths = [worth_of(one) if study.clustered else float(one.n) for one in classes]
    variances = []
    for one, worth in zip(classes, worths, strict=True):
        q = (one.mean * worth + 1) / (worth + 2)
        variances.append(q * (1 - q) / (worth + 2))
    alone = [j for j, one in enumerate(classes) if one.worth < 2]
    q = (sum(classes[j].mean for j in alone) + 1) / (len(alone) + 2)
    for j in alone:
        variances[j] = max(variances[j], q * (1 - q))
    quantile = NormalDist().inv_cdf((1 + study.confidence) / 2)
    if study.clustered:
        known = [(v, one.worth) for v, one in zip(variances, classes, strict=True) if one.worth >= 2]
        if known:
            degrees = sum(variances) ** 2 / sum(v**2 / worth for v, worth in known)
            quantile = t_quantile((1 - study.confidence) / 2, degrees)
    reach = quantile * math.sqrt((1 + shared) * sum(variances)) / k
    if study.clustered:
        low, high = weighted(right, truth, units, study.confidence)
    else:
        sides = np.array([wilson(round(one.mean * one.n), one.n, study.confidence) for one in classes])
        below, above = np.sqrt(((sides - np.array([[one.mean] for one in classes])) ** 2).sum(axis=0)) / k
        low, high = value - below, value + above
    return figure(value, max(0.0, min(low, value - reach)), min(1.0, max(high, value + reach)))


def worth_of(one: ClassMean) -> float:
    """How many independent samples tell as much of the share of a class."""
    spread = one.mean * (1 - one.mean)
    if one.mean in (0.0, 1.0) or one.worth < 2:
        return one.worth
    return min(float(one.n), spread / raised(one.jackknife, spread, one.worth))


def weighted(right: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson over groups with the same weight in all for each class."""
    shares = {k: float(right[truth == k].mean()) for k in np.unique(truth).tolist()}
    counts = {k: int((truth == k).sum()) for k in shares}
    weights = np.array([1 / (counts[k] * len(shares)) for k in truth.tolist()])
    groups = len(np.unique(units))
    worth = 1 / float((np.bincount(units, weights) ** 2).sum())
    if right.all() or not right.any():
        return all_or_none(int(right.all()), worth, confidence)
    apart = weights * (right - np.array([shares[k] for k in truth.tolist()]))
    seen = float((np.bincount(units, apart) ** 2).sum()) * groups / (groups - 1)
    share_of_all = sum(shares.values()) / len(shares)
    spread = share_of_all * (1 - share_of_all)
    worth = min(len(right), spread / raised(seen, spread, worth))
    return some_right(share_of_all * worth, worth, confidence)


def balanced_apart(study: Study, first: np.ndarray, second: np.ndarray) -> tuple[dict[str, float | None], float]:
    """Difference of two balanced accuracies by Student's t with a variance for each class, and its p-value."""
    classes, shared = class_means(first.astype(float) - second, study.first.truth, study.first.units)
    value = sum(one.mean for one in classes) / len(classes)
    shown = float(without_rounding(value))
    if study.n_units == 1:
        return figure(shown), 1.0
    alone = [one.mean**2 for one in classes if one.worth < 2]
    variances = []
    for one in classes:
        e = one.worth
        own = one.squares * e / (e - 1) if e > 1 else 0.0
        added = (e**2 * one.squares + 1 + 2 * e * one.mean**2 / (e + 2)) / (e + 2) ** 2
        variances.append(max(own, added, sum(alone) / len(alone) if e < 2 else 0.0))
    total = sum(variances)
    degrees = total**2 / sum(v**2 / max(1.0, one.worth - 1) for v, one in zip(variances, classes, strict=True))
    error = math.sqrt((1 + shared) * total) / len(classes)
    reach = t_quantile((1 - study.confidence) / 2, degrees) * error
    p_value = 2 * t_tail(abs(value) / error, degrees)
    return figure(shown, max(-1.0, value - reach), min(1.0, value + reach)), p_value


def paired(value: float, apart: np.ndarray, study: Study) -> dict[str, float | None]:
    return figure(value) if study.n_units == 1 else figure(value, *percentiles(apart, study.confidence))


def bca(value: float, resampled: np.ndarray, jackknife: np.ndarray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated; the plain percentiles where the correction is not finite."""
    defined, left = resampled[~np.isnan(resampled)], jackknife[~np.isnan(jackknife)]
    plain = percentiles(resampled, confidence)
    if not defined.size or not left.size:
        return plain
    lower, upper = np.quantile(defined, [0.25, 0.75])
    rounding = 1e-9 * (upper - lower) + 1e-12 * abs(value)  # sums in another order count as equal
    below = ((defined < value - rounding).sum() + (defined <= value + rounding).sum()) / (2 * defined.size)
    away = left.mean() - left
    if not 0 < below < 1 or not np.abs(away).max() > 0:
        return plain
    away = away / np.abs(away).max()
    normal, a = NormalDist(), float((away**3).sum() / (6 * (away**2).sum() ** 1.5))
    levels = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        reach = normal.inv_cdf(below) + normal.inv_cdf(tail)
        if 1 - a * reach <= 0:
            return plain
        levels.append(normal.cdf(normal.inv_cdf(below) + reach / (1 - a * reach)))
    low, high = np.quantile(defined, levels)
    return float(low), float(high)


# ---------------------------------------------------------------------------------------------------------------------
# 3c. Classification
# ---------------------------------------------------------------------------------------------------------------------


def over(top: Any, bottom: Any) -> np.ndarray:
    """A ratio; NaN where the bottom is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, dtype=np.float64), bottom)
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    return over(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def confusion_of(said: Answers) -> np.ndarray:
    counts = np.zeros((len(said.classes),) * 2)
    np.add.at(counts, (said.truth, said.values.argmax(axis=1)), 1)
    return counts


def class_figures(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Of each class against the rest, (…, classes)."""
    hit = np.einsum("...kk->...k", confusion)
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = true.sum(axis=-1)[..., None]
    rejected = total - true - said + hit  # rightly
    return {
        "recall": over(hit, true),
        "precision": over(hit, said),
        "specificity": over(rejected, total - true),
        "npv": over(rejected, total - said),
        "f1": over(2 * hit, true + said),
    }


def overall_figures(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Of all classes together, (…)."""
    each = class_figures(confusion)
    hit, total = np.einsum("...kk->...", confusion), confusion.sum(axis=(-2, -1))
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    chance = (true * said).sum(axis=-1)
    spread = np.sqrt(total**2 - (true**2).sum(axis=-1)) * np.sqrt(total**2 - (said**2).sum(axis=-1))
    mcc = np.where(spread == 0, np.where(total > 0, 0.0, np.nan), np.clip(over(hit * total - chance, spread), -1, 1))
    return {
        "accuracy": over(hit, total),
        "balanced_accuracy": mean_of_defined(each["recall"]),
        "macro_f1": mean_of_defined(each["f1"]),
        "mcc": mcc,
        "kappa": over(over(hit, total) - over(chance, total**2), 1 - over(chance, total**2)),
    }


def block_numbers(scores: np.ndarray) -> np.ndarray:
    """Samples with the same score share a number, ascending, (samples,)."""
    return np.unique(scores, return_inverse=True)[1]


def area(blocks: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve: pairs in which the positive has the higher score, ties one half, over all pairs."""
    ups = np.bincount(blocks, weights * positive)
    downs = np.bincount(blocks, weights * ~positive)
    below = np.cumsum(downs) - downs / 2
    pairs = ups.sum() * downs.sum()
    return float((ups * below).sum() / pairs) if pairs else math.nan


def areas(said: Answers) -> np.ndarray:
    """Of each class against the rest."""
    whole = np.ones(len(said.names))
    return np.array([area(block_numbers(said.values[:, k]), said.truth == k, whole) for k in range(len(said.classes))])


def sample_losses(said: Answers) -> np.ndarray:
    given = said.values[np.arange(len(said.names)), said.truth]
    return -np.log(np.maximum(given, np.finfo(np.float64).eps).clip(max=1.0))


def sample_briers(said: Answers) -> np.ndarray:
    """Squared distance of the probabilities from the truth, 0 to 2."""
    return ((said.values - np.eye(len(said.classes))[said.truth]) ** 2).sum(axis=1)


def wins(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Of each sample the share of the other side that it is on the right side of, ties one half."""
    blocks = block_numbers(scores)
    ups, downs = np.bincount(blocks, positive), np.bincount(blocks, ~positive)
    below, above = np.cumsum(downs) - downs / 2, ups.sum() - np.cumsum(ups) + ups / 2
    return np.where(positive, below[blocks] / downs.sum(), above[blocks] / ups.sum())


def area_influence(said: Answers) -> np.ndarray:
    """What a little more weight on each sample adds to the mean area, (samples,)."""
    total, counted = np.zeros(len(said.names)), 0
    for k in range(len(said.classes)):
        positive = said.truth == k
        if positive.any() and not positive.all():
            won = wins(said.values[:, k], positive)
            total += (won - won[positive].mean()) / np.where(positive, positive.sum(), (~positive).sum())
            counted += 1
    return total / max(counted, 1)


def point_figures(said: Answers) -> dict[str, float]:
    """The figures of one contender on the samples as they are."""
    values = {name: float(value) for name, value in overall_figures(confusion_of(said)).items()}
    mistakes = int((said.values.argmax(axis=1) != said.truth).sum())
    return {
        **values,
        "auc": float(mean_of_defined(areas(said))),
        "log_loss": float(sample_losses(said).mean()),
        "brier": float(sample_briers(said).mean()),
        "errors": mistakes,
    }


def resample_classification(study: Study) -> dict[str, dict[str, np.ndarray]]:
    """Every contender's figures on the documented resamples of the groups."""
    k = len(study.first.classes)
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in study.names}
    prepared = {}
    for name, said in study.test.items():
        cells = said.truth * k + said.values.argmax(axis=1)
        prepared[name] = (cells, resampled_area(said), sample_losses(said), sample_briers(said))
    for weights in study.draws(max(study.n, 3 * k)):
        for row in weights:
            own = row[study.first.units]  # of each sample
            for name, (cells, mean_area, losses, briers) in prepared.items():
                confusion = np.bincount(cells, own, minlength=k * k).reshape(k, k)
                figures = {
                    **overall_figures(confusion),
                    "auc": mean_area(own),
                    "log_loss": own @ losses / own.sum(),
                    "brier": own @ briers / own.sum(),
                }
                for metric, value in figures.items():
                    found[name].setdefault(metric, []).append(value)
    return {name: {metric: np.array(values) for metric, values in own.items()} for name, own in found.items()}


def resampled_area(said: Answers) -> Callable[[np.ndarray], float]:
    """The mean area for weights of the samples; of more than 50 classes to first order, as documented."""
    k = len(said.classes)
    if k > 50:
        value, influence = float(mean_of_defined(areas(said))), area_influence(said)
        return lambda weights: value + float(weights @ influence)
    ranks = [(block_numbers(said.values[:, c]), said.truth == c) for c in range(k)]
    return lambda weights: float(mean_of_defined(np.array([area(blocks, yes, weights) for blocks, yes in ranks])))


def frame_block(study: Study) -> Tree:
    """What the evaluation was done on."""
    return {
        "classes": study.first.classes,
        "n": study.n,
        "groups": study.n_units,
        "clustered": study.clustered,
        "confidence": study.confidence,
        "resamples": study.resamples,
        "seed": study.seed,
    }


def baseline_block(study: Study) -> Tree:
    """Always the commonest class of the training part."""
    said = study.first
    learned = [label for label, part in zip(study.split["label"], study.split["part"], strict=True) if part == "train"]
    counts = [learned.count(name) for name in said.classes]
    majority = counts.index(max(counts))
    present = np.unique(said.truth)
    return {
        "class": said.classes[majority],
        "accuracy": float((said.truth == majority).mean()),
        "balanced_accuracy": float(majority in present) / len(present),
    }


def metrics_block(study: Study, name: str) -> Tree:
    said, resampled = study.test[name], study.resampled[name]
    values = point_figures(said)
    right = said.values.argmax(axis=1) == said.truth
    record: dict[str, Any] = {"accuracy": share(right, said.units, study.confidence, study.clustered)}
    record["balanced_accuracy"] = balanced(right, said.truth, said.units, study)
    for metric in ("macro_f1", "mcc", "kappa", "auc", "log_loss", "brier"):
        record[metric] = spread_figure(values[metric], percentiles(resampled[metric], study.confidence))
    return record


def per_class_block(study: Study, name: str) -> Tree:
    said = study.test[name]
    figures = {**class_figures(confusion_of(said)), "auc": areas(said)}
    predicted = said.values.argmax(axis=1)
    rows = []
    for k, label in enumerate(said.classes):
        own = said.truth == k
        row: dict[str, Any] = {"class": label, "n": int(own.sum()), "groups": len(set(said.units[own].tolist()))}
        row |= {key: known(values[k]) for key, values in figures.items()}
        for key, asked in (("recall", own), ("specificity", ~own)):
            right = (predicted[asked] == k) == own[asked]
            limits = share(right, said.units[asked], study.confidence, study.clustered)
            row |= {f"{key}_low": limits["low"], f"{key}_high": limits["high"]}
        prevalence = study.asked.get("prevalence", {}).get(label)
        both = [
            share((predicted[asked] == k) == own[asked], said.units[asked], (1 + study.confidence) / 2, study.clustered)
            for asked in (own, ~own)
        ]
        middle = at_prevalence(both, "value", prevalence)
        row |= {f"{key}_at_prevalence": value for key, value in middle.items()}
        for end in ("low", "high"):
            limits = at_prevalence(both, end, prevalence)
            row |= {
                f"{key}_at_prevalence_{end}": None if middle[key] is None else limit for key, limit in limits.items()
            }
        rows.append(row)
    return rows


def at_prevalence(both: Sequence[Mapping[str, Any]], key: str, prevalence: float | None) -> dict[str, float | None]:
    """Predictive values by Bayes' rule, in odds: those before the answer times the likelihood ratio."""
    se, sp = both[0][key], both[1][key]
    if prevalence is None or se is None or sp is None:
        return {"ppv": None, "npv": None}
    odds = prevalence / (1 - prevalence)
    positive, negative = se * odds + 1 - sp, sp + (1 - se) * odds
    return {
        "ppv": se * odds / positive if positive else None,
        "npv": sp / negative if negative else None,
    }


def confusion_block(study: Study, name: str) -> Tree:
    return confusion_of(study.test[name]).astype(int).tolist()


def errors_block(study: Study, name: str) -> Tree:
    return point_figures(study.test[name])["errors"]


COMPARED = {
    "accuracy_difference": "accuracy",
    "auc_difference": "auc",
    "brier_difference": "brier",
    "log_loss_difference": "log_loss",
}


def without_rounding(values: Any) -> Any:
    return np.where(np.abs(values) < ROUNDING, 0.0, values)


def comparisons_block(study: Study) -> Tree:
    """Every pair: the one with the higher balanced accuracy first."""
    pairs = list(combinations(study.names, 2))
    records = [pair_record(study, *pair, len(pairs)) for pair in pairs]
    adjusted, of_accuracy = (holm([record[key] for record in records]) for key in ("p_value", "mcnemar_mid_p"))
    level = round(1 - study.confidence, 12)
    for record, p_holm, mcnemar_holm in zip(records, adjusted, of_accuracy, strict=True):
        clear = (record["difference"]["low"] or 0) > 0 and p_holm < level
        clear = clear and (study.clustered or mcnemar_holm < level)
        record |= {"p_holm": p_holm, "mcnemar_holm": mcnemar_holm}
        record["distinguishable"] = clear and record["only_first_right"] >= record["only_second_right"]
    return records


def pair_record(study: Study, one: str, other: str, pairs: int) -> dict[str, Any]:
    values = {name: point_figures(study.test[name]) for name in (one, other)}
    if values[other]["balanced_accuracy"] - values[one]["balanced_accuracy"] > ROUNDING:
        one, other = other, one
    right = {name: study.test[name].values.argmax(axis=1) == study.first.truth for name in (one, other)}
    only_first = int((right[one] & ~right[other]).sum())
    only_second = int((right[other] & ~right[one]).sum())
    differences: dict[str, Any] = {}
    differences["difference"], class_p = balanced_apart(study, right[one], right[other])
    flip_p = flips_by_group(study, right[one], right[other], pairs)
    for key, metric in COMPARED.items():
        apart = without_rounding(study.resampled[one][metric] - study.resampled[other][metric])
        value = float(without_rounding(values[one][metric] - values[other][metric]))
        differences[key] = figure(value) if math.isnan(value) else paired(value, apart, study)
        if metric == "auc":
            auc_p = None if math.isnan(value) or study.n_units == 1 else beyond_zero(apart)
            if len(study.first.classes) == 2 and not study.clustered and not math.isnan(value):
                differences[key], auc_p = delong(study, one, other, value)
        if metric == "accuracy":
            needed = samples_to_see(study, only_first, only_second, apart)
            beaten = int((apart <= 0).sum())
    exact, mid, as_good = mcnemar(only_first, only_second)
    if study.clustered:  # counting samples takes them for independent: groups are resampled
        as_good = (beaten + 1) / (study.resamples + 1)
    return {
        "first": one,
        "second": other,
        **differences,
        "auc_p": auc_p,
        "n_to_see_2_points": needed,
        "only_first_right": only_first,
        "only_second_right": only_second,
        "mcnemar_exact_p": exact,
        "mcnemar_mid_p": mid,
        "p_other_at_least_as_good": None if study.n_units == 1 else as_good,
        "flip_p": flip_p,
        "class_p": class_p,
        "p_value": max(flip_p, class_p),
    }


def beyond_zero(apart: np.ndarray) -> float | None:
    """Twice the smaller share of resamples on the other side of zero, the observed figure counted."""
    defined = apart[~np.isnan(apart)]
    if not defined.size:
        return None
    return min(1.0, 2 * (min(int((defined <= 0).sum()), int((defined >= 0).sum())) + 1) / (defined.size + 1))


def delong(study: Study, one: str, other: str, value: float) -> tuple[dict[str, float | None], float | None]:
    """The difference of two areas and its p after DeLong, DeLong & Clarke-Pearson (Biometrics 44 (1988) 837)."""
    apart = area_influence(study.test[one]) - area_influence(study.test[other])
    variance = 0.0
    for side in (study.first.truth == 0, study.first.truth == 1):
        if side.sum() < 2:
            return figure(value), None
        variance += float((apart[side] ** 2).sum() * side.sum() / (side.sum() - 1))
    error, normal = math.sqrt(variance), NormalDist()
    if not error > ROUNDING:
        return (figure(value, value, value), 1.0) if abs(value) <= ROUNDING else (figure(value), None)
    reach = normal.inv_cdf((1 + study.confidence) / 2) * error
    p_value = math.erfc(abs(value / error) / math.sqrt(2))
    return figure(value, max(-1.0, value - reach), min(1.0, value + reach)), p_value


def design_effect(resampled: np.ndarray, variance: float) -> float | None:
    """How many times more samples in groups are needed than independent ones."""
    found = float(np.var(resampled))
    return max(1.0, found / variance) if found > 1e-24 and variance > 1e-24 else None


def samples_to_see(study: Study, only_first: int, only_second: int, apart: np.ndarray) -> int | None:
    """Samples by which McNemar's test sees 2 points with 80 % power (Connor, Biometrics 43 (1987) 207)."""
    discordant, lead = (only_first + only_second) / study.n, (only_first - only_second) / study.n
    if only_first + only_second < 10:
        return None
    psi, delta, normal = max(discordant, 0.02), 0.02, NormalDist()
    root = normal.inv_cdf((1 + study.confidence) / 2) * math.sqrt(psi)
    root += normal.inv_cdf(0.8) * math.sqrt(psi - delta**2)
    needed = math.ceil(root**2 / delta**2 - 1e-9)
    if not study.clustered:
        return needed
    effect = design_effect(apart, (discordant - lead**2) / study.n)
    return None if effect is None else math.ceil(needed * effect)


def sample_size_block(study: Study) -> Tree:
    """Of the contender that needs most samples for an accuracy to within 3 points (the first of several)."""
    found = [{"contender": name, **size_for(study, name)} for name in study.names]
    return max(found, key=lambda block: block["n_for_3_points"])


def size_for(study: Study, name: str) -> dict[str, Any]:
    accuracy = metrics_block(study, name)["accuracy"]
    p, z = accuracy["value"], NormalDist().inv_cdf((1 + study.confidence) / 2)
    if p in (0.0, 1.0):
        p = (p * study.n + z**2 / 2) / (study.n + z**2)
    spread = p * (1 - p)
    effect = design_effect(study.resampled[name]["accuracy"], spread / study.n) if study.clustered else None
    within = {
        f"n_for_{points}_points": math.ceil(
            (effect or 1.0) * max(1, math.ceil(z**2 * spread / (points / 100) ** 2 - 1e-9))
        )
        for points in (5, 3)
    }
    low, high = accuracy["low"], accuracy["high"]
    half = None if low is None else (high - low) / 2
    return {"accuracy": p, "accuracy_half_width": half, "clustered": study.clustered, "design_effect": effect, **within}


def flips_by_group(study: Study, first: np.ndarray, second: np.ndarray, pairs: int) -> float:
    """Each class has the same weight in all, as in balanced accuracy."""
    truth, present = study.first.truth, len(set(study.first.truth.tolist()))
    won = (first.astype(float) - second) / (np.bincount(truth)[truth] * present)
    most = most_patterns(study.resamples, pairs, study.confidence)
    return sign_flips(np.bincount(study.first.units, won), study.resamples, most, study.seed)


# ---------------------------------------------------------------------------------------------------------------------
# 3d. What a contender knows: calibration, prediction sets, abstention, decision curve
# ---------------------------------------------------------------------------------------------------------------------

BINS = 15


def decision_of(study: Study, name: str) -> Tree:
    """What model.json keeps of what was fixed on the validation part."""
    return study.models[name]["decision"]


def test_share(study: Study, true: np.ndarray, among: np.ndarray) -> dict[str, float | None]:
    """A share of test samples among some, with its interval."""
    return share(true[among], study.first.units[among], study.confidence, study.clustered)


SAME_TEMPERATURE = 1e-6  # relative: logits are recovered from rounded probabilities


def fitted_temperature(learned: Answers, used: float) -> float:
    """The temperature of least log loss on the validation part, from probabilities after division by ``used``.

    Their logarithms are the logits over ``used``, up to a number for each sample that softmax takes out again. The
    slope of the loss over 1/T rises, so that its zero is found by bisection; 1 for fewer than 20 samples, and where
    every answer is right. That it equals ``used`` says that the probabilities are scaled as validation asks; of what
    the network said before, they hold no trace, so that ``used`` itself is bound by the ledger's hash alone.
    """
    rows, tiny = np.arange(len(learned.names)), np.finfo(np.float64).tiny
    logits = used * np.log(np.maximum(learned.values, tiny))
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[rows, learned.truth]
    if len(rows) < 20 or (own == 0).all():
        return 1.0

    def slope(log_inverse: float) -> float:
        raised = np.exp(logits * math.exp(log_inverse))
        return float((raised / raised.sum(axis=1, keepdims=True) * logits).sum(axis=1).mean() - own.mean())

    return math.exp(-bisected(slope, 0.0, math.log(0.1), math.log(10.0)))


def bins_of(confidences: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)


def reliability(said: Answers, values: np.ndarray) -> dict[str, Any]:
    """Reliability diagram, calibration errors and scores of some probabilities of the same samples."""
    n, k = values.shape
    confidences = values.max(axis=1).clip(0, 1)
    right = (values.argmax(axis=1) == said.truth).astype(float)
    place, true = bins_of(confidences), np.eye(k)[said.truth]
    rows: list[dict[str, Any]] = []
    for number in range(BINS):
        own = place == number
        some = bool(own.any())
        rows.append(
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "n": int(own.sum()),
                "confidence": float(confidences[own].mean()) if some else None,
                "accuracy": float(right[own].mean()) if some else None,
            }
        )
    gaps = [abs(row["confidence"] - row["accuracy"]) * row["n"] / n for row in rows if row["n"]]
    by_class = [np.abs(np.bincount(bins_of(values[:, c]), values[:, c] - true[:, c])).sum() / n for c in range(k)]
    own_probability = values[np.arange(n), said.truth].clip(np.finfo(np.float64).eps, 1)
    return {
        "bins": rows,
        "ece": math.fsum(gaps),
        "classwise_ece": float(np.mean(by_class)),
        "log_loss": float(-np.log(own_probability).mean()),
        "brier": float(((values - true) ** 2).sum(axis=1).mean()),
    }


def calibration_block(study: Study, name: str) -> Tree:
    said, decision = study.test[name], decision_of(study, name)
    raised = (said.values / said.values.max(axis=1, keepdims=True)) ** decision["temperature"]
    before = raised / raised.sum(axis=1, keepdims=True) if decision["temperature"] != 1 else said.values
    mean, high = perfect_errors(study, said)
    return {
        "temperature": decision["temperature"],
        "n_validation": len(study.answers[name]["validation"].names),
        **reliability(said, said.values),
        "ece_if_perfect": mean,
        "ece_if_perfect_high": high,
        "uncalibrated": reliability(said, before),
    }


def perfect_errors(study: Study, said: Answers) -> tuple[float | None, float | None]:
    """Known for independent samples alone."""
    return (None, None) if study.clustered else error_if_perfect(said.values.max(axis=1).clip(0, 1), study.seed)


def error_if_perfect(confidences: np.ndarray, seed: int) -> tuple[float, float]:
    """Calibration error if each answer were right with its own confidence: mean and 95th percentile of 1,000 draws."""
    ordered = confidences[np.argsort(bins_of(confidences), kind="stable")]
    places, rng = bins_of(ordered), np.random.default_rng([seed, 17])
    errors = []
    for _ in range(1000):
        drawn = rng.random(len(ordered)) < ordered
        errors.append(np.abs(np.bincount(places, ordered - drawn)).sum() / len(ordered))
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def rank_threshold(scores: np.ndarray, error_rate: float) -> float | None:
    """The score of rank ⌈(n + 1)(1 − error rate)⌉ from below; None when there are not so many."""
    rank = math.ceil((len(scores) + 1) * (1 - error_rate) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def threshold_place(units: np.ndarray, rate: float) -> tuple[int, int] | None:
    """Rank of the threshold among groups that are taken for one sample each, and how many these are."""
    n, rank = len(units), math.ceil((len(units) + 1) * (1 - rate) - 1e-9)
    if rank > n:
        return None
    among = math.floor(effective_number(units) + 1e-9)
    return max(1, math.ceil(Fraction(rank * among, n))), among


def expected_coverage(said: Answers, learned: Answers, rate: float, kind: str) -> list[float | None]:
    """5th and 95th percentile of the coverage; class by class from the documented draws."""
    if kind == "marginal":
        place = threshold_place(learned.units, rate)
        if place is None:
            return [1.0, 1.0]
        rank, among = place
        return [bisected(lambda x: incomplete_beta(rank, among + 1 - rank, x), tail, 0.0, 1.0) for tail in (0.05, 0.95)]
    pairs = set(zip(learned.units.tolist(), learned.truth.tolist(), strict=True))
    if len(pairs) > int(learned.units.max()) + 1:  # a group of several classes
        return [None, None]
    rng, kept = np.random.default_rng(23), []
    for k in range(len(said.classes)):
        place = threshold_place(learned.units[learned.truth == k], rate)
        kept.append(np.ones(10_000) if place is None else rng.beta(place[0], place[1] + 1 - place[0], 10_000))
    weights = np.bincount(said.truth, minlength=len(said.classes)) / len(said.truth)
    return [float(limit) for limit in np.quantile(weights @ np.stack(kept), (0.05, 0.95))]


def conformal_block(study: Study, name: str) -> Tree:
    """Prediction sets; the thresholds are computed anew from the validation part."""
    said, learned = study.test[name], study.answers[name]["validation"]
    rate, n, groups = float(study.asked.get("error_rate", 0.1)), len(learned.names), int(learned.units.max()) + 1
    scores = 1 - learned.values[np.arange(n), learned.truth]
    threshold = rank_threshold(scores, rate)
    by_class = {label: rank_threshold(scores[learned.truth == k], rate) for k, label in enumerate(said.classes)}
    kind = study.asked.get("conformal", "marginal")
    limits = [threshold] * len(said.classes) if kind == "marginal" else list(by_class.values())
    inside = 1 - said.values <= np.array([math.inf if limit is None else limit for limit in limits])
    covered, sizes = inside[np.arange(study.n), said.truth], inside.sum(axis=1)
    most, expected = min(len(said.classes), 20), expected_coverage(said, learned, rate, kind)
    per_class = [(label, said.truth == k) for k, label in enumerate(said.classes)]
    return {
        "error_rate": rate,
        "kind": kind,
        "n_validation": n,
        "validation_groups": groups,
        "threshold": threshold,
        "class_thresholds": by_class,
        "coverage": test_share(study, covered, np.ones(study.n, dtype=bool)),
        "expected_low": expected[0],
        "expected_high": expected[1],
        "mean_size": float(sizes.mean()),
        "sizes": [int((sizes.clip(max=most) == size).sum()) for size in range(most + 1)],
        "empty": int((sizes == 0).sum()),
        "per_class": [
            {"class": label, "n": int(own.sum()), "coverage": float(covered[own].mean()) if own.any() else None}
            for label, own in per_class
        ],
    }


def effective_number(units: np.ndarray) -> float:
    """Groups of one size that tell as much as these: ordered pairs of samples over those within a group."""
    return len(units) ** 2 / sum(int(size) ** 2 for size in np.unique(units, return_counts=True)[1])


def abstention_threshold(learned: Answers, target: float) -> tuple[float | None, str]:
    """The lowest confidence that keeps the error at the target, as documented; and whether it was reached."""
    confidences, right = learned.values.max(axis=1), learned.values.argmax(axis=1) == learned.truth
    starts, tail = (0.25, 0.5, 0.75, 1.0), (1 - 0.95) / 4
    if effective_number(learned.units) < math.ceil(math.log(tail) / math.log1p(-target) - 1e-9):
        return None, "few"
    descending, passed = -np.sort(-confidences), []
    for start in starts:
        for share_kept in np.arange(start, 1 + 0.025, 0.05):
            kept = max(1, math.ceil(min(share_kept, 1.0) * len(descending) - 1e-9))
            accepted = confidences >= descending[kept - 1]
            n = effective_number(learned.units[accepted])
            mistakes = float((~right[accepted]).mean()) * n
            # the upper limit is above the target when its Beta has more than the tail beyond the target
            if mistakes >= n or 1 - incomplete_beta(mistakes + 1, n - mistakes, target) > tail:
                break
            passed.append(float(descending[kept - 1]))
    return (min(passed), "reached") if passed else (None, "not-reached")


def risk_curve(confidences: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Error among the k surest, k = 1 … n; equal confidences share their mistakes."""
    blocks = block_numbers(-confidences)
    shared = np.bincount(blocks, wrong) / np.bincount(blocks)
    return np.cumsum(shared[np.sort(blocks)]) / np.arange(1, len(wrong) + 1)


def abstention_block(study: Study, name: str) -> Tree:
    """Which answers count; the threshold is computed anew from the validation part."""
    said, learned = study.test[name], study.answers[name]["validation"]
    target = float(study.asked.get("abstain_error", 0.05))
    threshold, outcome = abstention_threshold(learned, target)
    confidences, wrong = said.values.max(axis=1), said.values.argmax(axis=1) != said.truth
    accepted = np.full(study.n, outcome == "few") if threshold is None else confidences >= threshold
    curve = risk_curve(confidences, wrong)
    shown = np.unique(np.linspace(0, study.n - 1, min(200, study.n)).round().astype(int))
    return {
        "target_error": target,
        "threshold": threshold,
        "outcome": outcome,
        "n_validation": len(learned.names),
        "accepted": int(accepted.sum()),
        "abstained": int((~accepted).sum()),
        "error": test_share(study, wrong, accepted),
        "curve": [[(k + 1) / study.n, float(curve[k])] for k in shown],
        "aurc": float(curve.mean()),
        "aurc_if_random": float(wrong.mean()),
        "aurc_if_perfect": float(risk_curve(1.0 - wrong, wrong).mean()),
    }


def decision_curve_block(study: Study, name: str) -> Tree:
    """Net benefit of each class against the rest (of more than 20, the most frequent)."""
    said, thresholds = study.test[name], [step / 100 for step in range(1, 100)]
    counts = np.bincount(said.truth, minlength=len(said.classes))
    frequent = sorted(np.argsort(-counts, kind="stable")[:20].tolist())
    rows, shown = [], sum(int(counts[k] > 0) for k in frequent)
    for k in frequent:
        if not counts[k]:
            continue
        having, p, prevalence = said.truth == k, said.values[:, k], counts[k] / study.n
        odds = [t / (1 - t) for t in thresholds]
        treated = [p >= t for t in thresholds]
        gained = zip(treated, odds, strict=True)
        rows.append(
            {
                "class": said.classes[k],
                "n": int(counts[k]),
                "thresholds": thresholds,
                "net_benefit": [
                    float(((one & having).sum() - (one & ~having).sum() * harm) / study.n) for one, harm in gained
                ],
                "treat_all": [float(prevalence - (1 - prevalence) * harm) for harm in odds],
                "low": lower_band(study, having, p, thresholds, shown),
            }
        )
    return rows


def lower_band(
    study: Study, having: np.ndarray, p: np.ndarray, thresholds: Sequence[float], shown: int
) -> list[float] | None:
    """The smaller lower limit of the advantages over treating nobody and everybody, for all thresholds at once."""
    if study.n_units == 1:
        return None
    order, odds = np.argsort(-p, kind="stable"), np.array(thresholds) / (1 - np.array(thresholds))
    reaching = np.searchsorted(-p[order], -np.array(thresholds), side="right")  # how many have at least t

    def advantages(weights: np.ndarray) -> np.ndarray:
        drawn = weights[study.first.units][order]
        ill, well = drawn * having[order], drawn * ~having[order]
        sums = [np.concatenate([[0.0], np.cumsum(side)]) for side in (ill, well)]
        worth = (sums[0][reaching] - sums[1][reaching] * odds) / drawn.sum()
        return np.stack([worth, worth - (sums[0][-1] - sums[1][-1] * odds) / drawn.sum()])

    again = np.array([advantages(row) for rows in study.draws(max(study.n_units, 200 * shown)) for row in rows])
    seen = advantages(np.ones(study.n_units))
    wrongly = np.stack([odds, 0 * odds + 1]) / effective_number(study.first.units)
    errors = np.sqrt(again.var(axis=0) + 4 * wrongly**2)  # four more groups that are treated, or left, wrongly
    reach = np.quantile((np.abs(again - seen) / errors).max(axis=(1, 2)), study.confidence)
    return [float(limit) for limit in (seen - reach * errors).min(axis=0)]


def decision_problems(study: Study) -> Iterator[str]:
    """Thresholds of model.json that don't follow from the validation part."""
    for name in study.names:
        decision = study.models[name].get("decision")
        if not decision:
            continue
        learned, outcome = study.answers[name]["validation"], Outcome()
        own = conformal_block(study, name)
        compare(
            {key: own[key] for key in ("error_rate", "threshold", "class_thresholds")},
            decision["conformal"],
            (),
            outcome,
        )
        threshold, _ = abstention_threshold(learned, float(decision["abstention"]["target_error"]))
        compare({"threshold": threshold}, decision["abstention"], (), outcome)
        if decision.get("gate"):
            own = {"threshold": gate_threshold(study, name), "place": gate_place(study, name)}
            compare(own, decision["gate"], ("gate",), outcome)
        yield from (f"model.json of {name}, fixed on validation: {difference}" for difference in outcome.differences)
        used = float(decision["temperature"])
        foreign = study.models[name].get("kind") == "onnx"  # taken as published
        found = 1.0 if foreign else fitted_temperature(learned, used)
        if not abs(used - found) <= SAME_TEMPERATURE * found:
            yield f"model.json of {name}: the temperature is {used!r}, on the validation part {found!r} fits best"


def read_distances(folder: Path) -> dict[str, np.ndarray]:
    """How far the images of each part lie from the training part, from gate.csv of a contender."""
    table = read_columns(folder / "gate.csv")
    try:
        values = np.array(table["distance"], dtype=np.float64)
    except ValueError as error:
        raise BadInput(f"{folder / 'gate.csv'} holds what is not a number: {error}") from error
    parts = np.array(table["part"], dtype=object)
    return {part: values[parts == part] for part in dict.fromkeys(table["part"])}


def gate_threshold(study: Study, name: str) -> float:
    """The distance of the conformal rank on the validation part; the largest when there are too few."""
    distances = read_distances(study.places[name])["validation"]
    found = rank_threshold(distances, float(study.asked.get("gate_false_alarms", 0.05)))
    return float(distances.max()) if found is None else found


def gate_place(study: Study, name: str) -> tuple[int, int]:
    """Rank of the threshold among groups that are taken for one image each, and how many these are."""
    units = study.answers[name]["validation"].units
    most = max(1, math.floor(effective_number(units) + 1e-9))
    return threshold_place(units, float(study.asked.get("gate_false_alarms", 0.05))) or (most, most)


def gate_block(study: Study, name: str) -> Tree:
    """Shares of images called unlike the training part, from the distances that gate.csv holds."""
    distances, threshold = study.distances(name), gate_threshold(study, name)
    unlike = {part: values > threshold for part, values in distances.items()}
    rate, n_validation = float(study.asked.get("gate_false_alarms", 0.05)), len(distances["validation"])
    alone = min(n_validation, math.ceil((n_validation + 1) * (1 - rate) - 1e-9)), n_validation
    ends = [
        [bisected(partial(incomplete_beta, rank, among + 1 - rank), tail, 0.0, 1.0) for tail in (0.95, 0.05)]
        for rank, among in (gate_place(study, name), alone)
    ]
    detected = []
    for kind in ("blank", "noise"):
        if kind in unlike:
            found, n = int(unlike[kind].sum()), len(unlike[kind])
            low, high = wilson(found, n, study.confidence)
            detected.append({"kind": kind, "n": n, "unlike": found, "share": found / n, "low": low, "high": high})
    return {
        "false_alarms": float(study.asked.get("gate_false_alarms", 0.05)),
        "expected_low": min(1 - high for high, _ in ends),
        "expected_high": max(1 - low for _, low in ends),
        "validation_groups": int(study.answers[name]["validation"].units.max()) + 1,
        "threshold": threshold,
        "n_validation": len(distances["validation"]),
        "unlike": test_share(study, unlike["test"], np.ones(study.n, dtype=bool)),
        "unlike_n": int(unlike["test"].sum()),
        "detected": detected,
        "distances": {
            part: [float(value) for value in np.quantile(values, np.linspace(0, 1, min(200, len(values))))]
            for part, values in distances.items()
        },
    }


# ---------------------------------------------------------------------------------------------------------------------
# 3e. Subgroups
# ---------------------------------------------------------------------------------------------------------------------

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Subgroup:
    """Test samples with one value in a column."""

    name: str
    member: np.ndarray  # bool, (samples,)
    units: int
    suppressed: bool = False


def read_attributes(study: Study) -> dict[str, list[str]]:
    """By column of the recipe's subgroups: what attributes.csv says of each test sample, empty for nothing."""
    asked = [str(column) for column in study.asked.get("subgroups", [])]
    if not asked:
        return {}
    table = read_columns(study.folder / "attributes.csv")
    said = {
        (name, column): value
        for name, column, value in zip(table["name"], table["column"], table["value"], strict=True)
    }
    return {column: [said[name, column].strip() for name in study.first.names] for column in asked}


def divided(cells: Sequence[str], units: np.ndarray) -> tuple[str, list[Subgroup]]:
    """Samples by the value of a column, numbers of more than ten values by tertiles; small values are suppressed."""
    keys: list[tuple[Any, str]] = [(cell, cell) for cell in cells]
    kind, numbers = "as given", numbers_of(cells)
    if numbers is not None and len({number for number in numbers if not math.isnan(number)}) > 10:
        kind = "tertiles"
        low, high = np.quantile([number for number in numbers if not math.isnan(number)], [1 / 3, 2 / 3])
        names = (f"up to {low:.6g}", f"above {low:.6g}, up to {high:.6g}", f"above {high:.6g}")
        places = [0 if number <= low else 1 if number <= high else 2 for number in numbers]
        keys = [
            ("", "") if math.isnan(number) else (place, names[place])
            for number, place in zip(numbers, places, strict=True)
        ]
    stated = [name for _, name in sorted({key for key in keys if key[1]})]
    own = np.array([name or NOT_STATED for _, name in keys], dtype=object)
    order = list(dict.fromkeys([*stated, *([NOT_STATED] if ("", "") in keys else [])]))
    found = [Subgroup(name, own == name, len(set(units[own == name].tolist()))) for name in order]
    return kind, with_small_suppressed(found)


def numbers_of(cells: Sequence[str]) -> list[float] | None:
    """Numbers, NaN for nothing; None when a cell is none."""
    try:
        values = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return None
    return [value if math.isfinite(value) else math.nan for value in values]


def with_small_suppressed(found: list[Subgroup]) -> list[Subgroup]:
    """Fewer than 10 samples or 5 groups; then the smallest others until two, and together enough, are hidden."""

    def small(some: Sequence[int]) -> bool:
        samples, groups = (
            sum(one) for one in zip(*((found[k].member.sum(), found[k].units) for k in some), strict=True)
        )
        return bool(samples < 10 or groups < 5)

    hidden = [k for k, one in enumerate(found) if one.suppressed or small([k])]
    others = sorted((k for k in range(len(found)) if k not in hidden), key=lambda k: (int(found[k].member.sum()), k))
    while hidden and others and (len(hidden) < 2 or small(hidden)):
        hidden.append(others.pop(0))
    return [Subgroup(one.name, one.member, one.units, k in hidden) for k, one in enumerate(found)]


def with_differences_suppressed(columns: dict[str, list[Subgroup]], units: np.ndarray) -> dict[str, list[Subgroup]]:
    """Values, or all others, that shown values of another column fill but for too few samples are hidden as well."""
    while True:
        told = next(
            (
                (column, k)
                for column, own in columns.items()
                for k, one in enumerate(own)
                if not one.suppressed and gives_away(column, one, columns, units)
            ),
            None,
        )
        if told is None:
            return columns
        column, k = told
        marked = [Subgroup(o.name, o.member, o.units, o.suppressed or j == k) for j, o in enumerate(columns[column])]
        columns = {**columns, column: with_small_suppressed(marked)}


def gives_away(column: str, one: Subgroup, columns: Mapping[str, list[Subgroup]], units: np.ndarray) -> bool:
    for side in (one.member, ~one.member):
        for name, others in columns.items():
            inside = [o.member for o in others if not o.suppressed and not o.member[~side].any()]
            if name != column and inside:
                left = side.copy()
                for member in inside:
                    left[member] = False
                if left.sum() > 0 and (left.sum() < 10 or len(np.unique(units[left])) < 5):
                    return True
    return False


def subgroups_block(study: Study) -> Tree:
    """Every contender on every value of every column, the gap to all others, and one Holm over all these tests."""
    units, kinds, columns = study.first.units, {}, {}
    for column, cells in read_attributes(study).items():
        kinds[column], columns[column] = divided(cells, units)
    columns = with_differences_suppressed(columns, units)
    shown = [one for own in columns.values() for one in own if not one.suppressed and not one.member.all()]
    figures: dict[int, dict[str, Any]] = {id(one): {} for one in shown}
    pairs = [(name, k) for name in study.names for k in range(len(shown))]
    # Samples of a value and all others ask one question, from whichever side: the two values of a column are one test.
    sides = [{one.member.tobytes(), (~one.member).tobytes()} for one in shown]
    asked = {(name, k): (name, next(j for j in range(k + 1) if sides[j] == sides[k])) for name, k in pairs}
    tests = list(dict.fromkeys(asked.values()))
    most = most_patterns(study.resamples, len(tests), study.confidence)
    records = {(name, k): subgroup_figures(study, name, shown[k]) for name, k in pairs}
    p_values = {(name, k): gap_p(study, name, shown[k].member, most) for name, k in tests}
    adjusted = dict(zip(tests, holm([p_values[test] for test in tests]), strict=True))
    for (name, k), record in records.items():
        figures[id(shown[k])][name] = {
            **record,
            "p_value": p_values[asked[name, k]],
            "p_holm": adjusted[asked[name, k]],
            "differs": beyond(record["gap"]) and adjusted[asked[name, k]] < round(1 - study.confidence, 12),
        }
    return [
        {
            "column": column,
            "kind": kinds[column],
            "values": [
                {
                    "value": one.name,
                    "n": None if one.suppressed else int(one.member.sum()),
                    "groups": None if one.suppressed else one.units,
                    "suppressed": one.suppressed,
                    "contenders": figures.get(id(one), {}),
                }
                for one in own
            ],
        }
        for column, own in columns.items()
    ]


def beyond(told: Mapping[str, float | None]) -> bool:
    """Whether an interval leaves zero out."""
    low, high = told["low"], told["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


KEYS = ("value", "low", "high")


def subgroup_figures(study: Study, name: str, one: Subgroup) -> dict[str, Any]:
    said, member = study.test[name], one.member
    right = said.values.argmax(axis=1) == said.truth
    inside, outside = (
        share(right[rows], said.units[rows], study.confidence, study.clustered) for rows in (member, ~member)
    )
    gap = float(right[member].mean() - right[~member].mean())
    told = figure(gap)
    p, low, high, q, least, top = (known_or_nan(side[key]) for side in (inside, outside) for key in KEYS)
    if not math.isnan(low + least):
        told = figure(gap, gap - math.hypot(p - low, top - q), gap + math.hypot(high - p, q - least))
    return {
        "accuracy": inside,
        "balanced_accuracy": balanced(right[member], said.truth[member], said.units[member], study),
        "gap": told,
    }


def gap_p(study: Study, name: str, member: np.ndarray, most: int) -> float:
    """Fisher's exact test; by groups a permutation of whole ones, or signs flipped where a group has several values."""
    units, right = study.first.units, study.test[name].values.argmax(axis=1) == study.first.truth
    if not study.clustered:
        return fisher(int(right[member].sum()), int(member.sum()), int(right.sum()), study.n)
    size, inside = np.bincount(units), np.bincount(units, member)
    if not ((inside == 0) | (inside == size)).all():
        apart = (right - right.mean()) * np.where(member, 1 / member.sum(), -1 / (~member).sum())
        return sign_flips(np.bincount(units, apart), study.resamples, most, study.seed)
    hits, chosen = np.bincount(units, right), inside > 0
    rng = np.random.default_rng([study.seed, 2])

    def gaps(picked: np.ndarray) -> np.ndarray:
        won, of = picked @ hits, picked @ size.astype(float)
        return np.abs(won / of - (hits.sum() - won) / (size.sum() - of))

    bar = gaps(1.0 * chosen[None])[0] - ROUNDING

    def as_far(size: int) -> int:
        return int((gaps(1.0 * rng.permuted(np.tile(chosen, (size, 1)), axis=1)) >= bar).sum())

    return random_p(as_far, len(chosen), study.resamples, most)


def fisher(hits: int, members: int, right: int, n: int) -> float:
    """Two-sided, in whole numbers: all tables with these margins that are no likelier than this one."""
    least, most = max(0, members + right - n), min(members, right)
    ways = math.comb(right, least) * math.comb(n - right, members - least)
    listed = []
    for k in range(least, most + 1):
        listed.append(ways)
        ways = ways * (right - k) * (members - k) // ((k + 1) * (n - right - members + k + 1))
    return sum(each for each in listed if each <= listed[hits - least]) / sum(listed)


# ---------------------------------------------------------------------------------------------------------------------
# 3f. Regression
# ---------------------------------------------------------------------------------------------------------------------

ERRORS = ("rmse", "mae", "mse", "r2")


def error_figures(truth: np.ndarray, values: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures for each weighting of the rows, weights (weightings, rows): each (weightings,)."""
    total = weights.sum(axis=1)
    squared = weights @ (truth - values) ** 2
    centred = truth - np.median(truth)
    squares = weights @ centred**2
    about_mean = squares - over((weights @ centred) ** 2, total)
    spread = np.where(about_mean > 1e-12 * squares, about_mean, 0.0)
    mse = over(squared, total)
    return {
        "mse": mse,
        "rmse": np.sqrt(mse),
        "mae": over(weights @ np.abs(truth - values), total),
        "r2": 1 - over(squared, spread),
    }


@dataclass(frozen=True)
class Scored:
    """Figures of one contender or baseline of a regression: as they are, resampled, and without each group."""

    values: dict[str, float]
    resampled: dict[str, np.ndarray]
    jackknife: dict[str, np.ndarray]
    squared: np.ndarray  # sum of squared errors of each group


def answers_of(study: Study) -> dict[str, Answers]:
    """Contenders and baselines of a regression by name."""
    named = {name: study.baselines.get(folder_of(name)) for name in study.evaluation.get("baselines", {})}
    return {**study.test, **{name: said for name, said in named.items() if said is not None}}


def folder_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def scored(study: Study) -> dict[str, Scored]:
    """By name; every figure on the documented resamples of the groups."""
    found = {}
    for name, said in answers_of(study).items():
        units = said.units
        everything = error_figures(said.truth, said.values, np.ones((1, study.n)))
        pieces = [error_figures(said.truth, said.values, w[:, units]) for w in study.draws(study.n_units)]
        left = [error_figures(said.truth, said.values, 1.0 * (units != k)[None]) for k in range(study.n_units)]
        found[name] = Scored(
            {metric: float(everything[metric][0]) for metric in ERRORS},
            {metric: np.concatenate([piece[metric] for piece in pieces]) for metric in ERRORS},
            {metric: np.concatenate([piece[metric] for piece in left]) for metric in ERRORS},
            np.bincount(units, (said.truth - said.values) ** 2, minlength=study.n_units),
        )
    return found


def estimates_block(study: Study, name: str) -> Tree:
    one = scores_of(study)[name]
    record = {
        metric: spread_figure(
            one.values[metric], bca(one.values[metric], one.resampled[metric], one.jackknife[metric], study.confidence)
        )
        for metric in ERRORS
    }
    for end in ("low", "high"):
        squared = record["mse"][end]
        record["rmse"][end] = None if squared is None else math.sqrt(squared)
    return record


def scores_of(study: Study) -> dict[str, Scored]:
    """`scored`, computed once."""
    if "scores" not in study.__dict__:
        study.__dict__["scores"] = scored(study)
    return study.__dict__["scores"]


def error_comparisons_block(study: Study) -> Tree:
    """Every pair with a contender in it: the one with the lower RMSE first."""
    scores = scores_of(study)
    pairs = [pair for pair in combinations(scores, 2) if set(pair) & set(study.names)]
    records = [error_pair(study, scores, *pair, len(pairs)) for pair in pairs]
    level = round(1 - study.confidence, 12)
    for record, p_holm in zip(records, holm([record["p_value"] for record in records]), strict=True):
        clear = (record["difference"]["low"] or 0) > 0 and p_holm < level
        record["p_holm"] = p_holm
        record["distinguishable"] = bool(clear and record["mae_difference"]["value"] >= 0)
    return records


def error_pair(study: Study, scores: Mapping[str, Scored], one: str, other: str, pairs: int) -> dict[str, Any]:
    if scores[one].values["rmse"] - scores[other].values["rmse"] > ROUNDING * scores[one].values["rmse"]:
        one, other = other, one
    first, second = scores[one], scores[other]
    record: dict[str, Any] = {"first": one, "second": other}
    record["baseline"] = next((name for name in (one, other) if name not in study.names), None)
    for key, metric in (("difference", "rmse"), ("mae_difference", "mae")):
        smallest = ROUNDING * max(first.values[metric], second.values[metric])
        apart = second.resampled[metric] - first.resampled[metric]
        value = second.values[metric] - first.values[metric]
        apart = np.where(np.abs(apart) <= smallest, 0.0, apart)
        record[key] = paired(0.0 if abs(value) <= smallest else value, apart, study)
    gained = second.squared - first.squared
    largest, scale = np.abs(gained).max(), max(first.squared.max(), second.squared.max())
    same = largest <= ROUNDING * scale
    most = most_patterns(study.resamples, pairs, study.confidence)
    record["p_value"] = 1.0 if same else sign_flips(gained / largest, study.resamples, most, study.seed)
    return record


# ---------------------------------------------------------------------------------------------------------------------
# 3g. Repeats
# ---------------------------------------------------------------------------------------------------------------------

LOWER_IS_BETTER = {"rmse", "mae", "mse", "log_loss", "errors", "brier"}


def repeated_values(study: Study, kind: str, name: str, metric: str) -> np.ndarray:
    """One figure of every split and initialisation, (splits, initialisations); NaN where it is undefined."""
    values = []
    for _, one in study.rounds:
        said = one.baselines[folder_of(name)] if kind == "baselines" else one.answers[name]["test"]
        if said.classes:
            values.append(point_figures(said)[metric])
        else:
            values.append(float(error_figures(said.truth, said.values, np.ones((1, len(said.names))))[metric][0]))
    table = np.array(values, dtype=np.float64).reshape(-1, study.initialisations)
    return table.reshape(-1, 1) if on_one_split(study) else table


def on_one_split(study: Study) -> bool:
    """Whether all rounds have the same parts, so that each is but one more initialisation."""
    told = read_json(study.folder / "split.json")
    same_parts = bool(told.get("given")) and not told.get("validation_cut")
    return same_parts or (len(study.rounds) == study.initialisations > 1)


def same_test(study: Study) -> bool:
    return on_one_split(study) or bool(read_json(study.folder / "split.json").get("given"))


def corrected_t(values: np.ndarray, extra: float, confidence: float) -> tuple[float, float, float, float] | None:
    """Limits, t and p after Nadeau & Bengio (Machine Learning 52 (2003) 239); None without spread or of two rounds."""
    k = len(values)
    if k < 3:
        return None
    mean = math.fsum(values) / k
    error = math.sqrt(math.fsum((values - mean) ** 2) / (k - 1) * (1 / k + extra))
    if error <= ROUNDING * abs(mean) or error == 0:
        return None
    reach = t_quantile((1 - confidence) / 2, k - 1) * error
    return mean - reach, mean + reach, mean / error, 2 * t_tail(abs(mean / error), k - 1)


def repeats_block(study: Study) -> Tree:
    told, folds = study.evaluation["repeats"], int(study.recipe.get("split", {}).get("folds", 0))
    trained = study.initialisations
    parts = [one.split["part"] for _, one in study.rounds[::trained]]
    # What weights are learned from is the training part alone; splits may differ by a sample or a group.
    learned, tested = (sum(own.count(part) for own in parts) / len(parts) for part in ("train", "test"))
    extra = tested / learned
    lost = diverged_in_rounds(study)
    names = {"contenders": [name for name in study.names if name not in lost]}
    names |= {"baselines": list(study.evaluation.get("baselines", {}))}
    names["baselines"] = names["baselines"] if study.baselines else []
    return {
        "rounds": len(study.rounds) if on_one_split(study) else len(study.rounds) // trained,
        **({"initialisations": 1 if on_one_split(study) else trained} if "initialisations" in told else {}),
        "folds": folds,
        "seeds": list(range(study.seed, study.seed + int(study.asked.get("repeats", 1)))),
        "n_train": round(learned),
        "n_test": round(tested),
        "confidence": study.confidence,
        "same_test": same_test(study),
        "leaky": study.leaky,
        **{
            kind: {
                name: {
                    metric: repeated_summary(study, kind, name, repeated_values(study, kind, name, metric), extra)
                    for metric in told["metrics"]
                }
                for name in own
            }
            for kind, own in names.items()
        },
        "comparisons": [] if same_test(study) else repeated_comparisons(study, names, told["metrics"][0], extra),
    }


def repeated_summary(study: Study, kind: str, name: str, table: np.ndarray, extra: float) -> dict[str, Any]:
    values = table.mean(axis=1)
    defined = values[~np.isnan(values)]
    record: dict[str, Any] = dict.fromkeys(("mean", "sd", "min", "max", "low", "high"))
    record |= {"n": len(defined), "values": [known(value) for value in values]}
    if len(defined):
        record |= {"mean": float(defined.mean()), "min": float(defined.min()), "max": float(defined.max())}
    if len(defined) >= 2:
        record["sd"] = math.sqrt(math.fsum((defined - defined.mean()) ** 2) / (len(defined) - 1))
        fixed = kind == "contenders" and study.models[name].get("kind") == "onnx"  # it learned nothing here
        found = None if fixed or same_test(study) else corrected_t(defined, extra, study.confidence)
        if found:
            record["low"], record["high"] = found[:2]
    if table.shape[1] > 1:
        record["trained"] = [[known(value) for value in row] for row in table]
        record["sources"] = variance_sources(table, study.confidence)
    return record


def variance_sources(table: np.ndarray, confidence: float) -> dict[str, Any] | None:
    """What split and initialisation add to the variance: one-way random effects (Searle et al. 1992)."""
    whole = table[~np.isnan(table).any(axis=1)]
    k, m = whole.shape
    if k < 2 or m < 2:
        return None
    between = m * float(whole.mean(axis=1).var(ddof=1))
    within = float(whole.var(axis=1, ddof=1).mean())
    nothing = (ROUNDING * float(np.abs(whole).max())) ** 2
    within, between = (0.0 if square <= nothing else square for square in (within, between))
    of_split = max(0.0, (between - within) / m)
    parts: dict[str, Any] = {"splits": k, "initialisations": m, "between": of_split, "within": within}
    if not within:
        return {**parts, "share": figure(1.0 if between else math.nan)}
    tails = ((1 + confidence) / 2, (1 - confidence) / 2)
    ratios = [between / within / f_quantile(tail, k - 1, k * (m - 1)) for tail in tails]
    low, high = (max(0.0, (each - 1) / (m + each - 1)) for each in ratios)
    return {**parts, "share": figure(of_split / (of_split + within), low, high)}


def f_quantile(share: float, first: int, second: int) -> float:
    """Quantile of Fisher's F by that of a Beta."""
    y = bisected(lambda x: incomplete_beta(first / 2, second / 2, x), share, 0.0, 1.0)
    return second * y / (first * (1 - y))


def repeated_comparisons(study: Study, names: Mapping[str, list[str]], metric: str, extra: float) -> list[Tree]:
    own, simple = names["contenders"], names["baselines"]
    records: list[dict[str, Any]] = []
    for one, other in [*combinations(own, 2), *((a, b) for a in own for b in simple)]:
        kinds = ["baselines" if name in simple else "contenders" for name in (one, other)]
        means = [
            repeated_values(study, kind, name, metric).mean(axis=1)
            for kind, name in zip(kinds, (one, other), strict=True)
        ]
        apart = means[0] - means[1]
        apart = apart[~np.isnan(apart)]
        if len(apart) < 2:
            continue
        better = -apart if metric in LOWER_IS_BETTER else apart
        first, second = (one, other) if better.mean() >= 0 else (other, one)
        better = better if better.mean() >= 0 else -better
        low, high, t, p_value = corrected_t(better, extra, study.confidence) or (None,) * 4
        records.append(
            {
                "first": first,
                "second": second,
                "n": len(better),
                "first_better": int((better > 0).sum()),
                "difference": figure(float(better.mean()), low, high),
                "t": t,
                "degrees_of_freedom": len(better) - 1,
                "p_value": p_value,
            }
        )
    tested = [record for record in records if record["p_value"] is not None]
    level = round(1 - study.confidence, 12)
    for record in records:
        record |= {"p_holm": None, "distinguishable": False}
    for record, p_holm in zip(tested, holm([record["p_value"] for record in tested]), strict=True):
        record |= {"p_holm": p_holm, "distinguishable": record["difference"]["low"] > 0 and p_holm < level}
    return records


# ---------------------------------------------------------------------------------------------------------------------
# 3h. Tests on images from elsewhere
# ---------------------------------------------------------------------------------------------------------------------


class Elsewhere(Study):
    """What contenders of a run said of other samples, in classes that may be sums of the run's own.

    Settings, models and what was learned from are those of the run.
    """

    def __init__(self, run: Study, evaluation: Tree, merged: Mapping[str, str], test: Mapping[str, Answers]) -> None:
        self.run, self.merged, self.evaluation = run, dict(merged), evaluation
        self.folder, self.places, self.recipe, self.task = run.folder, run.places, run.recipe, "classification"
        self.split = {**run.split, "label": [self.merged[label] for label in run.split["label"]]}
        self.asked = {key: value for key, value in run.asked.items() if key not in ("prevalence", "subgroups")}
        self.confidence, self.resamples, self.seed = run.confidence, run.resamples, run.seed
        self.names = list(test)
        self.__dict__["test"] = dict(test)


class External(Elsewhere):
    """One folder below external/: the images that are tested; ``whole`` are all of them.

    Tested is an image when none of its group has a copy among those learned from.
    """

    def __init__(self, run: Study, folder: Path) -> None:
        self.record, evaluation = read_json(folder / "external.json"), read_json(folder / "evaluation.json")
        if "all_images" not in self.record:
            raise BadInput(f"{folder / 'external.json'} is not of the form this checker knows: all_images is missing.")
        merged = self.record["classes"]["run"]
        names = [name for name in evaluation["contenders"] if name in run.places]
        said = {name: read_answers(folder / "contenders" / run.places[name].name / "predictions.csv") for name in names}
        said_of_all = {name: parts["test"] for name, parts in said.items()}
        self.whole = Elsewhere(run, evaluation, merged, said_of_all)
        self.images = read_columns(folder / "images.csv")
        if any(len(self.images["copy"]) != len(each.names) for each in said_of_all.values()):
            raise BadInput(f"{folder / 'images.csv'} lists other images than predictions.csv.")
        self.kinds = kinds_of_copies(self.images["copy"], self.whole.first.units)
        self.rows = np.array([row for row, kind in enumerate(self.kinds) if not kind], dtype=np.int64)
        if not len(self.rows):
            raise BadInput(
                f"{folder} is no external test: the group of every image has a copy among those learned from."
            )
        super().__init__(run, evaluation, merged, {name: taken(each, self.rows) for name, each in said_of_all.items()})
        self.folder = folder

    @property
    def summed(self) -> bool:
        """Whether classes of the run are summed up."""
        return any(own != name for own, name in self.merged.items())

    def place(self, name: str) -> Path:
        """Folder of what a contender said here."""
        return self.folder / "contenders" / self.run.places[name].name

    def distances(self, name: str) -> dict[str, np.ndarray]:
        """Of the run's validation part, and of the new images."""
        before = read_distances(self.run.places[name])
        return {"validation": before["validation"], "test": read_distances(self.place(name))["test"][self.rows]}

    def own(self, name: str) -> np.ndarray:
        """Probabilities of the run's own classes, of all images: (samples, classes)."""
        table = read_columns(self.place(name) / "own_classes.csv")
        if table["name"] != self.whole.first.names:
            raise BadInput(f"{self.place(name) / 'own_classes.csv'} is of other images than predictions.csv.")
        return np.array([table[f"P({label})"] for label in self.merged], dtype=np.float64).T

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Columns of the run's classes summed for each class of this test."""
        columns = {
            name: [k for k, own in enumerate(self.merged.values()) if own == name] for name in self.first.classes
        }
        return np.stack([values[:, own].sum(axis=1) for own in columns.values()], axis=1)


def kinds_of_copies(marked: Sequence[str], units: np.ndarray) -> list[str]:
    """Of each image "identical", "near", "group" (another of its group is one of these) or nothing."""
    copies = [mark if mark in ("identical", "near") else "" for mark in marked]
    held = {unit for unit, copy in zip(units, copies, strict=True) if copy}
    return [copy or ("group" if unit in held else "") for unit, copy in zip(units, copies, strict=True)]


def taken(said: Answers, rows: np.ndarray) -> Answers:
    """Answers on some samples."""
    names, labels, groups, predicted = (
        [column[row] for row in rows] for column in (said.names, said.labels, said.groups, said.predicted)
    )
    return Answers(names, labels, groups, predicted, said.classes, said.values[rows])


def external_calibration(study: External, name: str) -> Tree:
    """Sums of probabilities can't be scaled back: what was before is left out."""
    if not study.summed:
        return calibration_block(study, name)
    said = study.test[name]
    mean, high = perfect_errors(study, said)
    return {
        "temperature": decision_of(study, name)["temperature"],
        "n_validation": len(study.answers[name]["validation"].names),
        **reliability(said, said.values),
        "ece_if_perfect": mean,
        "ece_if_perfect_high": high,
    }


def external_conformal(study: External, name: str) -> Tree:
    """A set holds a class when it holds any of the run's classes in it; thresholds are those of the run."""
    if not study.summed:
        return conformal_block(study, name)
    run, truth = conformal_block(study.run, name), study.first.truth
    limits = (
        [run["threshold"]] * len(study.merged) if run["kind"] == "marginal" else [*run["class_thresholds"].values()]
    )
    inside = 1 - study.own(name)[study.rows] <= np.array([math.inf if limit is None else limit for limit in limits])
    held = study.sums(inside.astype(float)) > 0
    covered, sizes = held[np.arange(study.n), truth], held.sum(axis=1)
    kept = ("error_rate", "kind", "n_validation", "validation_groups", "threshold", "class_thresholds")
    per_class = [(label, truth == k) for k, label in enumerate(study.first.classes)]
    return {
        **{key: run[key] for key in kept},
        "coverage": test_share(study, covered, np.ones(study.n, dtype=bool)),
        "mean_size": float(sizes.mean()),
        "empty": int((sizes == 0).sum()),
        "per_class": [
            {"class": label, "n": int(own.sum()), "coverage": float(covered[own].mean()) if own.any() else None}
            for label, own in per_class
        ],
    }


def external_abstention(study: External, name: str) -> Tree:
    """An answer is withheld by the confidence in the class that the contender itself would have named."""
    if not study.summed:
        return abstention_block(study, name)
    said, learned = study.test[name], study.answers[name]["validation"]
    target = float(study.asked.get("abstain_error", 0.05))
    threshold, outcome = abstention_threshold(learned, target)
    confidences = study.own(name)[study.rows].max(axis=1)
    accepted = np.full(study.n, outcome == "few") if threshold is None else confidences >= threshold
    wrong = said.values.argmax(axis=1) != said.truth
    return {
        "target_error": target,
        "threshold": threshold,
        "outcome": outcome,
        "n_validation": len(learned.names),
        "accepted": int(accepted.sum()),
        "abstained": int((~accepted).sum()),
        "error": test_share(study, wrong, accepted),
    }


def external_number(study: External) -> Tree:
    """The number of this evaluation, from the ledger of the run."""
    head = study.evaluation.get("ledger_head")
    try:
        entries = read_chain(study.run.folder / "ledger.jsonl")
    except ValueError:
        return None
    return next((entry["number"] for entry in entries if entry["hash"] == head and entry["kind"] == "external"), None)


def overlap_block(study: External) -> Tree:
    """Identical images by their hashes; near copies as images.csv marks them; who is of a group with one."""
    table = read_columns(study.run.folder / "training_images.csv")
    learned, known = set(table["pixel_sha256"]), set(table["group"]) - {""}
    identical = [digest in learned for digest in study.images["pixel_sha256"]]
    near = study.kinds.count("near") if study.record["overlap"]["near_looked_for"] else None
    return {
        "images": study.whole.n,
        "identical": sum(identical),
        "near": near,
        "same_group": study.kinds.count("group"),
        "left_out": study.whole.n - study.n,
        "groups_stated": sum(study.images["group"][row] != "" for row in study.rows),
        "learned_images": len(table["group"]),
        "learned_groups_stated": sum(group != "" for group in table["group"]),
        "same_name": sum(study.images["group"][row] in known for row in study.rows),
    }


def all_images_block(study: External) -> Tree:
    """The figures with the images that were left out; nothing when none was."""
    if study.n == study.whole.n:
        return None
    return {
        "n": study.whole.n,
        "contenders": {name: metrics_block(study.whole, name) for name in study.whole.names},
    }


def internal_block(study: External) -> Tree:
    """The figures of the run's own test part, in the classes of this test."""
    test = {}
    for name in study.names:
        said = study.run.test[name]
        values = study.sums(said.values)
        labels = [study.merged[label] for label in said.labels]
        predicted = [study.first.classes[k] for k in values.argmax(axis=1)]
        test[name] = Answers(said.names, labels, said.groups, predicted, study.first.classes, values)
    inside = Elsewhere(study.run, study.evaluation, study.merged, test)
    return {
        "n": inside.n,
        "leaky": study.run.leaky,
        "contenders": {name: metrics_block(inside, name) for name in inside.names},
    }


def shift_effects(study: External) -> Tree:
    """The effect of each row of the table, from the two sides it lists."""
    rows = []
    for row in study.record["shift"]:
        old, new = row["training"], row["new"]
        if row["kind"] == "number":
            spread = math.hypot(old["sd"], new["sd"]) / math.sqrt(2)
            apart = new["mean"] - old["mean"]
            effect = apart / spread if spread else None if apart else 0.0
        else:
            sides = [{name: count / sum(side.values()) for name, count in side.items()} for side in (old, new)]
            effect = sum(abs(sides[0].get(name, 0) - sides[1].get(name, 0)) for name in {**old, **new}) / 2
        notable = effect is None or abs(effect) >= (0.25 if row["kind"] == "number" else 0.1)
        rows.append({"effect": effect, "notable": notable})
    return rows


def trained_counts(study: External) -> Tree:
    """The training side of the table, from the summary that the run keeps."""
    summary = read_json(study.run.folder / "training_summary.json")
    classes: dict[str, int] = {}
    for name, count in summary["categories"]["class"].items():
        classes[study.merged.get(name, name)] = classes.get(study.merged.get(name, name), 0) + count
    known = {**summary["numbers"], **summary["categories"], "class": classes}
    labels = [study.first.labels.count(name) for name in dict.fromkeys(study.first.labels)]
    counted = dict(zip(dict.fromkeys(study.first.labels), labels, strict=True))
    return [
        {"training": known[row["what"]], **({"new": counted} if row["what"] == "class" else {})}
        for row in study.record["shift"]
    ]


def external_problems(study: External) -> Iterator[str]:
    """What does not belong together in the folder of one external test."""
    for name, digest in study.evaluation.get("rests_on", {}).items():
        path = study.folder / name
        if not path.is_file() or sha256(path) != digest:
            yield f"{name} is not the file that the figures were computed from (another SHA-256)."
    if study.images["name"] != study.whole.first.names:
        yield "images.csv lists other images than predictions.csv."
    if study.images["copy"] != study.kinds:
        yield "images.csv does not mark exactly those images as of a group with a copy that are."
    if "near" in study.kinds and not study.record["overlap"]["near_looked_for"]:
        yield "images.csv marks near copies, and external.json says that they were not looked for."
    digests = study.images["pixel_sha256"]
    head = study.evaluation.get("ledger_head")
    tested = json_sha256(sorted(digests[row] for row in study.rows))
    for entry in map(json.loads, (study.run.folder / "ledger.jsonl").read_bytes().splitlines()):
        if entry["hash"] == head and entry["test_part"] != tested:
            yield "images.csv lists other images than the ledger has for this test (another SHA-256)."
    learned = set(read_columns(study.run.folder / "training_images.csv")["pixel_sha256"])
    if any(
        (digest in learned) != (copy == "identical") for digest, copy in zip(digests, study.images["copy"], strict=True)
    ):
        yield "images.csv does not mark those images as identical whose hash is in training_images.csv."
    first = study.whole.first
    for name, said in study.whole.test.items():
        if said.labels != first.labels or said.names != first.names or said.groups != first.groups:
            yield f"{name}: its predictions are of other images than those of {study.names[0]}."
        if [said.classes[k] for k in said.values.argmax(axis=1)] != said.predicted:
            yield f"{name}: a predicted class is not the most probable one."
        if study.summed and np.abs(study.sums(study.own(name)) - said.values).max(initial=0) > ROUNDING:
            yield f"{name}: predictions.csv does not hold the sums of own_classes.csv."
    for name, sentence in zip(study.evaluation["contenders"], study.record["sentences"], strict=True):
        sides = [study.evaluation, study.record["internal"]]
        own = [side["contenders"].get(name, {}).get("metrics", side["contenders"].get(name)) for side in sides]
        allowed = [study.n, study.record["overlap"]["left_out"], study.record["overlap"]["same_name"]]
        allowed += [float(value_at(figures, path)) for figures in own for path in numeric_leaves(figures)]
        if not study.record["overlap"]["near_looked_for"] and "Only identical copies" not in sentence:
            yield f"external.json: the sentence on {name} does not say that near copies were not looked for."
        if study.record["overlap"]["same_name"] and "learned from" not in sentence.rpartition("tested")[2]:
            yield f"external.json: the sentence on {name} does not say that groups bear names of some learned from."
        for number, reach in printed_numbers(sentence.replace(name, "").replace("\u2013", " ")):
            if not any(abs(value - number) <= reach for value in allowed):
                yield f"external.json: the sentence on {name} says {number:g}, which is none of its figures."
    data = study.record["data"]
    if data["used"] != study.whole.n or data["found"] != data["used"] + data["left_out"] + data["unreadable"]:
        yield "external.json: images found, left out, unreadable and used don't add up."


# ---------------------------------------------------------------------------------------------------------------------
# 3i. A search for settings
# ---------------------------------------------------------------------------------------------------------------------

TRIED = ("complete", "pruned", "diverged")  # what importance is computed from
GRID = 50  # cells of a range, of which importance is computed


class Search:
    """The trials of tuning/trials.csv, and what tuning/tuning.json makes of them."""

    def __init__(self, study: Study) -> None:
        folder = study.folder / "tuning"
        self.study = study
        self.summary, self.asked = read_json(folder / "tuning.json"), read_json(folder / "search.json")
        self.closed = read_json(folder / "closed.json")
        self.table = read_columns(folder / "trials.csv")
        self.spaces: dict[str, Any] = self.asked["spaces"]
        self.untuned = {name: space["default"] for name, space in self.spaces.items()}

    @cached_property
    def trials(self) -> list[dict[str, Any]]:
        return [self._trial(row) for row in range(len(self.table["trial"]))]

    def _trial(self, row: int) -> dict[str, Any]:
        cells = {name: column[row] for name, column in self.table.items()}
        said = {name.removeprefix("validation_"): cells[name] for name in cells if name.startswith("validation_")}
        measures = {name: float(text) for name, text in said.items() if text != "nan"}
        return {
            "number": int(cells["trial"]),
            "outcome": cells["outcome"],
            "settings": {name: setting(cells[name], space) for name, space in self.spaces.items()},
            "score": known(float(cells["score"])),
            "measures": measures or None,
            "epochs_run": int(cells["epochs_run"]),
            "best_epoch": float(cells["best_epoch"]),
            "seconds": float(cells["seconds"]),
            "note": cells["note"],
        }

    @property
    def scored(self) -> list[dict[str, Any]]:
        """Trials with a score, the best first, of equals the earlier one."""
        return sorted((one for one in self.trials if one["score"] is not None), key=lambda one: -one["score"])

    @property
    def tuned(self) -> str | None:
        """Name of the tuned contender; None when no trial was better than the untuned settings."""
        return None if self.scored[0]["settings"] == self.untuned else f"{self.asked['contender']}, tuned"

    @property
    def reached(self) -> str:
        """The measure by which trials are judged."""
        return "mean_squared_error" if self.study.task == "regression" else "balanced_accuracy"


def setting(text: str, space: Mapping[str, Any]) -> Any:
    """A cell of trials.csv as the space has it."""
    for choice in space.get("values") or ():
        if text == str(choice) or (is_number(choice) and number_in(text) == choice):
            return choice
    value = number_in(text)
    return text if math.isnan(value) else value


def number_in(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def search_block(search: Search) -> Tree:
    shares, counts = importance_of(search)
    untuned = (trial["number"] for trial in search.trials if trial["score"] is not None)
    return {
        "contender": search.asked["contender"],
        "tuned": search.tuned,
        "measure": search.reached,
        "folds": search.asked["folds"],
        "spaces": search.spaces,
        "seconds": round(sum(trial["seconds"] for trial in search.trials), 3),
        "best": search.scored[0]["number"],
        "untuned": next((n for n in untuned if search.trials[n - 1]["settings"] == search.untuned), None),
        "importance": shares,
        "importance_of": counts,
        "trials": search.trials,
    }


def importance_of(search: Search) -> tuple[dict[str, float], dict[str, int]]:
    """PED-ANOVA (Watanabe et al. 2023): how much the best quarter of the trials differs from all, as shares of 1.

    The second is how many are compared with how many. What did not come to its end is none of the best.
    """
    tried = [trial for trial in search.trials if trial["outcome"] in TRIED]
    scores = [trial["score"] for trial in search.scored if trial["outcome"] in TRIED]
    most = min(-(-len(tried) // 4), len(scores))
    best = [one for one in tried if most and one["score"] is not None and one["score"] >= scores[most - 1]]
    none: tuple[dict[str, float], dict[str, int]] = ({}, {"best": 0, "trials": 0})
    if len(tried) < 20 or most < 5 or len(best) == len(tried) or any(outside(search, one) for one in tried):
        return none
    apart = {}
    for name, space in search.spaces.items():
        top, every = (density(space, [one["settings"][name] for one in some]) + 1e-12 for some in (best, tried))
        apart[name] = float(every @ (top / every - 1) ** 2)
    total = sum(apart.values())
    shares = {name: value / total if total else 1 / len(apart) for name, value in apart.items()}
    return shares, {"best": len(best), "trials": len(tried)}


def density(space: Mapping[str, Any], values: Sequence[Any]) -> np.ndarray:
    """How dense settings lie in the cells of their space: kernels on those seen, and one over all, (cells,)."""
    if space.get("values"):
        cells, size = np.array([space["values"].index(value) for value in values]), len(space["values"])
    else:
        cells, size = cells_of(space, np.array(values, dtype=np.float64))
    counts = np.bincount(cells, minlength=size)
    seen = np.flatnonzero(counts)
    weights = np.append(counts[seen], 1) / (len(values) + 1)
    if space.get("values"):
        kernels = np.full((len(weights), size), 1 / len(weights))
        kernels[np.arange(len(seen)), seen] += 1
        return np.asarray(weights @ (kernels / kernels.sum(axis=1, keepdims=True)))
    centres = np.append(seen, (size - 1) / 2)
    widths = np.append(np.full(len(seen), bandwidth(seen, counts[seen])), size)
    edges = (np.arange(size + 1) - 0.5 - centres[:, None]) / widths[:, None]
    below = np.array([[math.erf(edge / math.sqrt(2)) for edge in row] for row in edges])
    kernels = np.diff(below, axis=1)
    return np.asarray(weights @ (kernels / (below[:, -1:] - below[:, :1])))


def cells_of(space: Mapping[str, Any], values: np.ndarray) -> tuple[np.ndarray, int]:
    """The cell of each number of a range, a value between two in the lower one; and how many cells there are."""
    low, high, step = space["low"], space["high"], space["step"] or (1 if space["whole"] else None)
    if step is not None and not space["log"]:
        high = low + step * math.floor((high - low) / step + 1e-9)
        size = min(round((high - low) / step) + 1, GRID)
    else:
        size = min(math.ceil(math.log(high - low + 1) / math.log(2)) + 1, GRID) if space["whole"] else GRID
    if space["log"]:
        low, high, values = math.log(low), math.log(high), np.log(values)
    cells = np.ceil((values - low) / ((high - low) / (size - 1)) - 0.5).astype(np.int64)
    return np.clip(cells, 0, size - 1), size


def bandwidth(seen: np.ndarray, counts: np.ndarray) -> float:
    """Scott's rule (1992) over cells and how often each was seen; not so narrow that a kernel leaves its cell empty."""
    n = int(counts.sum())
    spread = math.sqrt(float(counts @ (seen - counts @ seen / n) ** 2) / max(1, n - 1))
    places = np.cumsum(counts)
    first = np.searchsorted(places, n // 4, side="left")
    third = min(len(seen) - 1, int(np.searchsorted(places, n * 3 // 4, side="right")))
    return max(1.059 * min(float(seen[third] - seen[first]) / 1.34, spread) * n**-0.2, 0.5 / 1.64)


def search_problems(search: Search) -> Iterator[str]:
    """What of a search does not belong together, as sentences."""
    n = len(search.trials)
    if [trial["number"] for trial in search.trials] != list(range(1, n + 1)) or search.closed["trials"] != n:
        yield f"tuning: trials.csv has {n} trials, numbered otherwise, or closed.json says {search.closed['trials']}."
    for trial in search.trials:
        for name in outside(search, trial):
            yield f"tuning: {name} of trial {trial['number']} is outside its space."
        expected, score = score_of(search, trial), math.nan if trial["score"] is None else trial["score"]
        if expected is not None and not math.isclose(expected, score, rel_tol=1e-9, abs_tol=1e-12):
            yield f"tuning: the score of trial {trial['number']} is {trial['score']}, by its measures {expected}."
        if trial["outcome"] not in ("complete", "repeated") and trial["score"] is not None:
            yield f"tuning: trial {trial['number']} was not trained to its end, and has a score."
    named = {str(one["name"]): one for one in search.study.recipe["contender"]}
    trained = {search.asked["contender"]: search.untuned}
    if search.tuned is not None:
        trained[search.tuned] = search.scored[0]["settings"]
    if set(named) != set(trained):
        yield f"tuning: recipe.toml has the contenders {sorted(named)}, expected {sorted(trained)}."
    for name in set(named) & set(trained):
        for key, value in trained[name].items():
            found = setting_of(search.study.recipe, named[name], key)
            if found != value:
                yield f"tuning: {key} of {name!r} is {found!r} in recipe.toml, {value!r} in the trial that it is from."
    yield from printed_search_problems(search)


def outside(search: Search, trial: Mapping[str, Any]) -> list[str]:
    """Settings of a trial that are not of their spaces."""
    return [name for name, space in search.spaces.items() if not is_within(trial["settings"][name], space)]


def is_within(value: Any, space: Mapping[str, Any]) -> bool:
    if space.get("values"):
        return value in space["values"]
    rounding = 1e-12 * max(abs(space["low"]), abs(space["high"]))
    return is_number(value) and bool(space["low"] - rounding <= value <= space["high"] + rounding)


def score_of(search: Search, trial: Mapping[str, Any]) -> float | None:
    """What a trial scores by its measures; None of one that has no score, or a loss beyond what the score regards."""
    if trial["outcome"] == "repeated":
        same = (one for one in search.trials if one["settings"] == trial["settings"] and one["score"] is not None)
        return float(next(same)["score"])
    measures = trial["measures"] or {}
    if trial["outcome"] != "complete" or measures["loss"] * max(1, search.asked["folds"]) > 1000:
        return None
    if search.study.task == "regression":
        return -float(measures["mean_squared_error"])
    return float(measures["balanced_accuracy"] - 1e-6 * measures["loss"])


def setting_of(recipe: Mapping[str, Any], contender: Mapping[str, Any], key: str) -> Any:
    """A setting of a contender by its name in a search, such as layers.0.conv."""
    if key == "size_px":
        return contender.get(key, recipe["data"][key])
    found: Any = contender
    for step in key.split("."):
        found = found[int(step)] if isinstance(found, list) else found.get(step)
    return found


def printed_search_problems(search: Search) -> Iterator[str]:
    """Numbers in the report's section on the search: the gain, the counts of trials and what was reached."""
    path = search.study.folder / "report.html"
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    section = re.search(r'<section id="tuning".*?</section>', page, re.DOTALL)
    if section is None:
        yield "tuning: report.html has no section on the search."
        return
    gain = re.search(r'<p class="said">(.*?)</p>', section[0], re.DOTALL)
    counts = re.search(r"<p>(.*?)</p>", section[0], re.DOTALL)
    if gain is None or counts is None:
        yield "tuning: the section of report.html does not say what was gained, or of how many trials."
        return
    yield from printed_gain_problems(search, words_of(gain[1]))
    outcomes = [sum(one["outcome"] == kind for one in search.trials) for kind in {x["outcome"] for x in search.trials}]
    seconds = sum(trial["seconds"] for trial in search.trials)
    whole = round(seconds)
    allowed = [len(search.trials), *outcomes, seconds, whole // 3600, whole // 60 % 60, whole // 60, whole % 60, 0.1]
    best, own = search.scored[0], [one for one in search.scored if one["settings"] == search.untuned]
    allowed += [best["number"], search.asked["folds"], *(one["measures"][search.reached] for one in [best, *own])]
    for number, reach in printed_numbers(words_of(counts[1])):
        if not any(abs(value - number) <= reach for value in allowed):
            yield f"tuning: report.html says {number:g} of the trials, which is none of their figures."


def words_of(markup: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", markup))


def printed_gain_problems(search: Search, text: str) -> Iterator[str]:
    """The gain is what the comparison of tuned and untuned says, which is computed anew from the predictions."""
    pairs = search.study.evaluation["comparisons"]
    names = {search.asked["contender"], search.tuned}
    pair = next((one for one in pairs if {one["first"], one["second"]} == names), None)
    printed = [number for number, _ in printed_numbers(text)][:3]
    if pair is None:
        if printed:
            yield "tuning: report.html tells a gain, and there is no comparison of tuned and untuned."
        return
    figures = [known(pair["difference"][key]) for key in ("value", "low", "high")]
    regression = search.study.task == "regression"
    if (pair["first"] == search.tuned) == regression:  # of numbers, it is how much less the first has
        figures = [None if value is None else -value for value in (figures[0], figures[2], figures[1])]
    expected = [value if regression else 100 * value for value in figures if value is not None]
    reaches = [reach for _, reach in printed_numbers(text)]
    for number, value, reach in zip(printed, expected, reaches, strict=False):
        if abs(number - value) > reach:
            yield f"tuning: report.html says that tuning gained {number:g}, computed anew {value:.4g}."


# ---------------------------------------------------------------------------------------------------------------------
# 3j. The tables, and the comparison
# ---------------------------------------------------------------------------------------------------------------------


def references_block(study: Study) -> Tree:
    """Figures from elsewhere, as the recipe gives them."""
    return study.asked.get("references", [])


def number_block(study: Study) -> Tree:
    """The number of this evaluation, from the ledger."""
    try:
        entries = read_chain(study.folder / "ledger.jsonl")
    except ValueError:
        return None
    return next((entry["number"] for entry in entries if is_of(entry, study)), None)


def leaky_block(study: Study, name: str | None = None) -> Tree:
    return study.leaky


Block = Callable[..., Tree]
# Where in evaluation.json (* is any key), and what computes it. Later lines may add to what earlier ones cover.
COMMON: tuple[tuple[tuple[str, ...], Block], ...] = (
    (("leaky",), leaky_block),
    (("contenders", "*", "leaky"), leaky_block),
    (("references",), references_block),
    (("evaluation_number",), number_block),
    (("repeats",), repeats_block),
)
BLOCKS: Mapping[str, tuple[tuple[tuple[str, ...], Block], ...]] = {
    "classification": (
        ((), frame_block),
        (("baseline",), baseline_block),
        (("contenders", "*", "metrics"), metrics_block),
        (("contenders", "*", "per_class"), per_class_block),
        (("contenders", "*", "confusion"), confusion_block),
        (("contenders", "*", "errors"), errors_block),
        (("comparisons",), comparisons_block),
        (("sample_size",), sample_size_block),
        (("prevalence",), lambda study: study.asked.get("prevalence") or None),
        (("contenders", "*", "calibration"), calibration_block),
        (("contenders", "*", "conformal"), conformal_block),
        (("contenders", "*", "abstention"), abstention_block),
        (("contenders", "*", "decision_curve"), decision_curve_block),
        (("contenders", "*", "gate"), gate_block),
        (("subgroups",), subgroups_block),
        *COMMON,
    ),
    "regression": (
        ((), lambda study: {key: value for key, value in frame_block(study).items() if key != "classes"}),
        (("contenders", "*", "metrics"), estimates_block),
        (("baselines", "*", "metrics"), estimates_block),
        (("comparisons",), error_comparisons_block),
        *COMMON,
    ),
}
EXTERNAL: tuple[tuple[tuple[str, ...], Block], ...] = (
    ((), frame_block),
    (("evaluation_number",), external_number),
    *(
        line
        for line in BLOCKS["classification"]
        if line[0]
        in (
            ("baseline",),
            ("comparisons",),
            ("sample_size",),
            ("contenders", "*", "metrics"),
            ("contenders", "*", "per_class"),
            ("contenders", "*", "confusion"),
            ("contenders", "*", "errors"),
            ("contenders", "*", "decision_curve"),
            ("contenders", "*", "gate"),
            ("subgroups",),
        )
    ),
    (("contenders", "*", "calibration"), external_calibration),
    (("contenders", "*", "conformal"), external_conformal),
    (("contenders", "*", "abstention"), external_abstention),
)
RECORD: tuple[tuple[tuple[str, ...], Block], ...] = (
    (("overlap",), overlap_block),
    (("all_images",), all_images_block),
    (("internal",), internal_block),
    (("shift",), shift_effects),
    (("shift",), trained_counts),
)
SEARCH: tuple[tuple[tuple[str, ...], Block], ...] = (((), search_block),)
# What can't be computed from these files, and why.
GIVEN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("format",), "the version of the file"),
    (("evaluation_number_machine",), "counted in the ledger of the machine, over all its runs"),
)
GIVEN_RECORD: tuple[tuple[tuple[str, ...], str], ...] = (
    (("format",), "the version of the file"),
    (("data",), "counted while the images were read"),
    (("shift", "*", "new"), "measured on the images"),
)


@dataclass
class Outcome:
    """What came of the comparison."""

    covered: set[Path_] = field(default_factory=set)
    differences: list[str] = field(default_factory=list)
    largest: float = 0.0


def places(tree: Tree, pattern: Sequence[str], done: Path_ = ()) -> Iterator[tuple[Path_, list[str], Tree]]:
    """Path, what the stars stand for, and what lies there."""
    if not pattern:
        yield done, [], tree
        return
    step, rest = pattern[0], pattern[1:]
    if step == "*":
        keys: list[Any] = list(tree) if isinstance(tree, dict) else list(range(len(tree or ())))
        for key in keys:
            for path, stars, found in places(tree[key], rest, (*done, key)):
                yield path, [key, *stars], found
    elif isinstance(tree, dict) and step in tree:
        yield from places(tree[step], rest, (*done, step))


def compare(expected: Tree, found: Tree, path: Path_, outcome: Outcome) -> None:
    """Compare what was computed with what is written, leaf by leaf."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key in found:
                compare(value, found[key], (*path, key), outcome)
            elif value is not None:
                outcome.differences.append(f"{told(path)}: {key} is missing")
        return
    if isinstance(expected, list | tuple) and isinstance(found, list) and len(expected) == len(found):
        for place, value in enumerate(expected):
            compare(value, found[place], (*path, place), outcome)
        return
    outcome.covered.add(path)
    if is_number(expected) and is_number(found):
        apart = abs(expected - found)
        size = max(abs(expected), abs(found))
        if not (apart <= ABSOLUTE or apart <= RELATIVE * size):
            outcome.differences.append(f"{told(path)} is {found!r}, computed anew {expected!r}")
        else:
            outcome.largest = max(outcome.largest, min(apart, apart / size if size else 0.0))
    elif type(expected) is not type(found) or expected != found:
        outcome.differences.append(f"{told(path)} is {shortened(found)}, computed anew {shortened(expected)}")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def told(path: Path_) -> str:
    return " > ".join(map(str, path)) or "evaluation.json"


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def numeric_leaves(tree: Tree, path: Path_ = ()) -> Iterator[Path_]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from numeric_leaves(value, (*path, key))
    elif is_number(tree):
        yield path


Blocks = Sequence[tuple[tuple[str, ...], Block]]
Reasons = Sequence[tuple[tuple[str, ...], str]]


def rederive(study: Study) -> tuple[Outcome, list[tuple[Path_, str]]]:
    """Compute every block and compare it; what was not computed is a difference, or is taken as given and why."""
    outcome, taken_so = rederived(study, study.evaluation, BLOCKS[study.task], GIVEN)
    for folder in sorted({path.parent for path in study.folder.glob("external/*/external.json")}):
        one = External(study, folder)
        place = f"external/{folder.name}"
        for file, tree, blocks, reasons in (
            ("evaluation.json", one.evaluation, EXTERNAL, GIVEN),
            ("external.json", one.record, RECORD, GIVEN_RECORD),
        ):
            found, given = rederived(one, tree, blocks, reasons)
            outcome.covered |= {(place, file, *path) for path in found.covered}
            outcome.largest = max(outcome.largest, found.largest)
            outcome.differences += [f"{place}/{file}: {problem}" for problem in found.differences]
            taken_so += [((place, file, *path), why) for path, why in given]
        outcome.differences += [f"{place}: {problem}" for problem in [*external_problems(one), *sentence_problems(one)]]
    if (study.folder / "tuning").is_dir():
        search = Search(study)
        found, given = rederived(search, search.summary, SEARCH, ())
        outcome.covered |= {("tuning", "tuning.json", *path) for path in found.covered}
        outcome.largest = max(outcome.largest, found.largest)
        outcome.differences += [f"tuning/tuning.json: {problem}" for problem in found.differences]
        outcome.differences += search_problems(search)
    return outcome, taken_so


def rederived(
    study: Study | Search, tree: Tree, blocks: Blocks, reasons: Reasons
) -> tuple[Outcome, list[tuple[Path_, str]]]:
    """The same of one file."""
    outcome = Outcome()
    for pattern, block in blocks:
        for path, stars, found in places(tree, pattern):
            compare(block(study, *stars), found, path, outcome)
    given: dict[Path_, str] = {}
    for pattern, why in reasons:
        for path, _, found in places(tree, pattern):
            given |= {(*path, *rest): why for rest in numeric_leaves(found)}
    as_given = []
    for path in numeric_leaves(tree):
        if path in given and path not in outcome.covered:
            as_given.append((path, given[path]))
        elif path not in outcome.covered:
            outcome.differences.append(f"{told(path)} was not re-derived: nothing here computes it")
    outcome.covered &= set(numeric_leaves(tree))
    return outcome, as_given


# ---------------------------------------------------------------------------------------------------------------------
# 4. What is printed
# ---------------------------------------------------------------------------------------------------------------------

PRINTED = re.compile(r"-?\d+(?:,\d{3})+(?:\.\d+)?(?!\d)|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def printed_numbers(text: str) -> Iterator[tuple[float, float]]:
    """Each number in a text, and how far what it stands for may be from it."""
    for match in PRINTED.finditer(text.replace("\u2212", "-").replace("\u202f", "")):
        number = match.group().replace(",", "")
        digits, _, exponent = number.partition("e")
        decimals, reach = len(digits.partition(".")[2]), 0.500001
        if "," in match.group() and not decimals:  # a large whole number may be rounded, also up: 12,000
            decimals, reach = len(digits.rstrip("0")) - len(digits), 1.0
        yield float(number), reach * 10.0 ** (int(exponent or 0) - decimals)


def sentence_problems(study: Study) -> Iterator[str]:
    """Numbers of a verdict's sentence that no figure beside it rounds to."""
    listed: list[tuple[str, list[Any]]] = [("comparisons", study.evaluation.get("comparisons", []))]
    listed.append(("repeats > comparisons", (study.evaluation.get("repeats") or {}).get("comparisons", [])))
    about: list[float] = [study.n, study.n_units, 100 * study.confidence, 2]
    for where, records in listed:
        for place, record in enumerate(records):
            text = str(record.get("sentence", ""))
            for name in sorted((record["first"], record["second"]), key=len, reverse=True):
                text = text.replace(name, "")
            figures = [float(value_at(record, path)) for path in numeric_leaves(record)]
            allowed = [*figures, *(100 * value for value in figures), *about, len(records), 1e-4, 3]
            for number, reach in printed_numbers(text):
                if not any(abs(abs(value) - abs(number)) <= reach for value in allowed):
                    yield f"{where} > {place} > sentence says {number:g}, which is none of its figures."


def value_at(tree: Tree, path: Path_) -> Any:
    for step in path:
        tree = tree[step]
    return tree


class FirstTable(HTMLParser):
    """Cells of the body of the first table of class "comparison", row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside, self._done, self._cell, self._other = False, False, False, False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        kinds = (dict(attributes).get("class") or "").split()
        if tag == "table" and "comparison" in kinds and not self._done:
            self._inside = True
        if self._inside and tag == "tr":
            self._other = "baseline" in kinds  # no contender's row
            self.rows += [] if self._other else [[]]
        if tag in ("td", "th", "tr"):
            self._cell = self._inside and not self._other and tag == "td" and "cost" not in kinds
        if self._cell and tag == "td" and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        if tag in ("tbody", "table") and self._inside:
            self._inside, self._done = False, True

    def handle_data(self, data: str) -> None:
        if self._cell and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data + " "


def report_problems(study: Study) -> Iterator[str]:
    """Numbers in the comparison of report.html that no figure of their contender rounds to."""
    path = study.folder / "report.html"
    if not path.is_file() or study.task != "classification":
        return
    reader = FirstTable()
    reader.feed(path.read_text(encoding="utf-8"))
    rows = [row for row in reader.rows if row]
    if len(rows) < len(study.names):
        yield "report.html has no comparison of all contenders."
    for name, row in zip(study.evaluation["contenders"], rows, strict=False):
        metrics = study.evaluation["contenders"][name]["metrics"]
        figures = [float(value_at(metrics, path)) for path in numeric_leaves(metrics)]
        for cell in row:
            for number, reach in printed_numbers(cell.replace("\u2013", " ")):
                if not any(abs(value - number) <= reach for value in figures):
                    yield f"report.html: {name} has {number:g} in the comparison, which is none of its figures."


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def main(words: Sequence[str] | None = None) -> int:
    """Check a run folder and say what came of it: 0 all agrees, 1 something differs, 2 it can't be checked."""
    parser = argparse.ArgumentParser(
        prog="check", description="Compute every number of a run folder anew from its predictions, and compare."
    )
    parser.add_argument("run", nargs="?", type=Path, default=Path(__file__).resolve().parent, help="the run folder")
    parser.add_argument("--all", action="store_true", help="list what is taken as given")
    asked = parser.parse_args(words)
    try:
        study = Study(asked.run)
        if study.task not in BLOCKS:
            raise BadInput(f"{asked.run} is of the task {study.task!r}, expected {' or '.join(BLOCKS)}.")
        problems = list(file_problems(study))
        outcome, given = rederive(study)
        problems += outcome.differences
        if study.task == "classification":
            problems += decision_problems(study)
        problems += [*sentence_problems(study), *report_problems(study)]
    except BadInput as error:
        sys.stderr.write(f"Can't be checked: {error}\n")
        return 2
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        sys.stderr.write(f"Can't be checked: a file is damaged ({type(error).__name__}: {error}).\n")
        return 2
    sys.stdout.write("\n".join(lines_told(problems, outcome, given, asked.all)) + "\n")
    return 1 if problems else 0


def lines_told(
    problems: Sequence[str], outcome: Outcome, given: Sequence[tuple[Path_, str]], all_of_them: bool
) -> Iterator[str]:
    """What came of it, line by line."""
    yield from (f"DIFFERS  {problem}" for problem in problems)
    hint = "" if all_of_them or not given else " (--all lists them)"
    yield (
        f"{len(outcome.covered):,} numbers re-derived, largest deviation {outcome.largest:.1g}; "
        f"{len(given):,} taken as given{hint}."
    )
    if all_of_them:
        yield from (f"  given: {told(path)} ({why})" for path, why in given)
    yield f"{len(problems):,} difference(s) found." if problems else "Everything agrees."


if __name__ == "__main__":
    sys.exit(main())
