"""Figures of a regression: what is drawn, and that any number of rows can be."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from clearmargin.report.figures import Look
from clearmargin.report.regression.figures import (
    MOST_POINTS,
    evenly,
    plot_predicted_against_true,
    plot_residual_histogram,
    plot_residuals,
    plot_rows,
)
from clearmargin.report.strips import Strip, plot_seeds

pytestmark = pytest.mark.rendered

TRUE, SAID = np.array([1.0, 2.0, 4.0]), np.array([1.5, 1.0, 4.0])


def axes():
    return Figure(figsize=(3, 3)).add_axes((0.1, 0.1, 0.8, 0.8))


def test_points_lie_where_the_numbers_say_and_the_diagonal_is_drawn():
    drawn = plot_predicted_against_true(axes(), TRUE, SAID, Look(0), (0, 5), "medv")
    diagonal, cloud = drawn.get_lines()
    np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [5, 5]])
    np.testing.assert_allclose(cloud.get_xydata(), np.column_stack([TRUE, SAID]))
    assert drawn.get_xlim() == drawn.get_ylim() == (0, 5)
    assert drawn.get_xlabel() == "true medv"


def test_residuals_are_true_minus_predicted():
    _, cloud = plot_residuals(axes(), TRUE, SAID, Look(0)).get_lines()
    np.testing.assert_allclose(cloud.get_xydata(), [[1.5, -0.5], [1, 1], [4, 0]])


@pytest.mark.parametrize("n", [1, 2, 74, 5000])
def test_the_histogram_counts_every_residual(n):
    residuals = np.random.default_rng(0).normal(size=n)
    drawn = plot_residual_histogram(axes(), residuals, Look(0))
    assert sum(bar.get_height() for bar in drawn.patches) == n
    assert drawn.get_lines()[1].get_xdata()[0] == pytest.approx(residuals.mean())


def test_residuals_that_are_all_zero_can_be_drawn():
    assert sum(bar.get_height() for bar in plot_residual_histogram(axes(), np.zeros(5), Look(0)).patches) == 5


def test_two_lines_with_a_legend():
    drawn = plot_rows(axes(), TRUE, SAID, Look(1), "1-D CNN", "test row")
    true, said = drawn.get_lines()
    np.testing.assert_allclose(true.get_ydata(), TRUE)
    np.testing.assert_allclose(said.get_ydata(), SAID)
    assert true.get_linestyle() != said.get_linestyle()
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["true", "predicted, 1-D CNN"]


def test_one_dot_a_seed_a_bar_at_the_mean_and_the_reference():
    strips = [Strip("a", Look(0), np.array([3.0, 4.0, 5.0])), Strip("b", Look(1), np.array([]))]
    drawn = plot_seeds(axes(), strips, "RMSE", {"tutorial": 4.9})
    dots, bar, empty, reference = drawn.get_lines()
    np.testing.assert_allclose(dots.get_xdata(), [3, 4, 5])
    np.testing.assert_allclose(bar.get_xdata(), [4, 4])
    assert len(empty.get_xdata()) == 0
    assert reference.get_xdata()[0] == 4.9
    assert [text.get_text() for text in drawn.texts] == ["tutorial"]
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize(("n", "most"), [(1, 10), (10, 10), (11, 10), (100_000, MOST_POINTS)])
def test_rows_are_chosen_evenly(n, most):
    chosen = evenly(n, most)
    assert len(chosen) == min(n, most)
    assert chosen[0] == 0
    assert chosen[-1] == n - 1
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 1 else True
