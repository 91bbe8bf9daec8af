"""Figures: what is drawn, that it follows the page's colours, and that any name can be drawn."""

import re
import threading
import warnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from clearmargin.report.drawing import draw, draw_grid, inline
from clearmargin.report.figures import (
    GRID,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    Look,
    RocLine,
    plot_confusion,
    plot_estimates,
    plot_learning_curve,
    plot_roc,
)

pytestmark = pytest.mark.rendered

BOX = (0.1, 0.1, 0.8, 0.8)
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [1.0, 0.5, 0.2], "validation_loss": [1.1, 0.7, 0.8]})


def axes():
    return Figure(figsize=(3, 3)).add_axes(BOX)


def test_learning_curve_shows_both_parts_and_marks_the_best_epoch():
    drawn = plot_learning_curve(axes(), HISTORY, "loss", 2, Look(0))
    lines = {line.get_label(): line for line in drawn.get_lines()}
    np.testing.assert_allclose(lines["training"].get_ydata(), HISTORY["train_loss"])
    np.testing.assert_allclose(lines["validation"].get_ydata(), HISTORY["validation_loss"])
    assert lines["training"].get_linestyle() != lines["validation"].get_linestyle()
    np.testing.assert_allclose(lines["epoch 2"].get_xydata(), [[2, 0.7]])


def test_a_wild_loss_gets_a_logarithmic_axis():
    wild = HISTORY.assign(train_loss=[900.0, 0.5, 0.2])
    assert plot_learning_curve(axes(), wild, "loss", None, Look(0)).get_yscale() == "log"
    assert plot_learning_curve(axes(), HISTORY, "loss", None, Look(0)).get_yscale() == "linear"


def test_roc_curves_carry_name_and_area():
    line = RocLine("VGG16", Look(0), np.array([0, 0, 1.0]), np.array([0, 1.0, 1.0]), 0.9876)
    drawn = plot_roc(axes(), [line], "glioma")
    assert drawn.get_legend().get_texts()[0].get_text() == "VGG16 0.988"


@pytest.mark.parametrize("classes", [2, 12, 40, 100])
def test_confusion_of_any_size(classes):
    counts = np.random.default_rng(0).integers(0, 30, (classes, classes))
    drawn = plot_confusion(axes(), counts, [f"class {k}" for k in range(classes)])
    shown = [text.get_text() for text in drawn.texts]
    assert shown == ([str(n) for n in counts[counts > 0]] if classes <= 16 else [])


def test_confusion_without_any_image():
    svg = draw((3, 3), BOX, lambda axes: plot_confusion(axes, np.zeros((3, 3), dtype=np.int64), ["a", "b", "c"]))
    assert "nan" not in svg


def test_undefined_estimates_leave_a_gap():
    values = {"a": {"value": None}, "b": {"value": 0.5, "low": None, "high": None}}
    assert len(plot_estimates(axes(), values, "AUC").get_lines()) == 1


def test_contenders_look_different():
    looks = [(Look(k).color, Look(k).marker) for k in range(len(SERIES) * len(MARKERS))]
    assert len(set(looks)) == len(looks)


def test_the_copy_in_the_page_follows_its_colours():
    svg = draw((3, 3), BOX, lambda axes: plot_learning_curve(axes, HISTORY, "loss", 2, Look(1)))
    ElementTree.fromstring(svg)
    placed = inline(svg, "one", 'a "description" <b>')
    assert not re.search("|".join([INK, MUTED, GRID, *SERIES]), placed)
    assert {"var(--ink)", "var(--muted)", "var(--rule)", "var(--series-1)"} <= set(re.findall(r"var\([^)]+\)", placed))
    assert "xmlns" not in placed
    assert 'aria-label="a &#34;description&#34; &lt;b&gt;"' in placed
    assert all(name.startswith("one-") for name in re.findall(r' id="([^"]+)"', placed))
    assert "http" not in placed


@pytest.mark.parametrize("name", ["$\\frac{", "类别 🧠", "\x01\x02", "<b>&", "\u202eabc", "\ud800", "x" * 500, "%s{}"])
def test_any_name_can_be_drawn_without_a_warning(name):
    line = RocLine(name, Look(0), np.array([0, 1.0]), np.array([0, 1.0]), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = draw((3, 3), BOX, lambda axes: plot_roc(axes, [line], name))
        draw((3, 3), BOX, lambda axes: plot_confusion(axes, np.eye(2, dtype=np.int64), [name, "other"]))
    ElementTree.fromstring(svg)


def test_sheets_are_the_same_every_time_and_from_any_thread():
    plots = [lambda axes: plot_learning_curve(axes, HISTORY, "loss", 2, Look(0))] * 3
    drawn = []
    threads = [threading.Thread(target=lambda: drawn.append(draw_grid(2, 2, (3, 2.5), plots))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 3
    assert len(set(drawn)) == 1
