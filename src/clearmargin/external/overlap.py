"""Whether new images were learned from: identical ones by hash, nearly identical ones by their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.audit.duplicates import exact_copies, join_groups, number_known
from clearmargin.audit.near_copies import find_near_copies
from clearmargin.errors import UsageError, WorkError
from clearmargin.pixels import StoredMiniatures
from clearmargin.records import Inputs, Rows

MOST_PAIRS = 200


@dataclass(frozen=True)
class Overlap:
    """New images that have a copy among those which were learned from.

    Attributes
    ----------
    identical, near
        bool of shape (new images,): a copy pixel for pixel; or nearly so, and not identical.
    near_looked_for
        False when there were no pictures to hold the new ones against: ``why_not`` then says why.
    pairs
        (new, learned from) by name, of at most `MOST_PAIRS`.
    groups
        int64 of shape (new images,): copies among the new images, and their patients, share a number.
    stated
        Name of the group that the data state for each image, None for none: object of shape (new images,).
    same_name
        bool of shape (new images,): the stated group bears the name of one that was learned from. Whether it is the
        same patient only people know.
    learned_images, learned_stated
        How many images were learned from, and how many of them have a stated group.
    """

    identical: np.ndarray
    near: np.ndarray
    near_looked_for: bool
    why_not: str
    pairs: tuple[tuple[str, str], ...]
    groups: np.ndarray
    stated: np.ndarray
    same_name: np.ndarray
    learned_images: int
    learned_stated: int

    @property
    def left_out(self) -> np.ndarray:
        """Bool of shape (new images,): the image, or another of its group, has a copy of either kind."""
        return np.isin(self.groups, self.groups[self.identical | self.near])

    @property
    def kinds(self) -> np.ndarray:
        """Why each image is left out, object of shape (new images,).

        ``identical`` or ``near``: it has such a copy; ``group``: another of its group has; empty: it is not left out.
        """
        names = ["identical", "near", "group"]
        return np.select([self.identical, self.near, self.left_out], names, "").astype(object)

    def as_json(self) -> dict[str, Any]:
        """What ``external.json`` keeps."""
        return {
            "images": len(self.identical),
            "identical": int(self.identical.sum()),
            "near": int(self.near.sum()) if self.near_looked_for else None,
            "same_group": int((self.kinds == "group").sum()),
            "left_out": int(self.left_out.sum()),
            "near_looked_for": self.near_looked_for,
            "why_not": self.why_not or None,
            "groups_stated": sum(name is not None for name in self.stated[~self.left_out]),
            "learned_images": self.learned_images,
            "learned_groups_stated": self.learned_stated,
            "same_name": int(self.same_name[~self.left_out].sum()),
            "pairs": [{"new": new, "trained": trained} for new, trained in self.pairs],
        }


class _Stacked:
    """Rows of two stores, one after the other."""

    def __init__(self, first: Rows, kept: np.ndarray, second: Rows) -> None:
        self._first, self._kept, self._second = first, kept, second
        self.shape = (len(kept) + second.shape[0], *second.shape[1:])
        self.dtype = second.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        wanted = np.asarray(rows, dtype=np.int64)
        out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        older = wanted < len(self._kept)
        out[older] = self._first.read(self._kept[wanted[older]])
        out[~older] = self._second.read(wanted[~older] - len(self._kept))
        return out


def find_overlap(new: Inputs, learned: pd.DataFrame, stored: StoredMiniatures | None, why_not: str) -> Overlap:
    """Hold new images against those that a run learned from.

    Two images are near copies when they are so for the audit and for the split (`audit.near_copies`): in one cluster.

    Parameters
    ----------
    learned
        ``name``, ``group`` and ``pixel_sha256`` of each image that was learned from.
    stored
        Pictures of them; None when there are none, and ``why_not`` says why.
    """
    hashes = new.facts["pixel_sha256"].to_numpy(dtype=object)
    first = dict(zip(learned["pixel_sha256"][::-1], learned["name"][::-1], strict=True))
    identical = np.array([digest in first for digest in hashes], dtype=bool)
    names = [sample.name for sample in new.samples]
    pairs = [(name, first[digest]) for name, digest in zip(names, hashes, strict=True) if digest in first]
    if new.miniatures is None:
        raise WorkError("Images without small pictures can't be held against others.")
    near = np.zeros(len(names), dtype=bool)
    if stored is None:
        clusters = find_near_copies(new.miniatures).clusters
    else:
        kept = stored.rows(list(learned["name"]))
        found = find_near_copies(_Stacked(stored.miniatures, kept, new.miniatures)).clusters
        before, clusters = found[: len(kept)], found[len(kept) :]
        near = np.isin(clusters, before) & ~identical
        one_of = dict(zip(before[::-1], list(learned["name"])[::-1], strict=True))
        pairs += [(names[row], one_of[clusters[row]]) for row in np.flatnonzero(near)]
    stated_groups = np.array([sample.group for sample in new.samples], dtype=object)
    groups = join_groups(clusters, exact_copies(list(hashes)), number_known(list(stated_groups)))
    known = set(learned["group"]) - {""}
    same_name = np.array([name in known for name in stated_groups], dtype=bool)
    return Overlap(
        identical=identical,
        near=near,
        near_looked_for=stored is not None,
        why_not=why_not,
        pairs=tuple(pairs[:MOST_PAIRS]),
        groups=groups,
        stated=stated_groups,
        same_name=same_name,
        learned_images=len(learned),
        learned_stated=int((learned["group"] != "").sum()),
    )


def require_same_images(learned: pd.DataFrame, given: Inputs) -> None:
    """Refuse data that are said to be those of the training, and are not.

    Raises
    ------
    UsageError
        Naming an image that is missing or another one.
    """
    there = dict(zip((sample.name for sample in given.samples), given.facts["pixel_sha256"], strict=True))
    for name, digest in zip(learned["name"], learned["pixel_sha256"], strict=True):
        if there.get(name) != digest:
            what = "is another image there" if name in there else "is not there"
            raise UsageError(
                f"--training-data are not the data this run learned from: {name!r} {what}. Give the same data, or "
                "leave the option out."
            )
