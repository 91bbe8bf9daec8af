"""Which group goes to which part: drawn by lot, each class in proportion.

1. Groups with the same number of images of every class are one *kind*. A kind of 25 groups owes 20 to train and 2 to
   test and validation each; the one left over has the shares 0, .5, .5.
2. The left-over shares are rounded by the cube method (Deville & Tillé 2004, Biometrika 91:893): a random walk among
   the shares that leaves the images of each class in each part as they are until every share is 0 or 1. The mean
   of a share never changes on the way, so every group goes to a part exactly as often as the fraction says, the
   largest patient included. Large kinds are settled first, so that small ones can make up for them.
3. What rounding leaves is mended by moving and swapping groups that are no larger than the median group. The larger
   ones stay where the lot put them: their chances remain exact. Small groups pay for that: when a few large patients
   hold much of the data, some small ones come to the test part two or three times as often as the fraction says,
   because they fill it whenever no large one is in it.
4. A class that is missing from a part gets a group there, with as few images moved as possible: where a class has
   only a handful of groups, the chances follow from that rather than from the fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, islice

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, kron

from clearmargin.errors import SourceError

_WHOLE = 1e-7  # a share this near to 0 or 1 is settled
_WALK_BUDGET = 60_000  # open kinds x conditions: bounds the time of the walk, the same on every machine
_MOST_CONDITIONS = 32
_MENDS = 1_000
_POOL = 1_000  # groups of each part that mending may move
_CANDIDATES = 32  # of these, looked at in one step
_SPARE_GROUPS = 50  # of a class, when a part lacks it
_SEARCH_NODES = 10_000


def allot(counts: csr_array, fractions: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Give every group a part so that each class is divided as ``fractions`` say, as nearly as groups allow.

    Parameters
    ----------
    counts
        Images of each class in each group: integers of shape (groups, classes), no row or column empty.
        The outcome depends on the order of the rows.
    fractions
        Of shape (parts,), positive, summing to one.

    Returns
    -------
    numpy.ndarray
        int64 of shape (groups,): the index of the part.

    Raises
    ------
    SourceError
        When no arrangement gives every class a group in every part.
    """
    counts = csr_array(counts)
    counts.sum_duplicates()  # also sorts the columns within a row
    shares_of = np.asarray(fractions, dtype=float)
    kinds, kind_of = kinds_of(counts)
    members = np.bincount(kind_of)
    owed = members[:, None] * shares_of
    settled = np.floor(owed + _WHOLE)
    rounded = _round_shares(np.clip(owed - settled, 0, 1), kinds, counts.sum(axis=0), rng)
    parts = deal(kind_of, (settled + rounded).astype(np.int64), rng)
    sizes = counts.sum(axis=1)
    parts = mend(counts, parts, shares_of, rng, sizes <= np.median(sizes))
    return represent_every_class(counts, parts, len(shares_of), rng)


