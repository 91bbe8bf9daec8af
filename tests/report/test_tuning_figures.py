"""The course of a search as a figure: no trial is left out of it unsaid."""

import pytest
from matplotlib.figure import Figure

from clearmargin.report.tuning import _Space
from clearmargin.report.tuning_figures import Point, plot_history


@pytest.mark.parametrize("better", [1, -1])
def test_trials_beyond_the_scale_are_counted_and_shown_at_its_end(better):
    whole = [Point(number, value, True) for number, value in enumerate([0.80, 0.82, 0.84], start=1)]
    far = [0.1, 0.2] if better > 0 else [9.0, 8.0]
    points = [*whole, Point(4, far[0], False), Point(5, far[1], False)]
    if better < 0:
        points.append(Point(6, 7.0, True))  # trained to the end, and wild
    axes = plot_history(Figure().subplots(), points, "measure", better, None)
    assert [text.get_text() for text in axes.texts] == [f"{len(points) - 3} trials beyond the scale"]
    marker, end = ("v", axes.get_ylim()[0]) if better > 0 else ("^", axes.get_ylim()[1])
    shown = [line for line in axes.get_lines() if line.get_marker() == marker]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in shown] == [(point.trial, end) for point in points[3:]]
    hollow = [line.get_markerfacecolor() == "none" for line in shown]
    assert hollow == [not point.whole for point in points[3:]]
    assert axes.get_ylim()[0] < 0.8 < 0.84 < axes.get_ylim()[1]


def test_the_untuned_settings_are_always_in_sight():
    points = [Point(number, value, True) for number, value in enumerate([0.20, 0.21, 0.22], start=1)]
    axes = plot_history(Figure().subplots(), points, "error", -1, 3.0)
    assert axes.get_ylim()[0] < 0.2
    assert axes.get_ylim()[1] > 3.0


def test_without_such_trials_nothing_is_said_of_them():
    points = [Point(1, 0.8, True), Point(2, 0.82, True), Point(3, 0.795, False)]
    assert list(plot_history(Figure().subplots(), points, "accuracy", 1, 0.8).texts) == []


def test_choices_that_are_numbers_stand_by_size():
    assert _Space(values=[0.01, 0, 0.001], default=0.01).choices == [0, 0.001, 0.01]
    assert _Space(values=["sgd", "adam"], default="sgd").choices == ["sgd", "adam"]
    assert _Space(values=[True, False], default=True).choices == [True, False]
    assert _Space(low=0.0, high=1.0, default=0.5).choices == []
