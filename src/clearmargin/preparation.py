"""From what a recipe names to samples as numbers, audited and divided among the parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd

from clearmargin.audit import Audit, audit
from clearmargin.audit.duplicates import join_groups
from clearmargin.audit.label_suspects import FOLDS, label_suspects
from clearmargin.columns import table_inputs
from clearmargin.decoding import longest_side
from clearmargin.errors import ImageError, SourceError
from clearmargin.features import image_features
from clearmargin.mapped_rows import Subset
from clearmargin.pixels import open_pixels
from clearmargin.recipe import Data, SplitSettings
from clearmargin.records import Columns, Finding, Inputs, Progress, Sample, Source, Split
from clearmargin.sources import Table, open_source, open_table_source
from clearmargin.split import PartsFile, make_fold, make_split, read_parts_file
from clearmargin.split.groups import column
from clearmargin.split.ties import PATIENT, Tied, require_column, tie

_SIZED = 256  # images whose size is looked at
_SMALLEST_PX = 32


def named(data: str | Path) -> str:
    """Data as a recipe names them: a path is never taken for a name of the catalogue."""
    return data if isinstance(data, str) else str(data if data.is_absolute() else Path.cwd() / data)


def open_data(data: Data, group_by: str | None = None) -> Source | Table:
    """List what is there, and decode nothing yet.

    Parameters
    ----------
    group_by
        The column whose equal values stay together, when it is not called like a patient. Of a table: it is no input.

    Raises
    ------
    SourceError
        When the recipe names no data, or they can't be used.
    """
    if data.source is None:
        raise SourceError("The recipe names no data: say which with --data PATH, or [data] source in the recipe.")
    if data.target is not None:
        return open_table_source(data.source, data.target, data.features, group_by=group_by)
    return open_source(data.source, group_pattern=data.group_pattern)


def read_inputs(
    data: Data, progress: Progress, group_by: str | None = None, *, no_larger: bool = False
) -> tuple[Inputs, Source | Table]:
    """Every image (or row) as numbers, and the source they came from; ``group_by`` as `open_data` takes it.

    With ``no_larger``, images are not enlarged to the size that is asked for: 70,000 digits of 28 pixels would
    fill 10 GB.

    Raises
    ------
    SourceError
        When nothing can be read, or there is no such column.
    """
    source = open_data(data, group_by)
    if isinstance(source, Table):
        return table_inputs(source), source
    if group_by is not None:
        require_column(source.samples, group_by)  # before the images are decoded
    how = data.preprocessing
    if no_larger:
        how = replace(how, size_px=_no_larger(source, how.size_px))
    pixels = open_pixels(source, how, progress=lambda done, total: progress("Reading images", done, total, ""))
    if not pixels.samples:
        raise SourceError(f"None of the {pixels.found} images can be read. {pixels.findings[-1].message}")
    return pixels, source


def _no_larger(source: Source, size_px: int) -> int:
    """The longest side of the first images, but not more than asked for, nor less than a network can take."""
    longest = 0
    for content in islice(source.read(), _SIZED):
        if not isinstance(content, ImageError):
            longest = max(longest, longest_side(content))
        if longest >= size_px:
            break
    return min(size_px, max(longest, _SMALLEST_PX)) if longest else size_px


def own_column(asked: SplitSettings) -> str | None:
    """The column a recipe groups by, unless it leaves that to the source."""
    return None if asked.group_by == PATIENT else asked.group_by


def audit_inputs(
    inputs: Inputs,
    source: Source | Table,
    asked: SplitSettings | None = None,
    *,
    suspects: bool = False,
    progress: Progress = lambda *_: None,
) -> Audit:
    """What is wrong with the samples.

    Parameters
    ----------
    asked
        How a recipe splits them: what it says belongs together can't vouch for each other, and counts once. None when
        there is no recipe.
    suspects
        Of images: look for wrong labels as well. It takes the features of every image, which cost what a frozen VGG16
        does.

    Raises
    ------
    SourceError
        When there is no such column to group by, or the split file does not fit.
    """
    found = _checked(inputs, source, None if asked is None else tied(inputs.samples, asked).numbers, progress)
    if not suspects or isinstance(inputs.preprocessing, Columns):
        return found
    return found.with_findings(_label_suspects(inputs, found.units, progress))


def _label_suspects(inputs: Inputs, units: np.ndarray, progress: Progress) -> Iterator[Finding]:
    names, labels = (column([getattr(sample, key) for sample in inputs.samples]) for key in ("name", "label"))
    if len(set(labels)) < 2:
        return
    features = image_features(inputs, progress)
    done = count(1)
    yield from label_suspects(
        names,
        labels,
        units,
        features.values,
        features.name,
        after_each=lambda: progress("Looking for wrong labels", next(done), FOLDS, ""),
    )


def _checked(inputs: Inputs, source: Source | Table, tied: np.ndarray | None, progress: Progress) -> Audit:
    return audit(
        inputs.samples,
        inputs.facts,
        inputs.findings,
        inputs.found,
        simulated=inputs.simulated,
        source_kind=source.kind,
        miniatures=inputs.miniatures,
        tied=tied,
        progress=lambda done, total: progress("Looking for copies", done, total, ""),
    )


def tied(samples: Sequence[Sample], asked: SplitSettings) -> Tied:
    """What a recipe says belongs together, before it is known which copies are dropped (`split.ties.tie`)."""
    drops = asked.near_duplicates == "drop"
    return tie(samples, asked, [sample.name for sample in samples] if drops else ())


def divide(
    inputs: Inputs,
    copies: np.ndarray,
    asked: SplitSettings,
    seed: int,
    fold: int = 1,
    parts_file: PartsFile | None = None,
) -> tuple[Inputs, Split]:
    """The split a recipe asks for, and the samples that are in it; of several folds, the one that tests ``fold``.

    With a ``parts_file``, that takes the place of the one which the recipe names.

    Raises
    ------
    SourceError
        When the data can't be divided so.
    """
    if parts_file is None and asked.file is not None:
        parts_file = read_parts_file(Path(asked.file))
    inputs, samples, together = joined(inputs, copies, asked, parts_file)
    if asked.folds:
        return inputs, make_fold(samples, together, folds=asked.folds, fold=fold, fractions=asked.fractions, seed=seed)
    split = make_split(
        samples,
        together,
        fractions=asked.fractions,
        seed=seed,
        use_given=asked.use_given or parts_file is not None,
        accept_leaks=asked.accept_leaks,
        parts_file=parts_file.title if parts_file is not None else None,
    )
    return inputs, split


def joined(
    inputs: Inputs, copies: np.ndarray, asked: SplitSettings, parts_file: PartsFile | None = None
) -> tuple[Inputs, Sequence[Sample], np.ndarray]:
    """What is to be divided: the inputs that are kept, their samples, and numbers of those that stay together.

    What stays together is found among all inputs, before copies are left out: a copy that named the patient, or that
    tied two patients, still ties them when it is gone.

    Raises
    ------
    SourceError
        When there is no such column to group by, or the split file does not fit.
    """
    kept = np.arange(len(inputs.samples))
    same = kept
    if asked.near_duplicates == "drop":
        same = _same(inputs, copies)
        given = parts_file is None and asked.use_given
        stays = np.array([given and sample.part == "test" for sample in inputs.samples], dtype=bool)
        kept = _best_of_each(same, inputs.facts, stays)
    dropped = {inputs.samples[row].name for row in np.setdiff1d(np.arange(len(same)), kept)}
    told = tie(inputs.samples, asked, dropped, parts_file)
    together = join_groups(copies, told.whole)
    inputs = replace(inputs, together=together)
    if not dropped:
        return inputs, told.samples, together
    samples = _patients_of_copies(told.samples, same)
    return only(inputs, kept), [samples[row] for row in kept.tolist()], together[kept]


def _patients_of_copies(samples: Sequence[Sample], same: np.ndarray) -> Sequence[Sample]:
    """Samples with the patient of their copies (the first by name), where they have none themselves."""
    known: dict[int, str] = {}
    for sample, number in zip(samples, same.tolist(), strict=True):
        if sample.group is not None:
            known[number] = min(sample.group, known.get(number, sample.group))
    return [
        replace(sample, group=known.get(number)) if sample.group is None else sample
        for sample, number in zip(samples, same.tolist(), strict=True)
    ]


def _same(inputs: Inputs, copies: np.ndarray) -> np.ndarray:
    """Numbers of samples of which one is enough: copies that have the same label or target."""
    labels = np.unique(np.array([sample.label for sample in inputs.samples]), return_inverse=True)[1]
    return np.unique(np.column_stack([copies, labels]), axis=0, return_inverse=True)[1]


def _best_of_each(copies: np.ndarray, facts: pd.DataFrame, stays: np.ndarray) -> np.ndarray:
    """Rows (ascending) that keep one of each cluster of copies: the one with most pixels, else the first by name.

    Those that stay (bool, one a row) are kept all, and whatever copies them goes: a given test part is not thinned out.
    """
    pixels = facts["width_px"] * facts["height_px"] if "width_px" in facts else pd.Series(np.zeros(len(facts)))
    order = np.lexsort((facts["name"].to_numpy(dtype=str), -pixels.to_numpy(dtype=np.int64), ~stays))
    _, first = np.unique(copies[order], return_index=True)
    return np.union1d(order[first], np.flatnonzero(stays))


def only(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """Some of the samples, as inputs with a key of their own; ``rows`` are their places, ascending."""
    key = hashlib.sha256(inputs.key.encode() + rows.astype("<i8").tobytes()).hexdigest()
    samples = tuple(inputs.samples[row] for row in rows)
    facts = inputs.facts.iloc[rows].reset_index(drop=True)
    small = None if inputs.miniatures is None else Subset(inputs.miniatures, rows)
    together = None if inputs.together is None else inputs.together[rows]
    return replace(
        inputs,
        rows=Subset(inputs.rows, rows),
        samples=samples,
        facts=facts,
        key=key,
        miniatures=small,
        together=together,
    )


def pictures_of(inputs: Inputs, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Images by name; those that could not be decoded are absent."""
    place = {sample.name: row for row, sample in enumerate(inputs.samples)}
    there = [name for name in names if name in place]
    rows = np.array([place[name] for name in there], dtype=np.int64)
    return dict(zip(there, inputs.rows.read(rows), strict=True))