def counted(groups: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Number of each sample's group, and samples of each class in each group: (groups, classes)."""
    group_of, group_names = pd.factorize(groups, sort=True)
    class_of, names = pd.factorize(classes, sort=True)
    counts = csr_array((np.ones(len(groups), np.int64), (group_of, class_of)), shape=(len(group_names), len(names)))
    counts.sum_duplicates()
    return group_of, counts


def class_totals(counts: csr_array, parts: np.ndarray, n_parts: int) -> np.ndarray:
    """Images of each class in each part: int64 of shape (parts, classes)."""
    groups = np.arange(len(parts))
    membership = csr_array((np.ones(len(parts), np.int64), (parts, groups)), shape=(n_parts, len(parts)))
    return (membership @ counts).toarray()


def kinds_of(counts: csr_array) -> tuple[csr_array, np.ndarray]:
    """One row of each distinct kind, and the kind of each group; exact, and without a dense matrix."""
    columns = counts.indices.astype(np.int64)
    _, codes = np.unique(columns * (int(counts.data.max()) + 1) + counts.data, return_inverse=True)
    lengths = np.diff(counts.indptr)
    key = np.zeros(counts.shape[0], dtype=np.int64)
    for position in range(int(lengths.max())):
        rows = np.flatnonzero(lengths > position)
        extended = key[rows] * len(codes) + codes[counts.indptr[rows] + position]
        _, number = np.unique(extended, return_inverse=True)
        key[rows] = number + key.max() + 1  # never equal to the key of a row that has ended
    _, first, kind_of = np.unique(key, return_index=True, return_inverse=True)
    return counts[first], kind_of


def deal(kind_of: np.ndarray, numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the groups of each kind to the parts at random; ``numbers`` has shape (kinds, parts)."""
    shuffled = rng.permutation(len(kind_of))
    shuffled = shuffled[np.argsort(kind_of[shuffled], kind="stable")]
    parts = np.empty(len(kind_of), dtype=np.int64)
    parts[shuffled] = np.repeat(np.tile(np.arange(numbers.shape[1]), len(numbers)), numbers.ravel())
    return parts


# --- rounding: the cube method ------------------------------------------------------------------------------


def _round_shares(
    shares: np.ndarray, kinds: csr_array, class_images: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Round shares (kinds, parts) to 0 or 1 at random: rows keep their sum, entries their mean.

    The conditions to keep are the images of a part and of each class in it, the rarest classes first; they are
    given up by halves, the total last, when too few kinds are open to keep them all.
    """
    open_kinds = np.flatnonzero(((shares > _WHOLE) & (shares < 1 - _WHOLE)).any(axis=1))
    sizes = kinds.sum(axis=1)
    order = open_kinds[np.lexsort((rng.random(len(open_kinds)), -sizes[open_kinds]))]
    most = min(_MOST_CONDITIONS, kinds.shape[1], max(1, _WALK_BUDGET // max(1, len(order))))
    rarest = np.argsort(class_images, kind="stable")[: most - 1]
    conditions = np.column_stack([sizes[order], kinds[order][:, rarest].toarray()]).astype(float)
    conditions /= np.maximum(conditions.max(axis=0, initial=0), 1)
    walking = shares[order]
    kept = most
    while True:
        for one, other in combinations(range(shares.shape[1]), 2):
            _walk(walking, one, other, conditions[:, :kept], rng)
        if kept == 0:
            break
        kept //= 2
    rounded = shares.copy()
    rounded[order] = walking
    return np.rint(rounded)


def _walk(shares: np.ndarray, one: int, other: int, conditions: np.ndarray, rng: np.random.Generator) -> None:
    """Walk shares between two parts, in place, until too few kinds are open to keep the conditions.

    A window of one kind more than there are conditions always has a direction that keeps them all.
    """
    waiting = iter(np.flatnonzero(_is_open(shares, one, other)))
    window = np.empty(0, dtype=np.int64)
    while True:
        room = conditions.shape[1] + 1 - len(window)
        window = np.concatenate([window, np.array(list(islice(waiting, room)), dtype=np.int64)])
        direction = _dependency(conditions[window])
        if direction is None:
            return
        _step(shares, one, other, window, direction, rng)
        window = window[_is_open(shares[window], one, other)]


def _is_open(shares: np.ndarray, one: int, other: int) -> np.ndarray:
    pair = shares[:, [one, other]]
    return np.asarray(((pair > _WHOLE) & (pair < 1 - _WHOLE)).all(axis=1))


def _step(
    shares: np.ndarray,
    one: int,
    other: int,
    window: np.ndarray,
    direction: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Go as far as possible along the direction or against it, with the chances that keep every mean."""
    gaining, losing = shares[window, one], shares[window, other]
    moving = np.abs(direction) > 1e-12
    pace = np.abs(direction[moving])
    up = np.minimum(1 - gaining, losing)[moving] / pace
    down = np.minimum(gaining, 1 - losing)[moving] / pace
    rising = direction[moving] > 0
    forth = np.where(rising, up, down).min()
    back = np.where(rising, down, up).min()
    length = forth if rng.random() * (forth + back) < back else -back
    shares[window, one] += length * direction
    shares[window, other] -= length * direction


def _dependency(vectors: np.ndarray) -> np.ndarray | None:
    """Coefficients, not all zero, with which the rows of (m, q) add up to zero; None when there are none.

    Gaussian elimination in a fixed order, so that every machine finds the same direction.
    """
    rows, columns = vectors.shape
    work = np.hstack([vectors, np.eye(rows)])
    for index in range(rows):
        row = work[index]
        pivot = int(np.abs(row[:columns]).argmax()) if columns else 0
        if columns == 0 or abs(row[pivot]) < 1e-9:
            return row[columns:]
        work[index + 1 :] -= (work[index + 1 :, pivot] / row[pivot])[:, None] * row
    return None


# --- mending: moves and swaps -------------------------------------------------------------------------------


def mend(
    counts: csr_array, parts: np.ndarray, fractions: np.ndarray, rng: np.random.Generator, movable: np.ndarray
) -> np.ndarray:
    """Move or swap ``movable`` groups while that lowers the sum of squared relative deviations from the targets."""
    parts = parts.copy()
    target = fractions[:, None] * counts.sum(axis=0)
    weight = 1 / target**2
    pool = np.concatenate(
        [rng.permutation(np.flatnonzero(movable & (parts == p)))[:_POOL] for p in range(len(fractions))]
    )
    images = counts[pool].toarray().astype(float)
    place = parts[pool]
    excess = class_totals(counts, parts, len(fractions)) - target
    idle = 0
    for _ in range(_MENDS):
        moves = _best_exchange(images, place, excess, weight, rng)
        idle = 0 if moves else idle + 1
        if idle == 3:  # candidates are drawn at random: once may be bad luck
            break
        for row, source, goal in moves:
            place[row] = goal
            excess[source] -= images[row]
            excess[goal] += images[row]
    parts[pool] = place
    return parts


def _best_exchange(
    images: np.ndarray, place: np.ndarray, excess: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """The exchange of one group, or of one for one, that lowers the sum most: (row, from, to) of each move.

    Moving counts c from part p to q changes the sum by c·(2 w_q e_q - 2 w_p e_p) + c²·(w_p + w_q), with the excess e
    and the weights w = 1 / target²; a swap moves the difference of two rows.
    """
    best = -1e-9
    moves: list[tuple[int, int, int]] = []
    nothing = np.zeros((1, images.shape[1]))
    for p, q in combinations(range(len(excess)), 2):
        here = rng.permutation(np.flatnonzero(place == p))[:_CANDIDATES]
        there = rng.permutation(np.flatnonzero(place == q))[:_CANDIDATES]
        going = np.vstack([nothing, images[here]])
        coming = np.vstack([nothing, images[there]])
        slope = 2 * (weight[q] * excess[q] - weight[p] * excess[p])
        curve = weight[p] + weight[q]
        change = (going @ slope + going**2 @ curve)[:, None] + (coming**2 @ curve - coming @ slope)
        change = np.round(change - 2 * (going * curve) @ coming.T, 10)  # last bits differ among processors
        i, j = np.unravel_index(int(change.argmin()), change.shape)
        if change[i, j] < best:
            best = float(change[i, j])
            moves = [(int(here[i - 1]), p, q)] if i else []
            moves += [(int(there[j - 1]), q, p)] if j else []
    return moves


# --- every class in every part ------------------------------------------------------------------------------


def represent_every_class(counts: csr_array, parts: np.ndarray, n_parts: int, rng: np.random.Generator) -> np.ndarray:
    """Move as few images as possible so that every class has a group in every part."""
    lacking = (class_totals(counts, parts, n_parts) == 0).any(axis=0)
    if not lacking.any():
        return parts
    # The classes that lack something are nearly always enough; others only when they share their few groups.
    for classes in (np.flatnonzero(lacking), np.arange(counts.shape[1])):
        moved = _reassign(counts, parts, _spare_groups(counts, classes, rng), n_parts, rng)
        if moved is not None:
            return moved
    raise SourceError(
        "The classes share their few groups so closely that no arrangement gives every class a group in every part. "
        "Add images of other groups to the small classes, or merge classes."
    )


def _spare_groups(counts: csr_array, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some groups of each of the classes, at random."""
    by_class = counts.tocsc()
    chosen = [
        rng.permutation(by_class.indices[by_class.indptr[c] : by_class.indptr[c + 1]])[:_SPARE_GROUPS] for c in classes
    ]
    return np.unique(np.concatenate(chosen))


def _reassign(
    counts: csr_array, parts: np.ndarray, free: np.ndarray, n_parts: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Place the free groups anew by integer programming: every class everywhere, fewest images moved."""
    present = csr_array(counts > 0).astype(np.int64)
    fixed = np.ones(len(parts), dtype=bool)
    fixed[free] = False
    held = class_totals(present[fixed], parts[fixed], n_parts)
    one_part_each = kron(eye_array(len(free)), np.ones((1, n_parts)))
    # rows of kron: class by class, part by part within; columns: group by group, part by part within
    in_every_part = kron(present[free].T, eye_array(n_parts))
    cost = counts[free].sum(axis=1)[:, None] * (1 + 0.1 * rng.random((len(free), n_parts)))
    cost[np.arange(len(free)), parts[free]] = 0
    result = milp(
        cost.ravel(),
        integrality=1,
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_part_each.tocsc(), 1, 1),
            LinearConstraint(in_every_part.tocsc(), np.where(held.T > 0, 0, 1).ravel(), np.inf),
        ],
        options={"node_limit": _SEARCH_NODES},
    )
    if result.x is None:
        return None
    moved = parts.copy()
    moved[free] = result.x.reshape(len(free), n_parts).argmax(axis=1)
    return moved
