"""The table of languages: every text of the program is in it, with the same values, and nothing else is."""

import ast
import json
import re
import string
from importlib import resources
from pathlib import Path

import jinja2
from jinja2 import nodes

from clearmargin.evaluation.repeats_verdict import METRICS
from clearmargin.language import table
from clearmargin.language.stored import stored_texts
from clearmargin.report.wording import COUNTED

SOURCE = Path(__file__).resolve().parents[1] / "src" / "clearmargin"
SAID = ("tr", "tr_html")


def plural_text(words):
    """The text for several, as `wording.plural` makes it of its nouns."""
    return f"{{n}} {words[1] if len(words) > 1 else words[0] + 's'}"


def python_texts(path):
    for call in (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        words = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if name in SAID and words:
            yield words[0]
        elif name == "trn" and len(words) >= 2:
            yield words[1]
        elif name == "plural" and words:
            yield plural_text(words)


def template_texts(path):
    tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
    for call in tree.find_all(nodes.Call):
        name = getattr(call.node, "name", "")
        words = [one.value for one in call.args if isinstance(one, nodes.Const) and isinstance(one.value, str)]
        if name in SAID:
            yield words[0]
        elif name == "trn":
            yield words[1]
    for use in tree.find_all(nodes.Filter):
        words = [one.value for one in use.args if isinstance(one, nodes.Const)]
        if use.name == "plural" and words:
            yield plural_text(words)


def all_texts():
    """Every English text of the program, with the file that says it."""
    found = {f"{{n}} {noun}s": "wording.COUNTED" for noun in COUNTED}
    found.update({name: "repeats_verdict.METRICS" for name, _ in METRICS.values()})
    for path in sorted(SOURCE.rglob("*.py")):
        found.update(dict.fromkeys(python_texts(path), path.name))
    for path in (path for room in ("report", "serving") for path in sorted((SOURCE / room).rglob("*.html"))):
        found.update(dict.fromkeys(template_texts(path), path.name))
    return found


def values(text):
    try:
        return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name is not None})
    except ValueError:
        return []


def test_every_text_has_its_chinese():
    missing = {text: place for text, place in all_texts().items() if text not in table()}
    told = "\n".join(f'  {json.dumps(text, ensure_ascii=False)}: "",  # {place}' for text, place in missing.items())
    assert not missing, f"{len(missing)} texts are missing in language/strings.json:\n{told}"


def test_the_table_holds_nothing_else():
    assert sorted(set(table()) - set(all_texts())) == []


def test_the_values_of_both_languages_are_the_same():
    for texts in (table(), stored_texts()):
        assert [english for english, chinese in texts.items() if values(english) != values(chinese)] == []


def test_tags_of_both_languages_are_the_same():
    for english, chinese in table().items():
        assert sorted(re.findall(r"<[^>]+>", english)) == sorted(re.findall(r"<[^>]+>", chinese))


def test_chinese_has_chinese_punctuation():
    wrong = [text for text in table().values() if re.search(r"[\u3400-\u9fff][,;:!?](?!\s*\d)", text)]
    assert [text for text in wrong if not re.search(r"\d 小时,|分,|小时, \{|分, \{", text)] == []


def test_the_files_are_sorted():
    for name in ("strings.json", "stored.json"):
        content = json.loads((resources.files("clearmargin.language") / name).read_text(encoding="utf-8"))
        assert list(content) == sorted(content)
