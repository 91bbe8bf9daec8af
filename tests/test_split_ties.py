"""What must stay together does, also when copies that tied it are left out; everybody hears of the same groups."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from PIL import Image

import clearmargin as cm
from clearmargin import preparation
from clearmargin.errors import SourceError
from clearmargin.preparation import audit_inputs, divide, read_inputs
from clearmargin.recipe import Data, SplitSettings
from clearmargin.records import Inputs, Preprocessing, Sample
from clearmargin.split import check_division
from clearmargin.splitting import divide_data

pytestmark = pytest.mark.usefixtures("without_figures")


def silent(what: str, done: int, total: int, note: str) -> None:
    """Progress that nobody sees."""


class Rows:
    """Rows that nobody reads."""

    def __init__(self, number: int) -> None:
        self.shape, self.dtype = (number, 8, 8, 3), np.dtype(np.uint8)


def components(*keys: list[object]) -> list[int]:
    """Sets that hang together by an equal key that is not None: by flooding, one sample after the other."""
    number = [-1] * len(keys[0])
    for start in range(len(number)):
        waiting = [start] if number[start] < 0 else []
        while waiting:
            row = waiting.pop()
            number[row] = start
            for kind in keys:
                alike = (other for other, key in enumerate(kind) if key is not None and key == kind[row])
                waiting += [other for other in alike if number[other] < 0]
    return number


def inputs_of(patients, copies, labels, cases, widths) -> Inputs:
    samples = tuple(
        Sample(f"{row:03}.png", label, patient, None, {"case": case or ""})
        for row, (label, patient, case) in enumerate(zip(labels, patients, cases, strict=True))
    )
    names = [sample.name for sample in samples]
    sizes = {"width_px": widths, "height_px": [10] * len(widths)}
    facts = pd.DataFrame({"name": names, "pixel_sha256": names, **sizes})
    return Inputs(Rows(len(samples)), samples, facts, (), len(samples), "key", Preprocessing(8), False)


@st.composite
def structures(draw):
    number = draw(st.integers(20, 60))

    def keys(most, none):
        chosen = st.lists(st.integers(-none, most), min_size=number, max_size=number)
        return [None if key < 0 else f"k{key}" for key in draw(chosen)]

    copies = [key or f"alone{row}" for row, key in enumerate(keys(number // 3, number // 2))]
    labels = draw(st.lists(st.sampled_from("ab"), min_size=number, max_size=number))
    widths = draw(st.lists(st.integers(1, 3), min_size=number, max_size=number))
    return keys(number, number // 2), copies, labels, keys(2 * number, number), widths


@settings(max_examples=60, deadline=None)
@given(structure=structures(), seed=st.integers(0, 5), folds=st.sampled_from([0, 3]), by_case=st.booleans())
def test_what_dropped_copies_tie_is_never_in_two_parts(structure, seed, folds, by_case):
    patients, copies, _, cases, _ = structure
    inputs = inputs_of(*structure)
    asked = SplitSettings(
        near_duplicates="drop", fractions=[0.5, 0.25, 0.25], folds=folds, group_by="case" if by_case else "patient"
    )
    numbers = np.unique(copies, return_inverse=True)[1]
    try:
        kept, split = divide(inputs, numbers, asked, seed)
    except SourceError as error:  # some structures can't be divided at all
        if "leak" in str(error) or "in more than one part" in str(error):
            raise
        reject()
    check_division(split, kept)
    together = dict(
        zip([s.name for s in inputs.samples], components(patients, copies, *([cases] if by_case else [])), strict=True)
    )
    part: dict[int, str] = {}
    for name, where in zip(split.names, split.parts, strict=True):
        assert part.setdefault(together[name], where) == where


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve patients with four images each; of eight, one is there again, with an earlier name and no patient."""
    random = np.random.default_rng(0)
    rows = []
    for patient in range(12):
        for number in range(4):
            picture = Image.fromarray(random.integers(0, 256, (24, 24), dtype=np.uint8))
            names = [f"x{patient:02}_{number}.png"] + ([f"a{patient:02}.png"] if patient < 8 and number == 0 else [])
            for name in names:
                picture.save(tmp_path / name)
                known = name.startswith("x")
                rows.append((name, "ab"[patient % 2], f"P{patient}" if known else "", f" c{patient // 2} "))
    pd.DataFrame(rows, columns=["path", "label", "patient", "case"]).to_csv(tmp_path / "m.csv", index=False)
    return tmp_path


def read(folder: Path, **asked):
    wanted = SplitSettings(fractions=[0.4, 0.3, 0.3], **asked)
    inputs, source = read_inputs(Data(source=str(folder / "m.csv"), size_px=32), silent)
    return inputs, source, wanted


