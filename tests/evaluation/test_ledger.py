import json
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.ledger import START, enter, read_ledger

PART = np.array(["a.png", "b.png"], dtype=object)


def weights(number: int) -> dict[str, str]:
    """Another training, other weights."""
    return {"plain CNN": f"{number:064x}", "VGG16": "f" * 64}


@pytest.fixture
def ledger(tmp_path) -> Path:
    """Four evaluations of one part."""
    path = tmp_path / "ledger.jsonl"
    for number in range(4):
        enter(path, PART, weights(number))
    return path


def test_a_ledger_that_is_not_there_has_no_entries(tmp_path):
    assert read_ledger(tmp_path / "ledger.jsonl") == []


def test_entries_are_in_a_chain(ledger):
    entries = read_ledger(ledger)
    assert [entry["number"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["previous"] for entry in entries] == [START, *(entry["hash"] for entry in entries[:-1])]
    assert entries[0]["weights"] == weights(0)
    assert entries[0]["time"].endswith("+00:00")
    assert len(ledger.read_text().splitlines()) == 4


def test_the_number_counts_evaluations_of_this_test_part(ledger):
    assert enter(ledger, PART[::-1], weights(4)) == 5  # the order of the samples does not matter
    assert enter(ledger, PART[:1], weights(4)) == 1
    assert enter(ledger, np.array(["a.png\nb.png"], dtype=object), weights(4)) == 1
    assert enter(ledger, PART[:1], {}) == 2


def test_the_same_weights_on_the_same_test_part_are_one_evaluation(ledger):
    """A run that was killed after the entry and before its figures were written enters it again."""
    before = ledger.read_bytes()
    assert enter(ledger, PART[::-1], dict(reversed(weights(2).items()))) == 3
    assert ledger.read_bytes() == before


def edited(lines: list[str]) -> dict[str, list[str]]:
    forged = json.loads(lines[1]) | {"number": 1}
    return {
        "a value": [lines[0], json.dumps(forged), *lines[2:]],
        "weights": [lines[0].replace("ffff", "fffe", 1), *lines[1:]],
        "the first taken out": lines[1:],
        "one taken out": [lines[0], *lines[2:]],
        "two exchanged": [lines[1], lines[0], *lines[2:]],
        "one put in": [lines[0], *lines],
        "a key added": [lines[0].replace("{", '{"note": "", ', 1), *lines[1:]],
        "half a line": [*lines[:3], lines[3][:40]],
        "no object": [*lines, "3"],
        "a list": [*lines, "[]"],
        "an empty line": [lines[0], "", *lines[1:]],
        "deep": [*lines, "[" * 100_000],
    }


@pytest.mark.parametrize("edit", list(edited(["{}", "{}", "{}", "{}"])))
def test_an_edit_is_noticed(ledger, edit):
    ledger.write_text("\n".join(edited(ledger.read_text().splitlines())[edit]) + "\n")
    before = ledger.read_bytes()
    for act in (lambda: read_ledger(ledger), lambda: enter(ledger, PART, weights(4))):
        with pytest.raises(RunFolderError, match=r"ledger\.jsonl was edited: entry \d does not follow .*Put back"):
            act()
    assert ledger.read_bytes() == before


def test_bytes_that_are_no_text_are_noticed(ledger):
    ledger.write_bytes(b"\xff\xfe" + ledger.read_bytes())
    with pytest.raises(RunFolderError, match="entry 1"):
        read_ledger(ledger)


def test_any_changed_byte_is_noticed(ledger):
    sound = ledger.read_bytes()
    for place in range(0, len(sound), 7):
        ledger.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(RunFolderError, match="was edited"):
            read_ledger(ledger)


@pytest.mark.parametrize("name", ["Größe", "a\u2028b\x85c\x0bd", "\udcff\ud800", "a\r\nb", "</script>"])
def test_names_of_any_kind_keep_the_chain(ledger, name):
    assert enter(ledger, np.array([name], dtype=object), {name: "0"}) == 1
    assert enter(ledger, np.array([name], dtype=object), {name: "1"}) == 2
    assert read_ledger(ledger)[-1]["weights"] == {name: "1"}


def test_line_ends_of_another_system_are_no_edit(ledger):
    ledger.write_bytes(ledger.read_bytes().replace(b"\n", b"\r\n"))
    assert enter(ledger, PART, weights(4)) == 5


def test_a_folder_in_its_place_is_an_error(tmp_path):
    with pytest.raises(RunFolderError, match="can't be read"):
        read_ledger(tmp_path)
