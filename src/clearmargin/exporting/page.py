"""``--format html``: one page with the network, the machine that runs it, and nothing that has to be fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from clearmargin.errors import UsageError, WorkError
from clearmargin.exporting.onnx_file import make_onnx, parity_notes
from clearmargin.exporting.samples import RunData
from clearmargin.exporting.web_runtime import VERSION, WebRuntime
from clearmargin.files import write_bytes
from clearmargin.records import Columns
from clearmargin.runs import Run
from clearmargin.trained import TrainedContender


def export_page(
    run: Run, contender: TrainedContender, path: Path, data: RunData | None, runtime: WebRuntime
) -> dict[str, Any]:
    """Write the page; return what was done, ready for JSON, with ``notes`` in words.

    Raises
    ------
    UsageError
        When the model takes rows of a table.
    WorkError
        When its network does not answer as the original does: then nothing is written.
    """
    if isinstance(contender.preprocessing, Columns) or not contender.classes:
        raise UsageError(f"--format html is for models that classify images, and '{contender.name}' does not.")
    exported, parity = make_onnx(run, contender, path, data)
    content = page_bytes(exported.content, exported.about.model_dump(exclude_none=False), runtime)
    write_bytes(path, content)
    return {
        "format": "html",
        "contender": contender.name,
        "file": str(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "runtime": f"onnxruntime-web {VERSION}",
        "parity": parity.as_json(),
        "notes": [
            f"Written: {path} ({len(content) / 1e6:,.1f} MB), a page that works offline.",
            *parity_notes(parity),
            "The page has no gate: it does not tell pictures unlike those of the training part.",
        ],
    }


def page_bytes(network: bytes, about: dict[str, Any], runtime: WebRuntime) -> bytes:
    """The page as UTF-8."""
    own = resources.files("clearmargin.exporting")
    style = "\n".join(
        text.read_text(encoding="utf-8")
        for text in (resources.files("clearmargin.report") / "style.css", own / "page.css")
    )
    scripts = [runtime.library.decode("utf-8")]
    scripts += [(own / name).read_text(encoding="utf-8") for name in ("framing.js", "page.js")]
    if any("</script" in script.lower() for script in scripts):
        raise WorkError("A script of the page would end it: this version of onnxruntime-web can't be put in.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clearmargin.exporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").generate(
        about=about,
        settings=Markup(_in_script(about)),
        style=Markup(style),
        style_hash=Markup(_hash(style)),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(_hash, scripts))),
        glue=_encoded(runtime.glue),
        wasm=_encoded(runtime.wasm),
        network=_encoded(network),
        runtime=VERSION,
    )
    return "".join(page).encode("utf-8", "xmlcharrefreplace")


def _encoded(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode("ascii"))


def _in_script(content: Any) -> str:
    """JSON in which nothing can end the element it stands in."""
    text = json.dumps(content)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(text: str) -> str:
    """By which the page's own policy knows a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