@pytest.mark.parametrize("folds", [0, 3])
def test_a_dropped_copy_hands_its_patient_on(folder, folds):
    inputs, source, asked = read(folder, near_duplicates="drop", folds=folds)
    found = audit_inputs(inputs, source, asked)
    owner = {f"{letter}{patient:02}": patient for letter in "ax" for patient in range(12)}
    for seed in range(6):
        kept, split = divide(inputs, found.copies, asked, seed)
        assert len(kept.samples) == 48
        assert sum(name.startswith("a") for name in split.names) == 8
        assert split.patients
        parts: dict[int, set[str]] = {}
        for name, part in zip(split.names, split.parts, strict=True):
            parts.setdefault(owner[name[:3]], set()).add(part)
        assert all(len(where) == 1 for where in parts.values())
        assert sorted(set(split.groups)) == sorted(f"P{patient}" for patient in range(12))


def test_the_door_of_training_knows_what_a_dropped_copy_tied(folder):
    inputs, source, asked = read(folder, near_duplicates="drop")
    kept, split = divide(inputs, audit_inputs(inputs, source).copies, asked, 0)
    parts = split.parts.copy()
    row = split.names.tolist().index("a00.png")
    parts[row] = next(part for part in ("train", "test") if part != parts[row])
    torn = replace(split, parts=parts, groups=split.names)
    with pytest.raises(SourceError, match=r"The split leaks: 1 times the same group \(patients, copies"):
        check_division(torn, kept)


def test_dropping_does_not_untie_two_patients_of_one_picture(folder):
    frame = pd.read_csv(folder / "m.csv", keep_default_na=False)
    frame.loc[frame["path"] == "a00.png", "patient"] = "P2"  # the picture of P0, as one of P2
    frame.to_csv(folder / "m.csv", index=False)
    inputs, source, asked = read(folder, near_duplicates="drop")
    copies = audit_inputs(inputs, source, asked).copies
    for seed in range(6):
        _, split = divide(inputs, copies, asked, seed)
        tied = [place for place, name in enumerate(split.names) if name[:3] in ("a00", "x00", "a02", "x02")]
        assert len(set(split.parts[tied])) == 1
        assert len(tied) == 7 + 1


def test_a_split_file_may_leave_out_what_is_dropped(folder):
    from clearmargin.splitting import write_splits

    inputs, source, asked = read(folder, near_duplicates="drop")
    _, split = divide(inputs, audit_inputs(inputs, source, asked).copies, asked, 1)
    write_splits(folder / "s.csv", [split])
    _, _, asked = read(folder, near_duplicates="drop", file=str(folder / "s.csv"))
    again = divide_data(Data(source=str(folder / "m.csv"), size_px=32), asked, progress=silent).splits[0]
    assert again.parts.tolist() == split.parts.tolist()
    assert again.groups.tolist() == split.groups.tolist()
    _, _, strict = read(folder, file=str(folder / "s.csv"))
    with pytest.raises(SourceError, match="says nothing of 8 of 56 samples"):
        divide_data(Data(source=str(folder / "m.csv"), size_px=32), strict, progress=silent)


# --- the same groups for everybody --------------------------------------------------------------------------


RECIPE = """
[data]
size_px = 32
[split]
fractions = [0.5, 0.25, 0.25]
{asked}
[[contender]]
name = "c"
layers = [{{ flatten = true }}]
[training]
epochs = 1
[audit]
leakage = true
"""


