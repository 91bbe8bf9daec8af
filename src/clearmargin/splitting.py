"""Splits without a study: made and written, or read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.claim import check_apart
from clearmargin.errors import UsageError
from clearmargin.files import check_output_file, table_text, write_text
from clearmargin.preparation import audit_inputs, divide, joined, named, own_column, read_inputs
from clearmargin.recipe import Data, SplitSettings
from clearmargin.records import PARTS, Inputs, Progress, Split
from clearmargin.split import crossing_test_samples, make_folds, read_parts_files
from clearmargin.split.groups import groups_in_two_parts

IMAGE_LEVEL = "image-level split: optimistic if related images (of one patient) are in both parts"


@dataclass(frozen=True)
class Divided:
    """Splits of one data set: one, or one for each fold.

    Attributes
    ----------
    splits
        By repeat, and by fold within a repeat.
    dropped
        How many copies were left out.
    """

    splits: tuple[Split, ...]
    dropped: int = 0

    def as_json(self) -> dict[str, Any]:
        """What it amounts to, for programs; a group that crosses counts once, a test sample in every repeat."""
        first = self.splits[0]
        crossing = {group for one in self.splits for group in groups_in_two_parts(one.groups, one.parts)}
        said = {
            "asked": dict(zip(PARTS, first.asked, strict=True)),
            "samples": len(first.names),
            "dropped": self.dropped,
            "patients": first.patients,
            "image_level": not first.patients and not first.numeric,
            "given": first.given,
            "folds": first.folds,
            "crossing_groups": len(crossing),
            "crossing_test_samples": sum(map(crossing_test_samples, self.splits)),
            "leaky": bool(crossing),
        }
        splits = [
            {**({"repeat": number // first.folds + 1, "fold": one.fold} if first.folds else {}), "parts": makeup(one)}
            for number, one in enumerate(self.splits)
        ]
        return {**said, "splits": splits}


def makeup(split: Split) -> dict[str, dict[str, Any]]:
    """What each part holds: ``samples``, ``fraction`` and ``asked``, ``groups``, ``classes`` (numbers) and ``shares``.

    Of a regression, ``mean`` is that of the target in place of the classes.
    """
    counted: dict[str, dict[str, Any]] = {}
    for part, asked in zip(PARTS, split.asked, strict=True):
        rows = split.rows(part)
        labels = split.labels[rows]
        counts = Counter(labels.tolist())
        counted[part] = {
            "samples": len(rows),
            "fraction": len(rows) / len(split.names),
            "asked": asked,
            "groups": len(set(split.groups[rows])),
        }
        if split.numeric:
            counted[part]["mean"] = float(np.mean(labels.astype(np.float64)))
        else:
            classes = {name: counts[name] for name in sorted(set(split.labels))}
            counted[part]["classes"] = classes
            counted[part]["shares"] = {name: number / len(rows) for name, number in classes.items()}
    return counted


def divide_data(data: Data, asked: SplitSettings, *, seed: int = 0, repeats: int = 1, progress: Progress) -> Divided:
    """Divide data as the settings of a recipe ask, without training on them; a file of folds gives all of them.

    Raises
    ------
    ClearmarginError
        `UsageError` when the data can't be used or divided so.
    """
    inputs, source = read_inputs(data, progress, own_column(asked), no_larger=True)
    copies = audit_inputs(inputs, source, asked.model_copy(update={"file": None}), progress=progress).copies
    if asked.file is not None:
        return _of_file(inputs, copies, asked, seed)
    if asked.folds:
        kept, samples, together = joined(inputs, copies, asked)
        splits = make_folds(samples, together, folds=asked.folds, repeats=repeats, fractions=asked.fractions, seed=seed)
        return Divided(tuple(splits), len(inputs.samples) - len(kept.samples))
    kept, split = divide(inputs, copies, asked, seed)
    return Divided((split,), len(inputs.samples) - len(kept.samples))


def _of_file(inputs: Inputs, copies: np.ndarray, asked: SplitSettings, seed: int) -> Divided:
    """The splits that a file holds, each checked."""
    given = read_parts_files(Path(str(asked.file)))
    splits, folds = [], given[-1].fold
    for one in given:
        kept, split = divide(inputs, copies, asked, seed, parts_file=one)
        if folds:
            validation = asked.fractions[1] / (asked.fractions[0] + asked.fractions[1]) * (1 - 1 / folds)
            wanted = (1 - 1 / folds - validation, validation, 1 / folds)
            split = replace(split, folds=folds, fold=one.fold, asked=wanted)
        splits.append(split)
    return Divided(tuple(splits), len(inputs.samples) - len(kept.samples))


def check_split_output(out: Path, data: str | Path) -> None:
    """Refuse, before any work is done, an ``out`` that can't become a file or holds something that is no split.

    Raises
    ------
    UsageError
        Saying what to do.
    """
    check_output_file(out, "split.csv", Path(named(data)), "file of the data")
    check_apart(out, named(data))
    if out.exists() and not (out.is_file() and _begins_like_a_split(out)):
        what = "and is no split" if out.is_file() else "and is not a regular file"
        raise UsageError(f"{out} exists already {what}: choose another name with --out.")


def _begins_like_a_split(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(200).startswith((b'"name",', b'"repeat","fold","name",'))
    except OSError as error:
        raise UsageError(f"{path} can't be used as --out: {error.strerror or error}.") from error


def write_splits(out: Path, splits: Sequence[Split]) -> None:
    """Write name, label, group and part of each sample; of folds, with repeat and fold in front.

    Raises
    ------
    UsageError
        When there is a file of that name with other content: somebody may have edited it.
    DiskError
        When the file system refuses.
    """
    frames = [
        pd.DataFrame(
            {
                **({"repeat": number // split.folds + 1, "fold": split.fold} if split.folds else {}),
                "name": split.names,
                "label": split.labels.astype(float) if split.numeric else split.labels,
                "group": split.groups,
                "part": split.parts,
            }
        )
        for number, split in enumerate(splits)
    ]
    text = table_text(pd.concat(frames, ignore_index=True))
    if out.exists() and out.read_bytes() != text.encode("utf-8", "surrogatepass"):
        raise UsageError(
            f"{out} exists already and holds another split, which would be lost: choose another name with --out, "
            f"or see whether that one holds with --check {out}."
        )
    write_text(out, text)
