"""Writing the page: one HTML file that needs nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import jinja2

from clearmargin.errors import UsageError
from clearmargin.files import check_output_file, write_text
from clearmargin.learn.curves import BOTTOM, LEFT, RIGHT, START, TOP
from clearmargin.learn.lessons import lessons
from clearmargin.learn.subject import read_subject
from clearmargin.report.wording import MINUS, breakable, count, plural, short, visible
from clearmargin.runs import open_run


def write_page(out: Path, image: Path | None = None, run: Path | None = None, contender: str | None = None) -> Path:
    """Write the page that explains convolution and the other layers on an image.

    Parameters
    ----------
    out
        The HTML file to write; an older one is replaced.
    image
        An image file; a simulated slice of a head when None.
    run
        A finished run folder: the page also shows what one of its models makes of the image.
    contender
        Which of them; the best on validation when None.

    Returns
    -------
    ``out``. The same input gives the same bytes.

    Raises
    ------
    SourceError
        When the image can't be used.
    RunFolderError, RecipeError
        When ``run`` is no finished run, or has no such contender.
    UsageError
        When ``out`` can't be a file, the run's model does not classify images, or a contender is named without a run.
    DiskError
        When the file system refuses.
    """
    if contender is not None and run is None:
        raise UsageError("--contender names a model of a run: say which run with --model RUN.")
    check_output_file(out, "learn.html", image, "image")
    subject = read_subject(image)
    view = None
    if run is not None:
        from clearmargin.learn.network import look_inside  # torch, only for those who ask for it

        view = look_inside(open_run(run).contender(contender), subject)
    facts = {**lessons(subject), "subject": subject, "view": view}
    facts.update(box=(LEFT, -TOP, RIGHT - LEFT, TOP - BOTTOM), start=START)
    write_text(out, _environment().get_template("page.html").render(facts))
    return out


def number(value: float, digits: int = 2) -> str:
    """Write -0.5 as ``−0.5`` and 34.0 as ``34``; the script of the page writes the same."""
    if not math.isfinite(value):
        return "–"
    text = f"{math.floor(abs(value) * 10**digits + 0.5) / 10**digits:.{digits}f}".rstrip("0").rstrip(".")
    return MINUS + text if value < 0 and text != "0" else text


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("clearmargin.learn", "."),
                jinja2.PackageLoader("clearmargin.report", "."),  # style.css: one look for all pages
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=breakable, count=count, number=number, plural=plural, short=short, visible=visible
    )
    return environment
