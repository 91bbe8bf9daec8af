"""A regression whose test part is not clean."""

import pytest

from clearmargin.report import write_report


@pytest.mark.rendered
def test_every_figure_of_a_leaky_regression_says_so(synthetic_regression, reading, leaking):
    run_folder = synthetic_regression(seeds=5)
    leaking.leak(run_folder)
    write_report(run_folder)
    leaking.assert_all_leaky(run_folder, reading)
    assert {"scatter", "residuals", "lines", "repeats"} <= set(reading.read_page(run_folder).ids)


def test_a_leaky_regression_does_not_call_its_rows_unseen(synthetic_regression, reading, leaking):
    run_folder = synthetic_regression()
    leaking.leak(run_folder, groups=3)
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder)).replace("\u202f", " ")
    assert "of which 3 belong to a group also learned from (leaks were accepted)." in text
    assert "3 tested rows of a group also learned from" in text
    assert "had seen" not in text
