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
