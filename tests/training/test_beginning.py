"""What a training began to compute with is kept, until a checkpoint has it, and when that is lost."""

import json

import pytest
import torch

from clearmargin.training import threads
from clearmargin.training.beginning import begin_as_before


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def bfloat16():
    return torch.bfloat16


def float32():
    return torch.float32


def test_it_begins_again_as_it_began(tmp_path, caplog):
    path = tmp_path / "checkpoint" / "begun.json"
    assert begin_as_before(path, "plain", bfloat16) == torch.bfloat16
    torch.set_num_threads(1)
    assert begin_as_before(path, "plain", float32) == torch.bfloat16  # a race may fall otherwise
    assert (torch.get_num_threads(), caplog.text) == (2, "")


def test_what_can_not_be_as_it_was_is_warned_of(tmp_path, monkeypatch, caplog):
    begin_as_before(tmp_path / "begun.json", "plain", float32)
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    monkeypatch.setattr(threads, "version", lambda name: "9.9")
    begin_as_before(tmp_path / "begun.json", "plain", float32)
    (told,) = caplog.messages
    assert "(now 9.9), threads 2 (now 1): the result may differ in its last digits" in told


SOUND = {"precision": "bfloat16", "computed_with": {"clearmargin": "1", "torch": "2", "threads": 1}}


@pytest.mark.parametrize(
    "damaged",
    [
        *(None, [], "", {}, {"precision": "bfloat16"}, SOUND | {"precision": "float16"}, SOUND | {"precision": []}),
        *(SOUND | {"computed_with": said} for said in (None, [], {}, {"threads": 1})),
        *(SOUND | {"computed_with": {**SOUND["computed_with"], "threads": count}} for count in (0, -1, "1", True, 1.5)),
        SOUND | {"computed_with": {**SOUND["computed_with"], "torch": 2}},
    ],
)
def test_a_damaged_file_counts_as_none(tmp_path, caplog, damaged):
    path = tmp_path / "begun.json"
    path.write_text(json.dumps(damaged))
    assert begin_as_before(path, "plain", float32) == torch.float32
    path.write_text("{")
    assert begin_as_before(path, "plain", float32) == torch.float32
    assert json.loads(path.read_text())["precision"] == "float32"
    assert (torch.get_num_threads(), caplog.text) == (2, "")
