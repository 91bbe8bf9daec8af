"""What a run writes about itself."""

import json

from clearmargin.journal import Journal


def test_a_resumed_run_adds_its_times_to_those_of_the_interrupted_one(tmp_path):
    first = Journal(tmp_path, seed=3, seconds={"images": 2.0, "audit": 1.0, "train net": 10.0})
    first.begin()
    second = Journal(tmp_path, seed=3, seconds={"images": 0.5, "audit": 0.25})
    second.begin()
    with second.timed("train net"):
        pass
    second.save(finished=True)
    said = json.loads((tmp_path / "environment.json").read_text())
    assert list(said["seconds"]) == ["images", "audit", "train net"]
    assert (said["seconds"]["images"], said["seconds"]["audit"]) == (2.5, 1.25)
    assert 10.0 <= said["seconds"]["train net"] < 11.0
    assert said["started"] == first.started


def test_what_it_was_begun_on_is_kept_when_that_changes(tmp_path, monkeypatch):
    machines = iter(["2.12.0", "2.12.0", "2.13.0", "2.13.0", "2.12.0", "2.12.0"])
    monkeypatch.setattr("clearmargin.journal.describe_environment", lambda: {"format": 1, "torch": next(machines)})
    for _ in range(3):
        Journal(tmp_path, seed=3).begin()
    said = json.loads((tmp_path / "environment.json").read_text())
    assert said["torch"] == "2.12.0"
    assert [one["torch"] for one in said["before"]] == ["2.12.0", "2.13.0"]


def test_on_one_machine_there_is_no_other_before(tmp_path):
    for _ in range(2):
        Journal(tmp_path, seed=3).begin()
    assert "before" not in json.loads((tmp_path / "environment.json").read_text())
