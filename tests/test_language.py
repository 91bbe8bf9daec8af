"""Fixed text in several languages."""

import pytest

from clearmargin.errors import UsageError
from clearmargin.language import language, tr, trn, using


def test_english_is_what_is_written():
    assert tr("{n} of {m} images", n=3, m=5) == "3 of 5 images"
    assert tr("a set {a, b}") == "a set {a, b}"
    assert trn(1, "{n} image", "{n} images", n=1) == "1 image"
    assert trn(2, "{n} image", "{n} images", n=2) == "2 images"


def test_a_language_ends_with_its_block():
    with using("zh"):
        assert language() == "zh"
        assert tr("a text that no table holds, {n}", n=1) == "a text that no table holds, 1"
    assert language() == "en"


def test_an_unknown_language_is_refused():
    with pytest.raises(UsageError, match="must be en or zh, got 'fr'"), using("fr"):
        pass
