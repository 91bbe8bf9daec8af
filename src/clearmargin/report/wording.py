"""How numbers and names are written on the page."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from markupsafe import Markup, escape

from clearmargin.language import language, stored, tr, trn

THIN = "\u202f"  # narrow no-break space
MINUS = "\u2212"
MISSING = "–"
# Nouns that are counted where they are known only by name; a test holds each in the table of languages.
COUNTED = (
    "image", "row", "file", "seed", "fold", "test image", "test row", "tested image", "tested row",
    "given training image", "given training row",
)  # fmt: skip
_COMBINING_RUN = 3  # marks stacked on one letter; more would climb into the neighbouring lines
_JOINTS = re.compile(r"([_/.]|-(?!$))")
_BIDI_CONTROLS = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def is_number(value: object) -> bool:
    """Tell whether ``value`` is a finite number (a truth value is not one)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Iterable[object]) -> list[float]:
    """Keep what is a finite number."""
    return [float(value) for value in values if isinstance(value, int | float) and is_number(value)]


def decimal(value: float | None, digits: int = 3) -> str:
    """Write 0.9134 as ``0.913``; what is missing or undefined as a dash."""
    if value is None or not is_number(value):
        return MISSING
    return f"{value:.{digits}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval as ``0.880–0.940``, with "to" where a minus sign would meet the dash."""
    if not (is_number(low) and is_number(high)):
        return MISSING
    if low < 0 or high < 0:  # type: ignore[operator]
        return tr("{low} to {high}", low=decimal(low, digits), high=decimal(high, digits))
    return f"{decimal(low, digits)}–{decimal(high, digits)}"


def estimate(metric: Mapping[str, Any], digits: int = 3) -> str:
    """Write value and interval as ``0.913 (0.880–0.940)``."""
    if not is_number(metric.get("low")):
        return decimal(metric.get("value"), digits)
    return f"{decimal(metric['value'], digits)} ({interval(metric['low'], metric.get('high'), digits)})"


def points(fraction: float | None) -> str:
    """Write a difference of fractions in percentage points, with its sign: ``+6.1``."""
    if fraction is None or not is_number(fraction):
        return MISSING
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def fitting_digits(values: Iterable[object]) -> int | None:
    """Decimals that give the smallest of the values three significant digits; None where that takes too many."""
    sizes = [abs(value) for value in numbers(values) if value]
    if not sizes:
        return 2
    if min(sizes) < 1e-5 or max(sizes) >= 1e9:
        return None
    return max(0, 2 - math.floor(math.log10(min(sizes))))


def measured(value: float | None, digits: int | None) -> str:
    """Write a number in the unit of a target: ``1 234.5``, or ``1.23e−07`` when ``digits`` is None."""
    if value is None or not is_number(value):
        return MISSING
    text = f"{value:.3g}" if digits is None else f"{value:,.{digits}f}"
    if not any(character in "123456789" for character in text):
        text = text.removeprefix("-")  # what rounds to zero has no sign
    return text.replace(",", THIN).replace("-", MINUS)


def count(number: float | None) -> str:
    """Write 14714688 as ``14 714 688`` with narrow spaces."""
    if number is None or not is_number(number):
        return MISSING
    return f"{round(number):,}".replace(",", THIN)


def large(number: float | None) -> str:
    """Write 14714688 as ``14.7 million``."""
    if number is None or not is_number(number):
        return MISSING
    for size, word in ((1e12, tr("trillion")), (1e9, tr("billion")), (1e6, tr("million"))):
        if number >= size:
            scaled = number / size
            return f"{scaled:.{0 if scaled >= 100 else 1}f}{THIN}{word}"
    return count(number)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write 0.801 as ``80.1 %``; what is near nothing, or all but all, as ``< 0.1 %`` and ``> 99.9 %``."""
    if fraction is None or not is_number(fraction):
        return MISSING
    text = f"{100 * fraction:.{digits}f}"
    if 0 < fraction < 1 and float(text) in (0, 100):
        step = 10**-digits
        text = f"<{THIN}{step:.{digits}f}" if float(text) == 0 else f">{THIN}{100 - step:.{digits}f}"
    return f"{text}{THIN}%"


def probability_value(p: float | None) -> str:
    """Write a p-value: three decimals, ``< 0.001`` below that."""
    if p is None or not is_number(p):
        return MISSING
    return f"<{THIN}0.001" if p < 0.001 else f"{p:.3f}"


def seconds(duration: float | None) -> str:
    """Write 252.3 as ``4 min 12 s``, 3.14 as ``3.1 s``."""
    if duration is None or not is_number(duration):
        return MISSING
    if 0 < duration < 0.05:
        return tr("{seconds} s", seconds=f"<{THIN}0.1").replace(" ", THIN)
    if duration < 59.95:
        return tr("{seconds} s", seconds=f"{duration:.1f}").replace(" ", THIN)
    whole = round(duration)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        text = tr("{hours} h, {minutes} min", hours=count(hours), minutes=f"{minutes:02d}")
    else:
        text = tr("{minutes} min, {seconds} s", minutes=minutes, seconds=f"{rest:02d}")
    return text.replace(" ", THIN).replace(f",{THIN}", " ")


def bytes_size(size: float | None) -> str:
    """Write 2040109465 as ``2.0 GB`` (powers of ten)."""
    if size is None or not is_number(size):
        return MISSING
    for unit, word in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f}{THIN}{word}"
    return tr("{n} bytes", n=round(size)).replace(" ", THIN)


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write ``1 image``, ``3 264 images``, in the language of the moment."""
    return trn(number, f"{{n}} {one}", f"{{n}} {many or one + 's'}", n=count(number))


