"""Every finding that these tests bring about can be said in every language."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "clearmargin"


@pytest.fixture(autouse=True)
def every_finding_is_retold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold for every finding that any test brings about that the table of languages knows each of its sentences."""
    from clearmargin.language.stored import retold
    from clearmargin.records import Finding

    made: list[Finding] = []
    before = Finding.__init__

    def remembered(self: Finding, *args: object, **named: object) -> None:
        before(self, *args, **named)  # type: ignore[arg-type]
        if Path(sys._getframe(1).f_code.co_filename).is_relative_to(SOURCE):
            made.append(self)

    monkeypatch.setattr(Finding, "__init__", remembered)
    yield
    texts = [text for one in made for text in (one.kind.replace("-", " "), one.message, one.remedy) if text]
    assert [text for text in texts if retold(text) is None] == [], "not in language/stored.json"
