"""What the checks of the audit look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from clearmargin.audit.duplicates import exact_copies, join_groups, number_known
from clearmargin.audit.links import Links, find_links
from clearmargin.audit.near_copies import NearCopies
from clearmargin.audit.nouns import IMAGES, ROWS, Nouns
from clearmargin.audit.remembered import near_copies_of
from clearmargin.records import Part, Rows, Sample


@dataclass(frozen=True)
class Evidence:
    """Samples that could be decoded, and what is known of each.

    Attributes
    ----------
    names, labels, groups, parts
        Object arrays of shape (samples,); ``groups`` and ``parts`` hold None where the source says nothing.
    facts
        One row for each sample: content_sha256, pixel_sha256, width_px, height_px, mode, format, bytes.
    copies
        int64 of shape (samples,): samples with identical pixels share a number.
    near
        Near-duplicates; None when nothing was looked for (a table, or no miniatures).
    tied
        int64 of shape (samples,): what belongs together by somebody's word, beyond the patients, shares a number (a
        column, the groups of a split file); None when nobody said.
    """

    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    parts: np.ndarray
    facts: pd.DataFrame
    copies: np.ndarray
    near: NearCopies | None = None
    tied: np.ndarray | None = None

    @classmethod
    def gather(
        cls,
        samples: Sequence[Sample],
        facts: pd.DataFrame,
        miniatures: Rows | None = None,
        tied: np.ndarray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evidence:
        """Lay samples and facts side by side, and look for copies.

        Raises
        ------
        ValueError
            When there is not one row of facts, and one miniature, for each sample.
        """
        if len(samples) != len(facts):
            raise ValueError(f"Expected one row of facts per sample, got {len(facts)} for {len(samples)} samples.")
        if miniatures is not None and miniatures.shape[0] != len(samples):
            raise ValueError(f"Expected {len(samples)} miniatures, got {miniatures.shape[0]}.")
        names, labels, groups, parts = (
            np.array([getattr(sample, attribute) for sample in samples], dtype=object)
            for attribute in ("name", "label", "group", "part")
        )
        near = None if miniatures is None else near_copies_of(miniatures, progress)
        return cls(names, labels, groups, parts, facts, exact_copies(facts["pixel_sha256"].tolist()), near, tied)

    @cached_property
    def sets_of_copies(self) -> list[np.ndarray]:
        """Rows (int64, ascending) of every set of two or more identical images, by first row."""
        sizes = np.bincount(self.copies)
        rows = np.flatnonzero(sizes[self.copies] > 1)
        rows = rows[np.argsort(self.copies[rows], kind="stable")]
        ends = np.flatnonzero(np.diff(self.copies[rows])) + 1
        return np.split(rows, ends) if len(rows) else []

    @cached_property
    def together(self) -> np.ndarray:
        """int64 of shape (samples,): identical and near copies share a number."""
        return self.copies if self.near is None else join_groups(self.copies, self.near.clusters)

    @cached_property
    def units(self) -> np.ndarray:
        """int64 of shape (samples,): all that must stay together (copies, patients, ``tied``) shares a number."""
        return join_groups(self.together, self.told)

    @cached_property
    def told(self) -> np.ndarray:
        """int64 of shape (samples,): what belongs together by anybody's word (patients, ``tied``) shares a number."""
        return join_groups(number_known(self.groups.tolist()), *([] if self.tied is None else [self.tied]))

    @property
    def is_tied(self) -> bool:
        """Whether anything belongs together by somebody's word, beyond the patients."""
        return len(np.unique(self.told)) < len(np.unique(number_known(self.groups.tolist())))

    @property
    def units_called(self) -> str:
        """What a reader calls the units, in the plural."""
        if self.is_tied:
            return "independent groups"
        known = [group is not None for group in self.groups]
        if all(known):
            return f"{self.nouns.group}s"
        return f"{self.nouns.group}s and {self.nouns.sample}s without one" if any(known) else "different images"

    @cached_property
    def links(self) -> Links:
        """Pairs of copies, identical and near."""
        return find_links(self.copies, self.near)

    @property
    def is_classification(self) -> bool:
        """Whether every label is the name of a class."""
        return all(isinstance(label, str) for label in self.labels)

    @property
    def nouns(self) -> Nouns:
        """What the samples are called."""
        return IMAGES if self.is_classification else ROWS

    def part_counts(self, part: Part) -> dict[str, int]:
        """Images of each class in a given part; of a regression, ``rows``."""
        return self.class_counts(part) if self.is_classification else {"rows": int((self.parts == part).sum())}

    def class_counts(self, part: Part | None = None) -> dict[str, int]:
        """Images of each class, in all or in one given part, by class name; empty for a regression."""
        if not self.is_classification:
            return {}
        labels = self.labels if part is None else self.labels[self.parts == part]
        return dict(sorted(Counter(labels.tolist()).items()))
