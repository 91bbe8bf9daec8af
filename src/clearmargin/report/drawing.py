"""From a plot function to files for papers, SVG and PDF, and a copy inside the page that follows its colours."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import font_manager
from matplotlib.figure import Figure

from clearmargin.files import write_bytes, write_text
from clearmargin.language import language
from clearmargin.report.figures import GRID, INK, MUTED, RIGHT, SERIES, WRONG, put_title
from clearmargin.report.marking import mark, with_mark

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's own font
    "svg.hashsalt": "clearmargin",
    "pdf.fonttype": 42,  # TrueType, embedded: text can be searched and copied
    "text.parse_math": False,  # a class may be called $x
    "text.usetex": False,
    "axes.unicode_minus": True,
}
_ROLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "rule",
    RIGHT: "right",
    WRONG: "wrong",
    **{color: f"series-{k}" for k, color in enumerate(SERIES)},
}
_CHINESE_FONTS = (
    "Noto Sans SC",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
)
_LEAN_FONTS = (
    Path(__file__).parent / "fonts"
)  # letters are cut out of these in a tenth of the time: scripts/lean_fonts.py
_MARK_INCHES = 0.24  # of room for a title above axes that may have none
_LOCK = threading.RLock()  # matplotlib's settings and Python's warning filters belong to the whole process


class Drawing(str):
    """The SVG of a figure, which can be had as PDF too: same input, same bytes."""

    figure: Figure

    def pdf(self) -> bytes:
        """The figure as PDF, without a date, its fonts embedded."""
        buffer = io.BytesIO()
        with _settings():
            self.figure.savefig(
                buffer, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None}
            )
        return buffer.getvalue()


@contextmanager
def _settings() -> Iterator[None]:
    with _LOCK, mpl.rc_context({**_STYLE, "font.family": _families()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def draw(size: tuple[float, float], box: tuple[float, float, float, float], plot: Callable[[Any], Any]) -> Drawing:
    """Draw one pair of axes and return SVG: same input, same bytes.

    Parameters
    ----------
    size
        Width and height in inches of 72 units.
    box
        Left, bottom, width and height of the axes as fractions of the figure.
    """

    def sheet() -> Figure:
        (width, height), (left, bottom, across, up) = size, box
        room = height + (_MARK_INCHES if mark() else 0.0)  # the axes keep their size
        figure = Figure(figsize=(width, room))
        axes = figure.add_axes((left, bottom * height / room, across, up * height / room))
        plot(axes)
        _mark(axes)
        return figure

    return _drawn(sheet)


def draw_grid(rows: int, columns: int, panel: tuple[float, float], plots: Sequence[Callable[[Any], Any]]) -> Drawing:
    """Draw several panels on one sheet and return SVG; panels that are left over stay empty."""

    def sheet() -> Figure:
        figure = Figure(figsize=(columns * panel[0], rows * panel[1]), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(plots):
                plots[place](axes)
                _mark(axes)
            else:
                axes.set_axis_off()
        _settle(figure)
        return figure

    return _drawn(sheet)


def _settle(figure: Figure) -> None:
    """Lay the panels out once: else each file that is written would do it anew, which costs more than drawing them."""
    engine = figure.get_layout_engine()
    assert engine is not None  # `draw_grid` asked for one
    engine.execute(figure)
    figure.set_layout_engine(None)  # as "none" it would still be drawn twice


def _mark(axes: Any) -> None:
    """Put the word that figures carry just now, if any, into the title."""
    if mark():
        legend = axes.get_legend()
        above = legend is not None and legend.get_bbox_to_anchor().y0 > axes.bbox.y1 - 1
        put_title(axes, with_mark(axes.get_title(loc="left")), pad=19 if above else None)


def _drawn(sheet: Callable[[], Figure]) -> Drawing:
    """Make the figure and write it as SVG."""
    with _settings():
        figure, buffer = sheet(), io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = Drawing(buffer.getvalue())
    drawn.figure = figure
    return drawn


def write_drawings(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write each drawing (by the name of its SVG file) as SVG, and as PDF beside it.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    for name, drawing in drawings.items():
        write_text(folder / name, drawing)
        write_bytes((folder / name).with_suffix(".pdf"), drawing.pdf())


def language_of_files() -> str:
    """The language of figures that are files: that of the page, where a font on this machine has its letters.

    A PDF embeds its font. Where none has Chinese letters, the files keep their English text.
    """
    return language() if language() == "en" or _chinese_font() else "en"


@cache
def _families() -> list[str]:
    """The fonts of a figure, in the order in which a letter is looked for: the lean one, the whole one, Chinese."""
    for file in _LEAN_FONTS.glob("*.ttf"):
        font_manager.fontManager.addfont(file)
    chinese = _chinese_font()
    return ["Clear Margin Sans", "DejaVu Sans", *([chinese] if chinese else [])]


@cache
def _chinese_font() -> str | None:
    """The name of a TrueType font with Chinese letters on this machine, the most usual first."""
    known = {font.name for font in font_manager.fontManager.ttflist if font.fname.lower().endswith(".ttf")}
    return next((name for name in _CHINESE_FONTS if name in known), None)


def inline(svg: str, identifier: str, description: str) -> Markup:
    """Turn an SVG file into an element of the page.

    Name spaces, metadata and the white background go; colours become the page's variables; identifiers get
    ``identifier`` in front, so that several figures do not borrow each other's clip paths.
    """
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in list(element.attrib):
            element.attrib[key.rpartition("}")[2]] = element.attrib.pop(key)
    _drop_background(root)
    used = set(re.findall(r"[\"(]#([\w.-]+)", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        _adapt(element, used, identifier)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    body = "".join(ElementTree.tostring(child, encoding="unicode").strip() for child in root)
    body = re.sub(r"\s*\n\s*", " ", body)
    return Markup('<svg class="plot" viewBox="{box}" role="img" aria-label="{label}">{body}</svg>').format(
        box=root.attrib["viewBox"], label=description, body=Markup(body)
    )


def _drop_background(root: ElementTree.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            is_background = child.tag == "g" and child.get("id") in ("patch_1", "patch_2")
            if child.tag == "metadata" or is_background or (child.tag == "defs" and child.find("style") is not None):
                parent.remove(child)


def _adapt(element: ElementTree.Element, used: set[str], identifier: str) -> None:
    attributes = element.attrib
    name = attributes.get("id")
    if name is not None:
        if name in used:
            attributes["id"] = f"{identifier}-{name}"
        else:
            del attributes["id"]
    if attributes.get("href", "").startswith("#"):
        attributes["href"] = f"#{identifier}-{attributes['href'][1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("#", f"#{identifier}-")
    if "style" in attributes:
        style = re.sub(r"font-family: [^;]*;? ?", "", attributes["style"])
        attributes["style"] = re.sub(r"#[0-9a-f]{6}", lambda found: _role(found[0]), style)


def _role(color: str) -> str:
    return f"var(--{_ROLES[color]})" if color in _ROLES else color
