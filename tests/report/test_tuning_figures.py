"""The course of a search as a figure: no trial is left out of it unsaid."""

import pytest
from matplotlib.figure import Figure

from clearmargin.report.tuning import _Space
from clearmargin.report.tuning_figures import Point, plot_history


@pytest.mark.parametrize("better", [1, -1])
def test_trials_beyond_the_scale_are_counted_and_shown_at_its_end(better):
    whole = [Point(number, better * value, True) for number, value in enumerate([0.80, 0.82, 0.84], start=1)]
    if better < 0:
        whole = [Point(point.trial, -point.value, True) for point in whole]
    far = [Point(4, 0.1 if better > 0 else 9.0, False), Point(5, 0.2 if better > 0 else 8.0, False)]
    axes = plot_history(Figure().subplots(), [*whole, *far], "accuracy", better, None)
    assert [text.get_text() for text in axes.texts] == ["2 trials beyond the scale"]
    end = axes.get_ylim()[0 if better > 0 else 1]
    (shown,) = [line for line in axes.get_lines() if line.get_label() == "_beyond" and len(line.get_xdata())]
    assert (list(shown.get_xdata()), list(shown.get_ydata())) == ([4, 5], [end, end])
    assert axes.get_ylim()[0] < 0.8 < axes.get_ylim()[1]


def test_without_such_trials_nothing_is_said_of_them():
    points = [Point(1, 0.8, True), Point(2, 0.82, True), Point(3, 0.795, False)]
    assert list(plot_history(Figure().subplots(), points, "accuracy", 1, 0.8).texts) == []


def test_choices_that_are_numbers_stand_by_size():
    assert _Space(values=[0.01, 0, 0.001], default=0.01).choices == [0, 0.001, 0.01]
    assert _Space(values=["sgd", "adam"], default="sgd").choices == ["sgd", "adam"]
    assert _Space(values=[True, False], default=True).choices == [True, False]
    assert _Space(low=0.0, high=1.0, default=0.5).choices == []
