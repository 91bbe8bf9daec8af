"""Groups (patients) out of file names, by a regular expression."""

from __future__ import annotations

import re
from dataclasses import replace

from clearmargin.errors import SourceError
from clearmargin.records import Finding, Sample
from clearmargin.sources.blocks import ImageBlocks
from clearmargin.sources.container import quoted
from clearmargin.sources.image_files import ImageFiles


def with_groups(source: ImageFiles | ImageBlocks, pattern: str) -> ImageFiles | ImageBlocks:
    """Give each sample the group that ``pattern`` captures in its name.

    Samples that do not match, or match with nothing captured, keep no group and are counted in a finding.

    Raises
    ------
    SourceError
        A pattern that is none or has not exactly one group, matches no name at all, or a source that names
        groups already.
    """
    compiled = _compiled(pattern)
    if any(sample.group is not None for sample in source.samples):
        raise SourceError(
            f"The data name their patients already; leave the group pattern {pattern!r} out, or the patient column."
        )
    samples = tuple(_grouped(sample, compiled) for sample in source.samples)
    alone = tuple(sample.name for sample in samples if sample.group is None)
    if len(alone) == len(samples):
        raise SourceError(
            f"The group pattern {pattern!r} matches none of the {len(samples):,} names; "
            f"the first are {quoted(alone, limit=3)}."
        )
    finding = Finding(
        "group-not-found",
        "serious",
        f"The group pattern {pattern!r} does not match {len(alone):,} of {len(samples):,} names ({quoted(alone)}).",
        "Correct the pattern; each of these images counts as a patient of its own.",
        alone,
    )
    return replace(source, samples=samples, findings=source.findings + ((finding,) if alone else ()))


def _compiled(pattern: str) -> re.Pattern[str]:
    example = r"for example 'patient(\d+)_'"
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SourceError(
            f"The group pattern {pattern!r} is not a regular expression ({error}); "
            f"expected one with a group, {example}."
        ) from error
    if compiled.groups != 1:
        raise SourceError(
            f"The group pattern {pattern!r} has {compiled.groups} groups in parentheses; "
            f"expected exactly one, {example}. "
            "Write (?:…) for parentheses that capture nothing."
        )
    return compiled


def _grouped(sample: Sample, pattern: re.Pattern[str]) -> Sample:
    match = pattern.search(sample.name)
    return replace(sample, group=(match[1] or None) if match else None)
