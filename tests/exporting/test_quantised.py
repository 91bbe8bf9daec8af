"""Eight bits: what they cost and gain is measured on the validation part, by the rule of the study."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clearmargin.errors import RunFolderError, UsageError
from clearmargin.evaluation.paired import mcnemar_mid_p
from clearmargin.exported import open_exported
from clearmargin.exporting.onnx_file import make_onnx
from clearmargin.exporting.quantised import write_quantised
from clearmargin.exporting.samples import open_run_data
from clearmargin.files import file_sha256
from clearmargin.prediction_file import predict_into


class Watched:
    """The data of a run, of which it is noted what is read."""

    def __init__(self, data):
        self.data, self.split, self.seen = data, data.split, set()

    def of(self, part):
        return self.data.of(part)

    def read(self, rows):
        self.seen |= set(rows.tolist())
        return self.data.read(rows)


@pytest.fixture(scope="module")
def made(tiny, class_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "small.onnx"
    contender = tiny.contender("two layers")
    data = Watched(open_run_data(tiny, contender, str(class_folder), lambda *_: None))
    both = make_onnx(tiny, contender, path, None)
    return both[0], write_quantised(tiny, both, path, data, lambda *_: None), data, path


def test_the_test_part_is_not_looked_at(made, tiny):
    _, _, data, _ = made
    assert set(data.split.parts[sorted(data.seen)]) == {"train", "validation"}
    assert "test" in data.split.parts


def test_what_it_costs_is_counted_on_validation(made, tiny):
    exported, said, data, path = made
    found = said["int8"]
    assert json.loads((path.parent / "small.onnx.json").read_text()) == found
    assert said["bytes"] == path.stat().st_size == found["bytes"]["int8"]
    assert said["sha256"] == file_sha256(path)
    assert said["float32_parity"]["outputs"] < 1e-4
    assert found["part"] == "validation"
    rows = data.of("validation")
    small = open_exported(path)
    assert small.about.quantised
    truth = data.split.labels[rows]
    right = {
        name: np.array(exported.classes)[one.judged(list(data.read(rows)))[0].argmax(axis=1)] == truth
        for name, one in (("float32", exported), ("int8", small))
    }
    for name, answers in right.items():
        assert found[name]["accuracy"]["value"] == pytest.approx(answers.mean())
    only = [int((right["float32"] & ~right["int8"]).sum()), int((right["int8"] & ~right["float32"]).sum())]
    pair = found["comparison"]
    assert sorted([pair["only_first_right"], pair["only_second_right"]]) == sorted(only)
    assert pair["mcnemar_mid_p"] == pytest.approx(mcnemar_mid_p(*only))
    assert abs(found["float32"]["accuracy"]["value"] - found["int8"]["accuracy"]["value"]) < 0.2
    assert found["speed"]["times_as_fast_from"] <= found["speed"]["times_as_fast"] <= found["speed"]["times_as_fast_to"]
    words = " ".join(said["notes"])
    assert "On the validation part: float32" in words
    assert "McNemar's mid-p" in words
    assert "In float32 it was at most" in words


def test_it_is_smaller_and_near(made):
    exported, _, data, path = made
    import onnx

    kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    pixels = list(data.read(data.of("train")[:20]))
    apart = np.abs(exported.judged(pixels)[0] - open_exported(path).judged(pixels)[0])
    assert 0 < apart.max() < 0.2


def test_predictions_go_on_with_the_same_file_only(made, class_folder, tmp_path):
    """The file in eight bits has the weights' hash of the other, and answers otherwise."""
    exported, _, _, path = made
    out = tmp_path / "p.csv"

    def write(model, resume):
        return predict_into(model, [class_folder], out, resume=resume, progress=lambda *_: None)

    whole = write(exported, False)
    content = out.read_bytes()
    out.write_bytes(content[: len(content) // 2])
    small = open_exported(path)
    assert small.about.weights_sha256 == exported.about.weights_sha256
    with pytest.raises(UsageError, match="it was made with another model"):
        write(small, True)
    assert write(exported, True) == whole
    assert out.read_bytes() == content


def test_other_data_are_refused(tiny, draw_images, tmp_path, clearmargin):
    other = draw_images(tmp_path / "other", {"alpha": 10, "beta": 10, "gamma": 10}, 1)
    with pytest.raises(RunFolderError, match="are not the data that the run in"):
        open_run_data(tiny, tiny.best, str(other), lambda *_: None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--format", "onnx", "--int8"], "say with --data PATH what the run was trained with"),
        (["--format", "onnx", "--int8", "--data", "x", "--with-preprocessing"], "leave --with-preprocessing out"),
        (["--format", "torch", "--int8"], "are for --format onnx"),
        (["--format", "onnx", "--runtime", "x"], "--runtime is for --format html"),
        (["--format", "pickle"], "must be one of onnx, torch, html"),
        (["--format", "onnx", "--contender", "x"], "There is no contender 'x'"),
        (["--format", "onnx", "--out", "/"], "is a folder"),
    ],
)
def test_what_does_not_go_together(tiny, clearmargin, words, complaint):
    status, _, err = clearmargin("export", tiny.folder, *words)
    assert status == 2
    assert complaint in err


def test_from_the_command_line(tiny, class_folder, clearmargin, tmp_path):
    words = ["export", tiny.folder, "--format", "onnx", "--out", tmp_path / "x.onnx", "--data", class_folder, "--json"]
    status, out, err = clearmargin(*words)
    assert status == 0, err
    assert json.loads(out)["parity"]["real"] is True
    image = next((class_folder / "alpha").glob("*.png"))
    status, printed, err = clearmargin("predict", tmp_path / "x.onnx", image, "--json")
    assert status == 0
    assert "An exported file has no gate" in err
    assert sum(json.loads(printed)["predictions"][0]["probabilities"].values()) == pytest.approx(1)
    status, out, _ = clearmargin("predict", tmp_path / "x.onnx", class_folder, "--out", tmp_path / "p.csv")
    assert status == 1  # one of them is broken
    assert "100 images" not in out
    assert "Failed: 1." in out
    assert clearmargin("predict", tmp_path / "x.onnx", image, "--contender", "x")[0] == 2
    assert clearmargin("predict", tmp_path / "x.onnx", image, "--resume")[0] == 2
