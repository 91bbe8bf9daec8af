"""Where plain pictures crowd, being alike proves nothing: how alike strangers get, and which pairs are in a crowd.

A copy stands alone: the next image like it is far off. In a crowd of strangers the number of images within a distance
grows with a power of it. The distance meant is 1 - similarity, which grows with the square of what two pictures differ
in: among strangers that vary in D ways, the nearest of m is m^(-2/D) times as far as the last of them, and a 2.5 times
larger distance holds 2.5^(D/2) times as many.
"""

from __future__ import annotations

import numpy as np

from clearmargin.audit.alignment import similarities
from clearmargin.audit.coarse import Coarse
from clearmargin.records import Rows

_PROBES = 200
_NEIGHBOUR = 50
_LOOKED_AT = 60
_CROWDED = 0.02  # share of the probes that stand for the crowded ones
_SHRINK = 0.3  # 50^(-2/6.5): the nearest of fifty strangers that vary in six or seven ways
_WIDER = 2.5
_CROWD = 15  # images within the wider distance from which there is a crowd
_GROWTH = 6  # times as many: strangers that vary in four ways
_SAME = 0.995  # similarity that no crowd of strangers reaches


def strangers_reach(miniatures: Rows, rows: np.ndarray, coarse: Coarse) -> float:
    """Similarity that strangers hardly exceed, from the fiftieth neighbours of a random sample of images.

    Digits and icons are alike by chance more often than photographs or slices. Data in which images have fifty copies
    each look crowded as well: there only the more faithful copies pass. With few images nothing can be said, and 0 is
    returned.

    Parameters
    ----------
    miniatures
        uint8 of shape (images, 64, 64).
    rows
        Those that ``coarse`` was made of, in its order, which must be random.
    """
    if len(rows) <= _LOOKED_AT:
        return 0.0
    probes = np.arange(min(_PROBES, len(rows)))
    pairs = coarse.nearest(probes, _LOOKED_AT)
    similarity = similarities(miniatures, rows, pairs.reshape(-1, 3)).reshape(len(probes), _LOOKED_AT)
    fiftieth = np.sort(similarity, axis=1)[:, -_NEIGHBOUR]
    return float(1 - _SHRINK * np.quantile(1 - fiftieth, _CROWDED))


def crowded(images: int, pairs: np.ndarray, similarity: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which of some pairs lie in a crowd: bool of shape (asked,).

    Parameters
    ----------
    pairs, similarity
        All that is known: int64 of shape (pairs, 2) without repeats, and float64 of shape (pairs,).
    asked
        Rows of ``pairs``.
    """
    distance = np.clip(1 - similarity, 0, 1)
    image = np.concatenate((pairs[:, 0], pairs[:, 1]))
    away = np.sort(image * 2 + np.concatenate((distance, distance)))  # by image, and within one by distance
    begin = np.searchsorted(away, 2 * np.arange(images) - 0.5)
    inside = np.zeros(len(asked), bool)
    for side in (0, 1):
        own = pairs[asked, side]
        near, wide = (
            np.searchsorted(away, own * 2 + reach + 1e-9, "right") - begin[own]
            for reach in (distance[asked], np.minimum(_WIDER * distance[asked], 1))
        )
        inside |= (wide >= _CROWD) & (wide >= _GROWTH * near)
    return inside & (similarity[asked] < _SAME)
