"""Groups (patients) out of file names, by a regular expression.

The pattern is looked for in the file's own name; in the whole path when it has a ``/`` in it, or is found in no file's
own name. What its parentheses capture (without any: what it matches) is the patient. Equal texts are one patient,
whatever folder they are found in: a "12" in two class folders is one patient, since to keep two strangers together
costs little, and to part one patient spoils the result.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from clearmargin.errors import SourceError
from clearmargin.records import Finding
from clearmargin.sources.blocks import ImageBlocks
from clearmargin.sources.container import quoted
from clearmargin.sources.image_files import ImageFiles

_EXAMPLE = r"for example 'patient(\d+)_'"
_SECONDS = 5.0
_NAMES_A_SECOND = 50_000
# Python can't stop a search that has gone astray, as (a+)+b does, but a process can be ended.
_SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
compiled = re.compile(pattern)
found = (compiled.search(name) for name in names)
json.dump([match and (match[compiled.groups] or "") for match in found], sys.stdout)
"""


def with_groups(source: ImageFiles | ImageBlocks, pattern: str) -> ImageFiles | ImageBlocks:
    """Give each sample the group that ``pattern`` finds in its name.

    Samples that do not match, or match with nothing captured, keep no group and are counted in a finding.

    Raises
    ------
    SourceError
        A pattern that is none, has several groups, takes too long or matches no name at all, or a source that names
        groups already.
    """
    _check(pattern)
    if any(sample.group is not None for sample in source.samples):
        raise SourceError(
            f"The data name their patients already; leave the group pattern {_shown(pattern)} out, or the "
            "patient column."
        )
    found = _found(pattern, [sample.name for sample in source.samples])
    samples = tuple(replace(sample, group=group or None) for sample, group in zip(source.samples, found, strict=True))
    alone = tuple(sample.name for sample in samples if sample.group is None)
    if len(alone) == len(samples) and any(text is not None for text in found):
        matched = sum(text is not None for text in found)
        raise SourceError(
            f"The group pattern {_shown(pattern)} matches {matched:,} of {len(samples):,} names, but captures nothing "
            f"in them: put parentheses around what names the patient, {_EXAMPLE}."
        )
    if len(alone) == len(samples):
        raise SourceError(
            f"The group pattern {_shown(pattern)} matches none of the {len(samples):,} names; "
            f"the first are {quoted(alone, limit=3)}."
        )
    finding = Finding(
        "group-not-found",
        "serious",
        f"The group pattern {_shown(pattern)} finds no patient in {len(alone):,} of {len(samples):,} names "
        f"({quoted(alone)}).",
        "Correct the pattern; each of these images counts as a patient of its own.",
        alone,
    )
    return replace(source, samples=samples, findings=source.findings + ((finding,) if alone else ()))


def _shown(pattern: str) -> str:
    """The pattern in quotes, as it may be pasted into a shell again; what can't be printed is escaped."""
    safe = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in pattern)
    quote = "'\"'\"'"  # how a shell takes a quote within quotes
    return f"'{safe.replace(chr(39), quote)}'"


def _check(pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SourceError(
            f"The group pattern {_shown(pattern)} is not a regular expression ({error}); expected one, {_EXAMPLE}."
        ) from error
    if compiled.groups > 1:
        raise SourceError(
            f"The group pattern {_shown(pattern)} has {compiled.groups} groups in parentheses; "
            f"expected at most one, {_EXAMPLE}. "
            "Write (?:…) for parentheses that capture nothing."
        )


def _found(pattern: str, names: Sequence[str]) -> list[str | None]:
    """What the pattern finds in each name: None where it does not match, "" where it captures nothing."""
    if "/" not in pattern:
        found = _searched(pattern, [name.rpartition("/")[2] for name in names])
        if any(found):
            return found
    return _searched(pattern, names)


def _searched(pattern: str, texts: Sequence[str]) -> list[str | None]:
    limit = _SECONDS + len(texts) / _NAMES_A_SECOND
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, list(texts)]),
            capture_output=True,
            timeout=limit,
            check=True,
            encoding="ascii",
        )
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"The group pattern {_shown(pattern)} was not done with {len(texts):,} names in {limit:.0f} seconds: one "
            "repetition inside another, as in (a+)+, takes for ever. Write it in a simpler way, "
            f"{_EXAMPLE}."
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().rpartition("\n")[2]
        raise SourceError(f"The group pattern {_shown(pattern)} can't be used: {said[:200]}.") from None
    found: list[str | None] = json.loads(ended.stdout)
    return found
