"""Whose class is whose: what maps by itself, what has to be said, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from clearmargin.errors import UsageError
from clearmargin.external.mapping import class_mapping

TRAINED = ("glioma", "meningioma", "no_tumor", "pituitary")


def test_equal_names_map_by_themselves_and_others_are_said() -> None:
    found = class_mapping(["a", "b"], ["a", "yes"], ["yes=b"])
    assert (found.theirs, found.classes, found.merges) == ({"a": "a", "yes": "b"}, ("a", "b"), False)


def test_several_of_theirs_may_be_one_of_ours_and_one_may_be_left_out() -> None:
    found = class_mapping(["no", "tumor"], ["glioma", "no", "other", "pituitary"],
                          ["glioma=tumor", "pituitary=tumor", "other="])  # fmt: skip
    assert found.theirs == {"glioma": "tumor", "no": "no", "other": None, "pituitary": "tumor"}


def test_classes_of_the_run_are_summed_up() -> None:
    found = class_mapping(TRAINED, ["no", "yes"], ["no=no_tumor", "yes=tumor"], ["tumor=glioma,meningioma,pituitary"])
    assert found.classes == ("tumor", "no_tumor")
    assert found.merges
    values = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(found.merge(values), [[0.7, 0.3], [0.0, 1.0]])
    assert list(found.renamed(["pituitary", "no_tumor"])) == ["tumor", "no_tumor"]


def test_a_class_that_was_summed_can_be_mapped_to_by_its_own_name() -> None:
    found = class_mapping(TRAINED, ["g", "n"], ["g=glioma", "n=no_tumor"], ["tumor=glioma,meningioma,pituitary"])
    assert found.theirs == {"g": "tumor", "n": "no_tumor"}


@pytest.mark.parametrize(
    ("there", "maps", "merges", "said"),
    [
        (["no_tumour", "glioma"], [], [], "'no_tumour' of the new data stand for is not known"),
        (["no_tumour"], [], [], '--map "no_tumour=no_tumor"'),
        (["x"], ["y=glioma"], [], "--map speaks of 'y', which the new data do not have"),
        (["x"], ["x=gliom"], [], "the run has no class 'gliom': expected one of .* Did you mean 'glioma'"),
        (["x"], ["x"], [], "--map needs theirs=ours"),
        (["x"], ["=x"], [], "--map needs theirs=ours"),
        (["x"], ["x=glioma", "x=pituitary"], [], "says twice what 'x' is"),
        (["x"], ["x="], [], "leaves every class of the new data out"),
        (["x"], ["x=t"], ["t=glioma,meningeoma"], "--merge speaks of 'meningeoma'.* Did you mean 'meningioma'"),
        (["x"], ["x=t"], ["t=glioma", "u=glioma"], "--merge puts 'glioma' in two places"),
        (["x"], ["x=t"], ["t=glioma,meningioma,no_tumor,pituitary"], "leaves a single class"),
        (["x"], ["x=t"], ["glioma=meningioma,pituitary"], "makes a class 'glioma', which is one of the run's own"),
        (["x"], ["x=t"], ["t="], "name the classes"),
    ],
)
def test_what_does_not_fit_is_said_with_both_sides(there: list, maps: list, merges: list, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        class_mapping(TRAINED, there, maps, merges)
