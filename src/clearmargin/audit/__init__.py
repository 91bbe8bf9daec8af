"""What is wrong with the data, before anything is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.audit.copies import (
    chained_copies,
    copies_across_parts,
    copies_in_different_patients,
    copies_with_different_labels,
    groups_spelled_alike,
    identical_images,
    nearly_identical_images,
    of_mended_parts,
    of_unused_parts,
    patients_across_parts,
)
from clearmargin.audit.evidence import Evidence
from clearmargin.audit.makeup import class_balance, mixed_modes, mixed_sizes
from clearmargin.audit.quality import few_groups, image_quality, image_shape, odd_modes, text_suspects
from clearmargin.audit.rows import few_rows, identical_rows, outlying_targets
from clearmargin.audit.shortcuts import shortcuts
from clearmargin.records import PARTS, Finding, Rows, Sample, Severity

Check = Callable[[Evidence], Iterable[Finding]]
CHECKS: tuple[Check, ...] = (
    copies_with_different_labels,
    copies_across_parts,
    patients_across_parts,
    groups_spelled_alike,
    copies_in_different_patients,
    identical_images,
    nearly_identical_images,
    chained_copies,
    class_balance,
    mixed_sizes,
    mixed_modes,
    shortcuts,
    image_quality,
    image_shape,
    odd_modes,
    text_suspects,
    few_groups,
)
TABLE_CHECKS: tuple[Check, ...] = (
    copies_across_parts,
    patients_across_parts,
    groups_spelled_alike,
    identical_rows,
    few_rows,
    outlying_targets,
)
_FORMAT = 1
_RANK: dict[Severity, int] = {"serious": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Audit:
    """What was looked at and what was noticed.

    Attributes
    ----------
    findings
        Those of the source and the decoding, and those of the checks; the serious ones first.
    copies
        int64 of shape (samples,): what must stay together shares a number: samples with identical pixels or inputs,
        and near-duplicates.
    units
        int64 of shape (samples,): the same together with patients and with what else is said to belong together.
    counts
        ``found``, ``decoded`` and ``excluded`` samples.
    classes
        Decoded images of each class; empty for a regression.
    given
        The same for each part the source puts samples in; of a regression, ``rows``.
    """

    simulated: bool
    source_kind: str
    findings: tuple[Finding, ...]
    copies: np.ndarray
    units: np.ndarray
    counts: dict[str, int]
    classes: dict[str, int]
    given: dict[str, dict[str, int]]

    def with_findings(self, more: Iterable[Finding]) -> Audit:
        """The same with what was noticed later."""
        return replace(self, findings=_ranked([*self.findings, *more]))

    def without_given_parts(self) -> Audit:
        """The same for a study that does not use the parts as given: that they leak does not concern it."""
        return replace(self, findings=_ranked(map(of_unused_parts, self.findings)))

    def with_mended_parts(self) -> Audit:
        """The same for a study that uses the parts as given, but for what leaks between them."""
        return replace(self, findings=_ranked(map(of_mended_parts, self.findings)))

    def as_json(self) -> dict[str, Any]:
        """The content of ``audit.json``."""
        return {
            "format": _FORMAT,
            "simulated": self.simulated,
            "source_kind": self.source_kind,
            "counts": self.counts,
            "classes": self.classes,
            "given": self.given,
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "message": finding.message,
                    "remedy": finding.remedy,
                    "samples": list(finding.samples),
                    "evidence": dict(finding.evidence),
                }
                for finding in self.findings
            ],
        }


def audit(
    samples: Sequence[Sample],
    facts: pd.DataFrame,
    findings: Sequence[Finding],
    found: int,
    *,
    simulated: bool,
    source_kind: str,
    miniatures: Rows | None = None,
    tied: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Run every check of `CHECKS` (of a table: `TABLE_CHECKS`) over the samples that could be read.

    Parameters
    ----------
    samples
        The decoded samples.
    facts
        One row for each, in the same order, with the column pixel_sha256; of images also content_sha256, width_px,
        height_px, mode, format and bytes.
    findings
        What the source and the decoding have noticed already.
    found
        How many samples the source lists, the unreadable ones included.
    simulated, source_kind
        As the source says.
    miniatures
        Of images: uint8 of shape (samples, 64, 64), as `clearmargin.miniature` makes them; without them only identical
        copies are found.
    tied
        int64 of shape (samples,): what belongs together by somebody's word, beyond the patients, shares a number.
    progress
        Called with (pairs compared, pairs to compare) while near copies are looked for.

    Raises
    ------
    ValueError
        When there is not one row of facts for each sample.
    """
    evidence = Evidence.gather(samples, facts, miniatures, tied, progress)
    checks = TABLE_CHECKS if source_kind == "table" else CHECKS
    noticed = [*findings, *(finding for check in checks for finding in check(evidence))]
    given: dict[str, dict[str, int]] = {
        part: evidence.part_counts(part) for part in PARTS if (evidence.parts == part).any()
    }
    return Audit(
        simulated=simulated,
        source_kind=source_kind,
        findings=_ranked(noticed),
        copies=evidence.together,
        units=evidence.units,
        counts={"found": found, "decoded": len(samples), "excluded": found - len(samples)},
        classes=evidence.class_counts(),
        given=given,
    )


def _ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: _RANK[finding.severity]))