class Heard(Exception):
    """All that is to be heard was said."""


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Sixty different images of two classes, three to a case; beside them a split file that says so as groups."""
    random = np.random.default_rng(1)
    rows = []
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (24, 24), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
        case = number // 3
        rows.append((f"{number:02}.png", "ab"[case % 2], f"c{case}"))
    pd.DataFrame(rows, columns=["path", "label", "case"]).to_csv(tmp_path / "m.csv", index=False)
    parts = ["train"] * 10 + ["validation"] * 4 + ["test"] * 6
    told = pd.DataFrame(
        [(path, parts[int(case[1:])], case) for path, _, case in rows], columns=["name", "part", "group"]
    )
    told.to_csv(tmp_path / "s.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("way", ["column", "file"])
def test_everybody_is_told_of_the_groups_of_the_recipe(cases, monkeypatch, way):
    asked = 'group_by = "case"' if way == "column" else "file = 's.csv'"
    (cases / "r.toml").write_text(RECIPE.format(asked=asked))
    heard: dict[str, tuple] = {}

    def suspects(names, labels, groups, *_, **__):
        heard["suspects"] = len(set(groups.tolist()))
        return iter(())

    def price(inputs, copies, groups, **_):
        heard["leakage"] = len(set(groups.tolist())), [sample.part for sample in inputs.samples]
        raise Heard

    monkeypatch.setattr(preparation, "label_suspects", suspects)
    monkeypatch.setattr("clearmargin.leakage.leakage", price)
    with pytest.raises(Heard):
        cm.run(cases / "r.toml", data=cases / "m.csv", out=cases / "run", progress=silent)
    assert heard["suspects"] == 20
    groups, parts = heard["leakage"]
    assert groups == 20
    if way == "file":
        assert parts == ["train"] * 30 + ["validation"] * 12 + ["test"] * 18
    else:
        assert set(parts) == {None}
    said = {finding["kind"]: finding for finding in json.loads((cases / "run" / "audit.json").read_text())["findings"]}
    assert said["few-groups"]["evidence"]["values"] == {"a": 10, "b": 10}
    assert "Too few independent groups" in said["few-groups"]["message"]


def test_without_a_study_a_column_ties_as_well(cases, clearmargin, monkeypatch):
    status, told, said = clearmargin("audit", cases / "m.csv", "--quick", "--group-by", "case", "--json")
    assert status == 0, said
    few = [finding for finding in json.loads(told)["findings"] if finding["kind"] == "few-groups"]
    assert few[0]["evidence"]["values"] == {"a": 10, "b": 10}
    status, told, said = clearmargin("leakage", cases / "m.csv", "--seeds", 1, "--group-by", "case", "--json")
    assert status == 0, said
    assert json.loads(told)["groups"] == 20
    frame = pd.read_csv(cases / "m.csv")
    frame["part"] = (["train", "validation", "test"] * 20)[: len(frame)]  # each case in all of them
    frame.to_csv(cases / "parts.csv", index=False)
    for by, expected in (([], set()), (["--group-by", "case"], {"groups-across-parts"})):
        told = clearmargin("audit", cases / "parts.csv", "--quick", *by, "--json")[1]
        leaks = [one for one in json.loads(told)["findings"] if one["kind"].endswith("-across-parts")]
        assert {one["kind"] for one in leaks} == expected
        assert all(one["message"].startswith("20 of 20 groups in the given") for one in leaks)
    table = pd.DataFrame({"a": range(60), "y": [row % 7 for row in range(60)], "part": frame["part"]})
    table["group"] = [f"g{row}" for row in range(59)] + ["g0"]
    table.to_csv(cases / "rows.csv", index=False)
    for by in ([], ["--group-by", "group"]):
        told = clearmargin("audit", cases / "rows.csv", "--target", "y", *by, "--json")[1]
        leaks = [one["message"] for one in json.loads(told)["findings"] if one["kind"] == "groups-across-parts"]
        assert leaks[0].startswith("1 of 20 groups in the given test part also has rows in the training part")
    said = clearmargin("audit", cases / "rows.csv", "--target", "y", "--group-by", "hospital")[2]
    assert "no column 'hospital' (--group-by)" in said
    monkeypatch.setattr(preparation, "open_pixels", lambda *_, **__: pytest.fail("decoded before it was refused"))
    for command in ("audit", "leakage"):
        status, told, said = clearmargin(command, cases / "m.csv", "--group-by", "hospital")
        assert (status, told) == (2, "")
        assert "no column 'hospital' to group by (--group-by): expected patient, case" in said
        status, _, said = clearmargin(command, cases / "m.csv", "--group-by", "")
        assert (status, "--group-by" in said, "Traceback" in said) == (2, True, False)


def test_white_space_around_a_value_of_a_column_means_nothing(cases):
    frame = pd.read_csv(cases / "m.csv")
    frame["case"] = [f" {case} " if row % 3 else case for row, case in enumerate(frame["case"])]
    frame.to_csv(cases / "m.csv", index=False)
    inputs, source, asked = read(cases, group_by="case")
    assert len(set(audit_inputs(inputs, source, asked).units.tolist())) == 20


def test_shortcuts_are_not_told_from_what_a_recipe_ties(cases):
    from clearmargin.audit.evidence import Evidence
    from clearmargin.audit.shortcuts import shortcuts

    samples = [Sample(str(row), "ab"[row // 6 % 2]) for row in range(480)]
    brightness = np.random.default_rng(0).permutation(80)[np.arange(480) // 6] + 100.0  # one for each group of six
    width = [{0: 100, 1: 120}[row // 6 % 2] if row < 240 else 110 for row in range(480)]
    facts = pd.DataFrame({"pixel_sha256": [s.name for s in samples], "width_px": width, "height_px": 100})
    facts["mean_brightness"] = brightness
    units = np.arange(480) // 6
    tied = Evidence.gather(samples, facts, None, units)
    assert len(np.unique(tied.units)) == 80
    (finding,) = shortcuts(tied)
    assert finding.evidence["images"] == 480
    seven = Evidence.gather(samples, facts, None, np.arange(480) // 6 % 8)  # four groups of each class
    assert list(shortcuts(seven)) == []
    assert list(shortcuts(Evidence.gather(samples, facts))) != []
