"""However large a study is, its page stays small, says what it leaves out, and names the file that has it all."""

import re

import numpy as np
import pytest

from clearmargin.evaluation.misclassified import confident_mistakes
from clearmargin.report import page, write_report
from clearmargin.report.folder import read_run
from clearmargin.report.mistakes import SUREST, chosen

pytestmark = pytest.mark.rendered


def test_a_page_that_would_be_too_large_shows_less_and_says_so(synthetic_run, noise_pictures, monkeypatch):
    run_folder = synthetic_run(classes=[f"class {k}" for k in range(120)], n_test=240, skills={"A": 2.0, "B": 1.0})
    whole = write_report(run_folder, noise_pictures).stat().st_size
    assert whole > 1_500_000
    monkeypatch.setattr(page, "LARGEST_REPORT", 500_000)
    path = write_report(run_folder, noise_pictures)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= 500_000
    assert "To keep this page below" in text
    assert re.search(
        r"\d+ of \d+ mistakes shown: the most confident ones of each cell; all are in predictions.csv", text
    )
    assert "of 120 classes shown: those with the lowest recall; all are in evaluation.json" in text


def test_a_usual_page_leaves_nothing_out(synthetic_run):
    text = write_report(synthetic_run()).read_text(encoding="utf-8")
    assert "To keep this page below" not in text
    assert "mistakes shown" not in text


def test_every_kind_of_mistake_is_among_those_shown(synthetic_run):
    contender = read_run(synthetic_run(n_test=600, skills={"A": 1.0})).contenders[0]
    every = confident_mistakes(contender.predictions)
    rows = chosen(contender, 40)
    cells = {(contender.truth[row], contender.predicted[row]) for row in every}
    assert {(contender.truth[row], contender.predicted[row]) for row in rows} == cells
    assert len(rows) == 40 < len(every)
    assert rows[:SUREST].tolist() == every[:SUREST].tolist()
    assert np.array_equal(rows, [row for row in every if row in set(rows)])
    assert chosen(contender, 10_000).tolist() == every.tolist()


@pytest.mark.rendered(pdf=True)
def test_figures_are_also_pdf_with_embedded_fonts_and_no_date(synthetic_run):
    run_folder = synthetic_run(skills={"A": 2.0})
    write_report(run_folder)
    files = sorted((run_folder / "figures").glob("*.pdf"))
    assert {path.stem for path in files} == {path.stem for path in (run_folder / "figures").glob("*.svg")}
    before = [path.read_bytes() for path in files]
    for content in before:
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content
        assert b"/CreationDate" not in content
    write_report(run_folder, language="en")
    assert [path.read_bytes() for path in files] == before