def thing(noun: str) -> str:
    """What a sample is, an ``image`` or a ``row``, in the language of the moment."""
    return tr("image") if noun == "image" else tr("row")


def things(noun: str) -> str:
    """Several of what a sample is."""
    return tr("images") if noun == "image" else tr("rows")


def part_name(part: object) -> str:
    """A part in the middle of a sentence; what is no part stays as it is."""
    names = {"train": tr("training"), "training": tr("training"), "validation": tr("validation"), "test": tr("test")}
    return names.get(str(part), str(part))


def part_title(part: str) -> str:
    """A part at the head of a column."""
    return {"train": tr("Training"), "validation": tr("Validation"), "test": tr("Test")}[part]


def severity(name: str) -> str:
    """How bad a finding is, in a word."""
    return {"serious": tr("serious"), "warning": tr("warning"), "note": tr("note")}[name]


def capitalized(text: str) -> str:
    """A text with its first letter large."""
    return text[:1].upper() + text[1:]


def retold_text(text: object) -> str:
    """A sentence of a file, which keeps it in English, in the language of the moment where the table knows it."""
    english = str(text)
    return english if language() == "en" else stored.retold(english) or english


def retold(text: object) -> str | Markup:
    """`retold_text` made harmless to look at; what has to stay English is marked as such for those who listen."""
    english = str(text)
    told = retold_text(english)
    if language() == "en" or told != english or not _is_english(english):
        return visible(told)
    return Markup('<span lang="en">{}</span>').format(visible(english))


def _is_english(text: str) -> bool:
    """Tell whether a text holds words of English and none of another script."""
    return bool(re.search(r"[A-Za-z]{2}", text)) and not re.search(r"[\u3400-\u9fff]", text)


def sentences(*told: str) -> str:
    """Sentences one after the other; Chinese puts no space between them."""
    return ("" if language() == "zh" else " ").join(filter(None, told))


def listed(words: Sequence[str]) -> str:
    """Write words as ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return tr("{first} and {last}", first=tr(", ").join(words[:-1]), last=words[-1])


def moment(stamp: object) -> str:
    """Write ``2026-11-22T18:00:00+00:00`` as ``2026-11-22 18:00 UTC``; anything else as it is."""
    try:
        parsed = datetime.fromisoformat(str(stamp))
    except ValueError:
        return str(stamp)
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if parsed.tzinfo else str(stamp)


def visible(text: object) -> str:
    """Make a name harmless to look at: control characters and direction marks become visible codes.

    Escaping for HTML is the template's work; this keeps a name from reversing or hiding its neighbours.
    """
    shown: list[str] = []
    marks = 0
    for character in str(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > _COMBINING_RUN:
            continue
        if category in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS or _is_noncharacter(character):
            shown.append(f"\\u{ord(character):04x}")
        else:
            shown.append(character)
    return "".join(shown)


def visible_lines(text: str) -> str:
    """Make every line of a text harmless to look at, and keep its line ends."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _is_noncharacter(character: str) -> bool:
    point = ord(character)
    return point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF


def short(text: object, length: int = 60) -> str:
    """Shorten a name in its middle, so that both its ends can be read."""
    whole = visible(text)
    if len(whole) <= length:
        return whole
    head = (length - 1) * 3 // 5
    return f"{whole[:head]}…{whole[len(whole) - (length - 1 - head) :]}"


def breakable(text: str) -> Markup:
    """Escape a name for HTML and let it break after what joins words in file and class names."""
    return Markup(_JOINTS.sub("\\1<wbr>", str(escape(text))))


def without_folders(text: str) -> str:
    """Take the folders off an absolute path, POSIX or Windows: a report tells nothing about the machine."""
    if PurePosixPath(text).is_absolute() or text.startswith("~"):
        return PurePosixPath(text).name or text
    windows = PureWindowsPath(text)
    return windows.name or text if windows.drive else text


def window_words(window: Any) -> list[str]:
    """What is said of the window of grey DICOM images, as ``model.json`` has it; nothing where files say it."""
    if isinstance(window, list):
        center, width = (f"{number:g}" for number in window)
        values = {"center": center, "width": width}
        return [tr("Grey DICOM images were shown with a window of center {center} and width {width}.", **values)]
    if window == "auto":
        return [tr("Grey DICOM images were shown from their 0.5th percentile, black, to their 99.5th, white.")]
    return []
