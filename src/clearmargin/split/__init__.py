"""Who goes where: groups that stay together, divided so that every class keeps its proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clearmargin.records import PARTS, Sample, Split
from clearmargin.split.drawing import new_parts
from clearmargin.split.folds import MOST_FOLDS, inner_folds, make_fold, make_folds
from clearmargin.split.given import SOURCE, cut_validation, file_giver, given_parts, require_classes
from clearmargin.split.groups import check_division, check_split, crossing_groups, crossing_test_samples
from clearmargin.split.material import checked_fractions, material_of
from clearmargin.split.parts_file import PartsFile, read_parts_file, read_parts_files
from clearmargin.split.stored import read_split, require_same_split, write_split

__all__ = [
    "MOST_FOLDS",
    "PartsFile",
    "check_division",
    "check_split",
    "crossing_groups",
    "crossing_test_samples",
    "inner_folds",
    "make_fold",
    "make_folds",
    "make_split",
    "read_parts_file",
    "read_parts_files",
    "read_split",
    "require_same_split",
    "write_split",
]


def make_split(
    samples: Sequence[Sample],
    copies: np.ndarray,
    *,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    use_given: bool = False,
    accept_leaks: bool = False,
    parts_file: str | None = None,
) -> Split:
    """Divide samples among train, validation and test by groups, each class in proportion.

    The outcome depends on the seed, the names, labels and groups, and not on the order of the samples.
    How the lot is drawn, and what it favours, is written in `clearmargin.allotment`. Of a regression, quantiles
    of the target take the place of classes, quartiles where there are rows enough; where no rows belong together, each
    gives the numbers that caret's ``createDataPartition`` gives (`clearmargin.split.strata`).

    Parameters
    ----------
    samples
        With class names, or the numbers of a regression, for labels; a sample without a patient is a group of its
        own.
    copies
        Integers of shape (samples,): samples with the same number stay together, and so do their patients.
    fractions
        Of train, validation and test: positive, summing to one.
    use_given
        Keep the parts of the source; a missing validation part is cut from train.
    accept_leaks
        With ``use_given``: allow groups in more than one part; `crossing_groups` counts them.
    parts_file
        With ``use_given``: what the file that gave the parts is called (`PartsFile`), when it was not the source.

    Raises
    ------
    RecipeError
        When the fractions are not three positive numbers that sum to one.
    SourceError
        When there is a single class, a class with too few groups, too few rows for the fractions, or the given parts
        are incomplete or leak.
    """
    asked = checked_fractions(fractions)
    material = material_of(samples, copies)
    rng = np.random.default_rng(seed)
    if use_given:
        giver = SOURCE if parts_file is None else file_giver(parts_file)
        parts = given_parts(samples, material.grouped.groups, accept_leaks, material.grouped.numeric, giver)
        cut = not (parts == "validation").any()
        if cut:
            parts = cut_validation(material.grouped, parts, asked, rng)
        require_classes(parts, material.grouped.labels, material.classes, giver)
        from_file = parts_file is not None
        split = material.split(
            parts, asked, given=True, validation_cut=cut, from_file=from_file, leaks_accepted=accept_leaks
        )
    else:
        split = material.split(new_parts(material.grouped, asked, PARTS, rng), asked)
    check_split(split)
    return split
