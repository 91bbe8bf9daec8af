"""A split file: understood as spreadsheets write it, and refused when it does not fit or leaks."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import SourceError
from clearmargin.records import PARTS, Sample
from clearmargin.split import crossing_groups, make_split, read_parts_file
from clearmargin.splitting import write_splits

SAMPLES = [Sample(f"{label}/{i}.png", label) for label in ("a", "b") for i in range(5)]
PLACES = ["train", "train", "train", "validation", "test"] * 2
HOSTILE = ["=1+1", "'x", "''x", "@b", "\u00e9", "a,b", 'q"q', "\udcff", "x y", "-1", "'=1+1"]
ROWS = [f"{sample.name},{part}" for sample, part in zip(SAMPLES, PLACES, strict=True)]


def write(folder, text, name="parts.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def parts_from(path, samples=SAMPLES, copies=None, **further):
    placed, groups = read_parts_file(path).give(samples)
    assert copies is None or (groups == np.arange(len(samples))).all()
    together = groups if copies is None else copies
    return make_split(placed, together, use_given=True, parts_file=path.name, **further)


def table(rows=ROWS, header="name,part", end="\n"):
    return end.join([header, *rows]) + end


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (table(), "utf-8"),
        (table(), "utf-8-sig"),
        (table(end="\r\n"), "utf-8-sig"),
        (table([row.replace(",", ";") for row in ROWS], "name;part", "\r\n"), "utf-8-sig"),
        (table([row.replace(",", "\t") for row in ROWS], "name\tpart"), "utf-8"),
        (table([row.replace("train", " Training ") for row in reversed(ROWS)], " Name , PART "), "utf-8"),
        (table([row.replace("/", "\\") for row in ROWS]), "utf-8"),
        (table([f'"{row.split(",")[0]}","{row.split(",")[1]}"' for row in ROWS] + ["", ","], "name,part"), "utf-8"),
    ],
)
def test_files_are_understood_as_programs_write_them(tmp_path, text, encoding):
    split = parts_from(write(tmp_path, text, encoding=encoding))
    assert split.parts.tolist() == PLACES
    assert split.given
    assert split.from_file
    assert not split.validation_cut


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), unique=True))
def test_what_the_command_writes_is_read_again(tmp_path_factory, hostile):
    folder = tmp_path_factory.mktemp("written")
    plain = [f"{i}" for i in range(10)]
    samples = [Sample(name, ("k", "'l")[i % 2]) for i, name in enumerate([*plain, *hostile])]
    made = make_split(samples, np.arange(len(samples)))
    write_splits(folder / "s.csv", [made])
    assert parts_from(folder / "s.csv", samples).parts.tolist() == made.parts.tolist()


def test_without_a_validation_part_one_is_cut_from_train(tmp_path):
    samples = [Sample(f"{label}{i}", label) for label in "ab" for i in range(20)]
    rows = [f"{sample.name},{'test' if i % 5 == 0 else 'train'}" for i, sample in enumerate(samples)]
    split = parts_from(write(tmp_path, table(rows)), samples)
    assert split.validation_cut
    assert Counter(split.parts) == {"train": 28, "validation": 4, "test": 8}


FOLDS = [
    f"{row.split(',')[0]},{'test' if i % 2 == fold else 'train'},{fold + 1}"
    for fold in (0, 1)
    for i, row in enumerate(ROWS)
]


def test_the_rows_of_one_fold_are_a_split(tmp_path):
    path = write(tmp_path, table([f"{row},2" for row in ROWS], "name,part,fold"))
    assert parts_from(path).parts.tolist() == parts_from(write(tmp_path, table(), "plain.csv")).parts.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(ROWS[1:]), r"parts\.csv says nothing of 1 of 10 samples: 'a/0\.png'"),
        (table([*ROWS, "c/9.png,train"]), r"names 1 sample that the data do not have.*'c/9\.png'.*the data have 'a/0"),
        (table([*ROWS, "a/0.png,test"]), r"names 1 sample more than once: 'a/0\.png'"),
        (table(["a/0.png,learn", *ROWS[1:]]), r"Row 1 of the split file .* has the part 'learn'"),
        (table(["a/0.png,", *ROWS[1:]]), r"Row 1 of the split file .* has the part ''"),
        (table([row.replace("test", "train") for row in ROWS]), r"The parts in parts\.csv leave test empty"),
        (table([row.replace("b/4.png,test", "b/4.png,train") for row in ROWS]), "'b' has none in test"),
        (table(header="file,part"), r"lacks the column 'name': expected name and part.*has 'file', 'part'"),
        (table(header="name,part,part"), "has 2 cells, the header 3"),
        (
            table(FOLDS, "name,part,fold"),
            r"holds 2 folds, and here one.*\[split\] folds = 2 and the seed.*--check FILE",
        ),
        (table(FOLDS[:-1], "name,part,fold"), r"1 samples are not in the test part of exactly one fold: 'b/4\.png'"),
        (table([f"{row[:-1]}{3 * int(row[-1])}" for row in FOLDS], "name,part,fold"), "numbered from 1"),
        (table([f"{row},one" for row in ROWS], "name,part,fold"), r"Row 1 .* has the fold 'one'; expected a whole"),
        (table([f"{row},x" for row in ROWS], "name,part,PART"), "several columns called 'part'"),
        (
            table([f"{row},b" for row in ROWS], "name,part,label"),
            r"gives 5 samples another label.*'b' there and 'a' in",
        ),
        (table([f"=cmd|' /C calc'!A0,{PLACES[0]}", *ROWS[1:]]), "names 1 sample that the data do not have"),
        ("", "is empty"),
        ("name,part\n", "is empty"),
        (table().encode("utf-16"), "is not UTF-8 text"),
        (table().replace("a/0", "\xe4/0").encode("latin-1"), "is not UTF-8 text"),
        (table(['"a/0.png,train', *ROWS[1:]]), "quote"),
        (b"name,part\n" + b"\x00" * 1000, "cells|NUL|damaged"),
        ("name,part\n" + "x" * 200_000 + ",train\n", "cell that does not end"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_words(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        parts_from(write(tmp_path, text))


def test_missing_files_folders_and_other_kinds_are_refused(tmp_path):
    for path, message in ((tmp_path / "no.csv", "There is no file"), (tmp_path, "is not a table")):
        with pytest.raises(SourceError, match=message):
            read_parts_file(path)
    with pytest.raises(SourceError, match="is not a table"):
        read_parts_file(write(tmp_path, table(), "parts.xlsx"))


def test_groups_of_the_file_are_checked_and_kept_together(tmp_path):
    rows = [f"{row},{'P1' if i in (0, 9) else ''}" for i, row in enumerate(ROWS)]
    path = write(tmp_path, table(rows, "name,part,group"))
    told = (
        r"The parts in parts\.csv leak.*more than one part: 1, with 2 images.*'a/0\.png' in train, 'b/4\.png' in test"
    )
    with pytest.raises(SourceError, match=told):
        parts_from(path)
    split = parts_from(path, accept_leaks=True)
    assert crossing_groups(split) == 1


def grouped_file(folder, cells):
    rows = [f'{row},"{cells.get(i, "")}"' for i, row in enumerate(ROWS)]
    return write(folder, table(rows, "name,part,group"))


def test_white_space_around_a_group_means_nothing(tmp_path):
    with pytest.raises(SourceError, match="leak"):
        parts_from(grouped_file(tmp_path, {0: "P1", 9: " P1 "}))
    _, groups = read_parts_file(grouped_file(tmp_path, {0: " ", 9: "  "})).give(SAMPLES)
    assert len(set(groups.tolist())) == 10


@pytest.mark.parametrize("other", ["p1", "P 1", "P\u00a01"])
def test_groups_that_differ_in_spelling_only_are_refused_across_parts(tmp_path, other):
    with pytest.raises(
        SourceError, match=r"differ in upper and lower case or in white space only: 'P1', |only: .*'P1'"
    ):
        parts_from(grouped_file(tmp_path, {0: "P1", 9: other}))
    assert parts_from(grouped_file(tmp_path, {0: "P1", 1: other})).from_file  # both in the training part
    patients = {0: "P1", 9: other}  # the source itself tells them apart: the audit warns
    samples = [replace(sample, group=patients.get(i)) for i, sample in enumerate(SAMPLES)]
    assert parts_from(grouped_file(tmp_path, patients), samples).from_file


def test_patients_and_copies_in_two_parts_are_refused(tmp_path):
    path = write(tmp_path, table())
    copies = np.arange(10)
    copies[9] = 0
    with pytest.raises(SourceError, match=r"leak.*accept_leaks = true"):
        parts_from(path, copies=copies)
    samples = [Sample(sample.name, sample.label, "P" if i in (1, 3) else None) for i, sample in enumerate(SAMPLES)]
    with pytest.raises(SourceError, match=r"leak.*'P'"):
        parts_from(path, samples)


def test_dropped_copies_may_stay_in_the_file_or_not(tmp_path):
    placed, _ = read_parts_file(write(tmp_path, table())).give(SAMPLES, {"a/0.png"})
    assert [sample.part for sample in placed] == PLACES
    grouped = table([f"{row},G" for row in ROWS[1:]], "name,part,group")
    placed, groups = read_parts_file(write(tmp_path, grouped)).give(SAMPLES, {"a/0.png"})
    assert [sample.part for sample in placed] == [None, *PLACES[1:]]
    assert len(set(groups[1:].tolist())) == 1
    assert groups[0] not in groups[1:]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), min_size=12, max_size=12), st.lists(st.integers(0, 8), min_size=12, max_size=12)
)
def test_given_parts_either_keep_groups_whole_or_raise(parts, clusters):
    samples = [Sample(f"{i}", "ab"[i % 2], part=part) for i, part in enumerate(parts)]
    whole = all(len({parts[i] for i in range(12) if clusters[i] == c}) == 1 for c in set(clusters))
    if not whole and {"train", "test"} <= set(parts):
        with pytest.raises(SourceError, match=r"leak"):
            make_split(samples, np.array(clusters), use_given=True)
        return
    with suppress(SourceError):  # a class that is missing somewhere, or too few groups for a validation part
        split = make_split(samples, np.array(clusters), use_given=True)
        assert whole
        assert crossing_groups(split) == 0
        assert ((split.parts == "test") == (np.array(parts) == "test")).all()
