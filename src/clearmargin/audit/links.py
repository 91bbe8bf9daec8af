"""Pairs of copies, whether identical or nearly so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearmargin.audit.near_copies import ORIENTATION_WORDS, NearCopies


@dataclass(frozen=True)
class Links:
    """Pairs that tie samples together; all that are tied, directly or through others, are copies.

    Attributes
    ----------
    pairs
        int64 of shape (pairs, 2), the smaller number first, ascending.
    similarity
        float64 of shape (pairs,): 1 for identical ones.
    orientation
        int64 of shape (pairs,): index of `ORIENTATION_WORDS`.
    identical
        bool of shape (pairs,).
    """

    pairs: np.ndarray
    similarity: np.ndarray
    orientation: np.ndarray
    identical: np.ndarray

    def chosen(self, rows: np.ndarray) -> Links:
        """Some of the pairs, in another order."""
        return Links(self.pairs[rows], self.similarity[rows], self.orientation[rows], self.identical[rows])

    def how(self, row: int) -> str:
        """What the first of a pair must undergo to look like the second, in words."""
        return ORIENTATION_WORDS[self.orientation[row]]


def find_links(copies: np.ndarray, near: NearCopies | None) -> Links:
    """Pairs of identical samples (each with the first of its set) and the near ones, without repeats.

    Parameters
    ----------
    copies
        int64 of shape (samples,): samples with identical pixels share a number.
    """
    _, first, number = np.unique(copies, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[number] != np.arange(len(copies)))
    pairs = np.column_stack((first[number[again]], again)).reshape(-1, 2)
    ones, none = np.ones(len(again)), np.zeros(len(again), np.int64)
    if near is None:
        return Links(pairs, ones, none, ones.astype(bool))
    nearly = copies[near.pairs[:, 0]] != copies[near.pairs[:, 1]]
    pairs = np.concatenate((pairs, near.pairs[nearly]))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Links(
        pairs[order],
        np.concatenate((ones, near.similarity[nearly]))[order],
        np.concatenate((none, near.orientation[nearly]))[order],
        (np.arange(len(pairs)) < len(again))[order],
    )
