"""The page of a regression in a real browser: silent, offline, no wider than a phone, readable in the dark."""

import pytest

from clearmargin.report import write_report

pytestmark = pytest.mark.rendered

SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll('.plot text')].map(
  e => e.getBoundingClientRect().height))"""


@pytest.mark.parametrize("settings", [
    {"errors": {"1-D CNN": 2.5, "wide CNN": 3.0}, "seeds": 3},
    {"errors": {"M" * 100: 3.0, "i " * 50: 1.0}, "name": "W" * 200, "target": "t" * 120, "seeds": 2, "unit": 1e7,
     "row_name": lambda k: "Q" * (k % 250) + f"{k}", "columns": {"rm": "x" * 300}},
], ids=["two contenders", "long names"])  # fmt: skip
def test_the_page_fits_and_asks_for_nothing(synthetic_regression, browser, browsing, settings):
    path = write_report(synthetic_regression(**settings))
    for width, scheme in ((390, "dark"), (1280, "light")):
        page, said, asked = browsing.opened(browser, path, width, scheme)
        assert said == []
        assert asked == [path.as_uri()]
        assert page.evaluate(browsing.WIDER_THAN_THE_WINDOW) == 0, f"wider than {width} px"
        assert page.evaluate(browsing.OVERFLOWING) == []
        assert page.evaluate(SMALLEST_TEXT) >= 8, "text in a figure can't be read"
        page.close()
