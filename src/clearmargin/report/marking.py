"""The word "leaky": when the test part is not clean, every figure, heading, caption and result carries it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from clearmargin.language import tr

# Sections that do not depend on who was trained on and who was tested.
_CLEAN = ("data", "audit", "leakage", "image", "networks", "reproduce")
_SENTENCE = "Leaky split: "  # how the study begins a sentence of such a result
_HIDDEN = ' class="unseen">'
_UNSEEN = f'<h2 id="summary-title"{_HIDDEN}'
_SECTION = re.compile(r'<section id="([\w-]+)".*?</section>', re.DOTALL)
_TITLE = re.compile(
    r"(<(?:h[1-6]|caption|figcaption|summary)\b[^>]*>(?:<span>)?)"
    r'|(<p class="(?:lede|said)(?: alone)?"[^>]*>)'
)
_LABEL = re.compile(r'((?:alt|aria-label)=")')
_marked: ContextVar[bool] = ContextVar("marked", default=False)


@contextmanager
def marked(leaky: bool) -> Iterator[None]:
    """Mark every figure that is drawn meanwhile, when ``leaky``."""
    before = _marked.set(leaky)
    try:
        yield
    finally:
        _marked.reset(before)


def mark() -> str:
    """The word that figures carry just now; mostly none."""
    return tr("leaky") if _marked.get() else ""


def with_mark(title: str) -> str:
    """A title with the word in front, when figures carry one just now."""
    return tr("leaky: {title}", title=title) if mark() and title else title or mark()


def unmarked(sentence: str) -> str:
    """A sentence of a result without the study's own word for a leak, which the page puts in front of it anyway."""
    return sentence.removeprefix(_SENTENCE)


def mark_page(page: str) -> str:
    """Put the word in front of every title, caption and result of a page.

    Works on pages of our own templates: text and attributes are escaped, so that what looks like a tag is one.
    """
    page = re.sub(r"<title>|<h1>", lambda found: found[0] + _prefix(), page)
    return _SECTION.sub(lambda found: found[0] if found[1] in _CLEAN else _marked_section(found[0]), page)


def _marked_section(section: str) -> str:
    section = section.replace('<caption class="unseen">', "<caption>").replace(_UNSEEN, _UNSEEN.replace(_HIDDEN, ">"))
    section = _TITLE.sub(lambda found: f'{found[0]}<b class="leaky">{tr("leaky")}</b> ', section)
    return _LABEL.sub(lambda found: found[1] + _prefix(), section)


def _prefix() -> str:
    """The word in front of a title."""
    return tr("leaky: {title}", title="")
