import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.ledger import START, Evaluated, enter, evaluated, head, machine_ledger, read_ledger
from clearmargin.files import file_sha256

PART = np.array(["1f" * 32, "2e" * 32], dtype=object)


def weights(number: int) -> dict[str, Evaluated]:
    """Another training, other weights."""
    return {"plain CNN": Evaluated(f"{number:064x}", f"{number:064d}"), "VGG16": Evaluated("f" * 64, "e" * 64)}


@pytest.fixture(autouse=True)
def new_machine(tmp_path, monkeypatch) -> None:
    """A cache that nobody has counted in."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))


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
    assert entries[0]["weights"] == {"plain CNN": f"{0:064x}", "VGG16": "f" * 64}
    assert entries[0]["models"] == {"plain CNN": f"{0:064d}", "VGG16": "e" * 64}
    assert entries[0]["kind"] == "internal"
    assert entries[0]["time"].endswith("+00:00")
    assert len(ledger.read_text().splitlines()) == 4


def test_the_number_counts_evaluations_of_this_test_part(ledger):
    assert enter(ledger, PART[::-1], weights(4)).in_run == 5  # the order of the samples does not matter
    assert enter(ledger, PART[:1], weights(4)).in_run == 1
    assert enter(ledger, ["\n".join(PART)], weights(4)).in_run == 1
    assert enter(ledger, [*PART, PART[0]], weights(4)).in_run == 1  # a sample twice is another part
    assert enter(ledger, PART[:1], {}).in_run == 2


def test_the_same_contenders_on_the_same_test_part_are_one_evaluation(ledger):
    """A run that was killed after the entry and before its figures were written enters it again."""
    before = ledger.read_bytes()
    again = enter(ledger, PART[::-1], dict(reversed(weights(2).items())))
    assert (again.in_run, again.on_machine) == (3, 3)
    assert ledger.read_bytes() == before


def test_an_external_test_is_an_evaluation_of_its_own(ledger):
    assert enter(ledger, PART, weights(2), kind="external").in_run == 5
    assert read_ledger(ledger)[-1]["kind"] == "external"


def test_the_machine_counts_over_run_folders(ledger, tmp_path):
    other = tmp_path / "another run" / "ledger.jsonl"
    assert (enter(other, PART, weights(7)).in_run, enter(other, PART, weights(7)).on_machine) == (1, 5)
    assert enter(other, PART, weights(8)).on_machine == 6
    assert enter(other, PART[:1], weights(8)).on_machine == 1
    assert enter(ledger, PART, weights(8)).on_machine == 6  # bit-identical models say nothing new in another folder


def test_other_thresholds_on_the_same_weights_are_another_evaluation(ledger):
    one = Evaluated("a" * 64, "1" * 64, "2" * 64)
    first = enter(ledger, PART, {"x": one})
    second = enter(ledger, PART, {"x": Evaluated("a" * 64, "3" * 64, "4" * 64)})
    assert (first.in_run, second.in_run, first.on_machine, second.on_machine) == (5, 6, 5, 6)


def test_the_ledger_of_the_machine_holds_no_name(ledger):
    text = machine_ledger().read_text()
    assert len(text.splitlines()) == 4
    assert set(json.loads(text.splitlines()[0])) == {
        "number", "time", "kind", "test_part", "evaluated", "previous", "hash",
    }  # fmt: skip
    assert "CNN" not in text
    assert str(ledger.parent) not in text


def test_an_edited_ledger_of_the_machine_is_told_and_stops_nothing(ledger):
    sound = machine_ledger().read_bytes()
    machine_ledger().write_bytes(sound.replace(b'"number": 2', b'"number": 1'))
    told = enter(ledger, PART, weights(9))
    assert (told.in_run, told.on_machine) == (5, None)
    assert "was edited" in told.note
    assert told.as_json()["ledger_note"] == told.note


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "file" / "cache"))
    told = enter(tmp_path / "ledger.jsonl", PART, weights(0))
    assert (told.in_run, told.on_machine) == (1, None)
    assert "can't be written" in told.note


def test_two_processes_count_on_one_machine(tmp_path):
    code = (
        "import sys; from pathlib import Path; from clearmargin.evaluation.ledger import Evaluated, enter\n"
        "for k in range(12): enter(Path(sys.argv[1]), ['aa'], {'x': Evaluated(sys.argv[2] + str(k), '')})"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"{name}.jsonl"), name]) for name in ("a", "b")
    ]
    assert [one.wait(timeout=120) for one in running] == [0, 0]
    assert [entry["number"] for entry in read_ledger(machine_ledger())] == list(range(1, 25))


def test_the_head_tells_that_the_end_was_cut_off(ledger):
    kept = enter(ledger, PART, weights(9)).head
    assert head(ledger) == kept
    ledger.write_text("".join(f"{line}\n" for line in ledger.read_text().splitlines()[:-1]))
    assert read_ledger(ledger)  # the chain itself holds
    assert head(ledger) != kept
    assert head(ledger.with_name("none.jsonl")) == START


def test_what_is_kept_of_a_contender(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"weights_sha256": "ab"}')
    assert evaluated(tmp_path) == Evaluated("ab", file_sha256(path))
    path.write_text('{"weights_sha256": "ab", "decision": {"content_sha256": "cd"}}')
    assert evaluated(tmp_path).decision == "cd"
    path.write_text("[]")
    with pytest.raises(RunFolderError, match=r"model\.json is missing or damaged"):
        evaluated(tmp_path)


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
    assert enter(ledger, [name], {name: Evaluated("0", "")}).in_run == 1
    assert enter(ledger, [name], {name: Evaluated("1", "")}).in_run == 2
    assert read_ledger(ledger)[-1]["weights"] == {name: "1"}


def test_line_ends_of_another_system_are_no_edit(ledger):
    ledger.write_bytes(ledger.read_bytes().replace(b"\n", b"\r\n"))
    assert enter(ledger, PART, weights(4)).in_run == 5


def test_a_folder_in_its_place_is_an_error(tmp_path):
    with pytest.raises(RunFolderError, match="can't be read"):
        read_ledger(tmp_path)
