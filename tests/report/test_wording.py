"""Numbers and names as they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.report import wording


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.estimate({"value": 0.9134, "low": 0.8801, "high": 0.94}), "0.913 (0.880–0.940)"),
        (wording.estimate({"value": -0.02, "low": -0.1, "high": 0.06}), "−0.020 (−0.100 to 0.060)"),
        (wording.estimate({"value": 0.5, "low": None, "high": None}), "0.500"),
        (wording.estimate({"value": None, "low": None, "high": None}), "–"),
        (wording.decimal(float("nan")), "–"),
        (wording.points(0.0612), "+6.1"),
        (wording.points(-0.0612), "−6.1"),
        (wording.points(-0.0001), "0.0"),
        (wording.count(14714688), "14\u202f714\u202f688"),
        (wording.large(14714688), "14.7\u202fmillion"),
        (wording.large(15_346_630_656), "15.3\u202fbillion"),
        (wording.large(999), "999"),
        (wording.percent(0.801), "80.1\u202f%"),
        (wording.percent(977 / 980, 0), ">\u202f99\u202f%"),
        (wording.percent(3 / 980, 0), "<\u202f1\u202f%"),
        (wording.percent(0.99951), ">\u202f99.9\u202f%"),
        (wording.percent(0.0004), "<\u202f0.1\u202f%"),
        (wording.percent(0, 0), "0\u202f%"),
        (wording.percent(1, 0), "100\u202f%"),
        (wording.percent(0.994, 0), "99\u202f%"),
        (wording.probability_value(0.00004), "<\u202f0.001"),
        (wording.probability_value(0.0225), "0.022"),
        (wording.seconds(0.001), "<\u202f0.1\u202fs"),
        (wording.seconds(0), "0.0\u202fs"),
        (wording.seconds(3.14), "3.1\u202fs"),
        (wording.seconds(59.97), "1\u202fmin 00\u202fs"),
        (wording.seconds(252.3), "4\u202fmin 12\u202fs"),
        (wording.seconds(7260), "2\u202fh 01\u202fmin"),
        (wording.bytes_size(2_040_109_465), "2.0\u202fGB"),
        (wording.plural(1, "image"), "1 image"),
        (wording.plural(3264, "image"), "3\u202f264 images"),
        (wording.plural(2, "class", "classes"), "2 classes"),
        (wording.listed(["a", "b", "c"]), "a, b and c"),
        (wording.moment("2026-11-22T20:00:30+02:00"), "2026-11-22 18:00 UTC"),
        (wording.moment("yesterday"), "yesterday"),
        (wording.visible("a\u202eb\x07\ud800"), "a\\u202eb\\u0007\\ud800"),
        (wording.short("abcdefghij", 7), "abc…hij"),
        (str(wording.breakable("<a>_b-c")), "&lt;a&gt;_<wbr>b-<wbr>c"),
        (wording.without_folders("/home/jane/data.zip"), "data.zip"),
        (wording.without_folders("C:\\Users\\jane\\data.zip"), "data.zip"),
        (wording.without_folders("~/data.zip"), "data.zip"),
        (wording.without_folders("brain-tumor-mri"), "brain-tumor-mri"),
    ],
)
def test_written(written, expected):
    assert written == expected


@given(st.text(alphabet=st.characters(), max_size=80), st.integers(5, 40))
def test_any_name_can_be_shown(name, length):
    shown = wording.short(name, length)
    assert len(shown) <= length
    shown.encode("utf-8")
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\n\r\x00")


@given(st.floats(0, 1e7))
def test_durations_never_show_sixty(duration):
    assert "60\u202fs" not in wording.seconds(duration)
    assert " 60\u202fmin" not in wording.seconds(duration)
