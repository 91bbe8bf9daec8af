"""Splits without a study: made and written, or read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.files import check_output_file, write_table
from clearmargin.preparation import audit_inputs, divide, joined, named, own_column, read_inputs
from clearmargin.recipe import Data, SplitSettings
from clearmargin.records import PARTS, Progress, Split
from clearmargin.split import crossing_groups, crossing_test_samples, make_folds

IMAGE_LEVEL = "image-level split: optimistic if slices of one patient are in both parts"


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
        """What it amounts to, for programs."""
        first = self.splits[0]
        said = {
            "asked": dict(zip(PARTS, first.asked, strict=True)),
            "samples": len(first.names),
            "dropped": self.dropped,
            "patients": first.patients,
            "image_level": not first.patients and not first.numeric,
            "given": first.given,
            "folds": first.folds,
            "crossing_groups": crossing_groups(first),
            "crossing_test_samples": crossing_test_samples(first),
            "leaky": crossing_groups(first) > 0,
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
    """Divide data as the settings of a recipe ask, without training on them.

    Raises
    ------
    ClearmarginError
        `UsageError` when the data can't be used or divided so.
    """
    inputs, source = read_inputs(data, progress, own_column(asked), no_larger=True)
    copies = audit_inputs(inputs, source, asked).copies
    if asked.folds:
        kept, samples, together = joined(inputs, copies, asked)
        splits = make_folds(samples, together, folds=asked.folds, repeats=repeats, fractions=asked.fractions, seed=seed)
        return Divided(tuple(splits), len(inputs.samples) - len(kept.samples))
    kept, split = divide(inputs, copies, asked, seed)
    return Divided((split,), len(inputs.samples) - len(kept.samples))


def check_split_output(out: Path, data: str | Path) -> None:
    """Refuse an ``out`` that can't become a file, before any work is done."""
    check_output_file(out, "split.csv", Path(named(data)), "file of the data")


def write_splits(out: Path, splits: Sequence[Split]) -> None:
    """Write name, label, group and part of each sample; of folds, with repeat and fold in front."""
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
    write_table(out, pd.concat(frames, ignore_index=True))
