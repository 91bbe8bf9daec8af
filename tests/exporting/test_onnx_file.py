"""ONNX files answer as the networks they were made from, whatever layers are in them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests.exporting.networks import EVERY_LAYER, EVERY_LAYER_OF_ROWS, images

from clearmargin.decoding import prepared_pixels
from clearmargin.errors import WorkError
from clearmargin.exported import describe_contender, exported_contender, open_exported
from clearmargin.exporting import graph, parity, preprocessing_graph
from clearmargin.exporting.graph import onnx_bytes
from clearmargin.exporting.onnx_file import make_onnx, write_onnx
from clearmargin.exporting.parity import check_parity, reference
from clearmargin.exporting.preprocessing_graph import REDUCING_GAP
from clearmargin.exporting.samples import Samples, open_run_data
from clearmargin.prediction import predict_files


def exported(contender, kind="normalised"):
    about = describe_contender(contender, version="1", leaky=False).model_copy(update={"input": kind})
    return exported_contender(onnx_bytes(contender, about), Path("x.onnx"))


@pytest.mark.parametrize(
    ("architecture", "size_px"),
    [
        ({"layers": EVERY_LAYER}, 32),
        pytest.param({"architecture": "resnet18"}, 64, marks=pytest.mark.slow),
    ],
    ids=["every layer", "ResNet-18"],
)
def test_it_answers_as_the_network(untrained, architecture, size_px):
    contender = untrained(size_px, **architecture)
    found = check_parity(contender, exported(contender), Samples(images(size_px=size_px), "noise", False))
    assert found.outputs < 1e-5
    assert found.probabilities < 1e-5
    assert found.as_predicted < 1e-5


@pytest.mark.slow
def test_the_rounding_at_the_cut_of_vgg16_is_kept(untrained, monkeypatch):
    contender = untrained(32, architecture="vgg16", weights="none")
    contender.network._cut = 24  # as with freeze_through = "block4", which wants ImageNet's weights
    found = check_parity(contender, exported(contender), Samples(images(), "noise", False))
    assert found.outputs < 1e-4
    nodes = onnx.load_model_from_string(exported(contender).content).graph.node
    assert [node.op_type for node in nodes].count("Cast") == 2


@pytest.mark.parametrize(
    ("layers", "kind"),
    [(EVERY_LAYER_OF_ROWS, "values"), ([{"conv": 4}, {"pool": "global_sum"}], "normalised")],
    ids=["every layer", "global sum"],
)
def test_a_regression_on_rows(untrained, layers, kind):
    contender = untrained(columns=13, layers=layers)
    rows = np.random.default_rng(0).normal(size=(40, 13))
    rows[0] = 1e60
    file = exported(contender, kind)
    found = check_parity(contender, file, Samples(rows[1:], "noise", False))
    assert found.outputs < 1e-5
    assert found.probabilities is None
    np.testing.assert_allclose(file.estimates(rows[1:]), contender.estimates(rows[1:]), atol=1e-4)


@pytest.mark.parametrize(("color", "fit"), [("gray", "pad"), ("rgb", "crop"), ("rgb", "stretch")])
def test_pictures_of_any_size_are_framed_in_the_graph_to_the_same_bits(untrained, color, fit):
    contender = untrained(28, color, layers=[{"conv": 4, "activation": "relu"}])
    contender.description["preprocessing"]["fit"] = fit
    file = exported(contender, "image")
    random = np.random.default_rng(3)
    for height, width in ((28, 28), (9, 40), (200, 131), (131, 200), (400, 20), (700, 1000), (1, 3)):
        picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        square = prepared_pixels(picture, contender.preprocessing)
        np.testing.assert_array_equal(file.outputs_of(picture[None]), file.logits(square[None]))
        np.testing.assert_allclose(file.logits(square[None]), reference(contender)(square[None]), atol=1e-5)


def test_a_run_that_trims_gets_squares(tiny, tmp_path):
    contender = tiny.contender("one layer")
    trimmed = {**contender.description["preprocessing"], "trim": True}
    other = type(contender)(contender.name, contender.folder, {**contender.description, "preprocessing": trimmed})
    file, found = make_onnx(tiny, other, tmp_path / "x.onnx", None, with_preprocessing=True)
    assert file.about.input == "square"
    assert found.framed is None


def test_it_says_of_itself_what_is_needed_and_nothing_of_this_machine(tiny, class_folder, tmp_path):
    contender = tiny.contender("two layers")
    data = open_run_data(tiny, contender, str(class_folder), lambda *_: None)
    said = write_onnx(make_onnx(tiny, contender, tmp_path / "x.onnx", data))
    assert said["parity"]["real"]
    assert said["parity"]["n"] == 32
    assert "of the run's training and validation part" in " ".join(said["notes"])
    model = onnx.load(tmp_path / "x.onnx")
    onnx.checker.check_model(model, full_check=True)
    told = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert told["clearmargin.classes"] == ["alpha", "beta", "gamma"]
    assert told["clearmargin.size_px"] == 16
    assert told["clearmargin.color"] == "gray"
    assert told["clearmargin.weights_sha256"] == contender.description["weights_sha256"]
    assert told["clearmargin.temperature"] == contender.decision.temperature.value
    assert told["clearmargin.decision"]["conformal"]["error_rate"] == contender.decision.conformal.error_rate
    content = (tmp_path / "x.onnx").read_bytes()
    for canary in (str(tiny.folder), str(Path(graph.__file__).parents[1]), str(Path.home()), "stack_trace"):
        assert canary.encode() not in content


def test_it_predicts_as_the_run_does(tiny, class_folder, tmp_path):
    contender = tiny.contender("two layers")
    write_onnx(make_onnx(tiny, contender, tmp_path / "x.onnx", None, with_preprocessing=True))
    ours, theirs = (predict_files(one, [class_folder]) for one in (contender, open_exported(tmp_path / "x.onnx")))
    assert list(theirs.table.columns) == [name for name in ours.table.columns if name != "unlike"]
    assert (ours.table["predicted"] == theirs.table["predicted"]).all()
    same = ours.table["set"] == theirs.table["set"]  # the threshold is the score of one of them, to the last bit
    assert same.mean() > 0.97
    np.testing.assert_allclose(ours.table[list(ours.classes)], theirs.table[list(ours.classes)], atol=1e-6)
    assert ours.failures.keys() == theirs.failures.keys()


def test_a_file_that_answers_otherwise_is_not_written(tiny, tmp_path, monkeypatch):
    def wrong(contender, about):
        network = graph.plain_network(contender.network)
        torch.nn.init.constant_(network[0].bias, 0.01)
        monkeypatch.setattr(graph, "plain_network", lambda _: network)
        return onnx_bytes(contender, about)

    monkeypatch.setattr("clearmargin.exporting.onnx_file.onnx_bytes", wrong)
    with pytest.raises(WorkError, match=r"does not answer as 'one layer' does.*0\.0001 is allowed\. Nothing was"):
        make_onnx(tiny, tiny.contender("one layer"), tmp_path / "x.onnx", None)
    assert list(tmp_path.iterdir()) == []
    assert parity.relative(np.zeros((1, 2)), np.full((1, 2), np.nan)) == float("inf")


@pytest.mark.parametrize("side", [8, 16, 224, 512, 665, 666, 2048])
def test_pictures_to_compare_take_every_way_of_framing(side):
    """By the rules of Pillow, which `reducing_gap` and the order of passes follow."""
    shapes = parity.shapes(side)
    assert (side, side) in shapes
    assert max(height * width for height, width in shapes) <= parity.MOST_PIXELS
    reduced = any(min(shape) / side / REDUCING_GAP >= 2 for shape in shapes)  # whatever the fit
    assert reduced == (side <= 665)
    assert any(height - side > 2 * max(0, width - side) and height > side for height, width in shapes)
    assert any(max(shape) < side for shape in shapes)
    assert len({height > width for height, width in shapes}) == 2


@pytest.mark.parametrize("wrong", ["reduction", "order"])
def test_framing_that_differs_is_noticed_at_the_size_of_the_network(untrained, monkeypatch, wrong):
    contender = untrained(224, layers=[{"conv": 4, "activation": "relu"}, {"pool": "max", "size": 8}])
    if wrong == "reduction":
        monkeypatch.setattr(preprocessing_graph, "REDUCING_GAP", 1000.0)
    else:
        never = lambda at, *_: at.constant(False, bool)  # noqa: E731
        monkeypatch.setattr(preprocessing_graph, "_down_first", never)
    with pytest.raises(WorkError, match=r"on pictures that the graph resizes itself, as Pillow 13 does \(this is"):
        check_parity(contender, exported(contender, "image"), Samples(images(2, 224), "noise", False))


def test_files_of_the_data_are_framed_as_they_are_decoded(tiny, class_folder, tmp_path):
    contender = tiny.contender("one layer")
    data = open_run_data(tiny, contender, str(class_folder), lambda *_: None)
    originals = data.originals(8)
    learned = {data.split.names[row] for part in ("train", "validation") for row in data.of(part)}
    assert len(originals) == 8
    assert set(originals) <= {(class_folder / name).read_bytes() for name in learned}
    said = write_onnx(make_onnx(tiny, contender, tmp_path / "x.onnx", data, with_preprocessing=True))
    assert said["parity"]["n_originals"] == 8
    assert said["parity"]["n_framed"] == 8 + len(parity.shapes(16))
    assert "made-up pictures and 8 files of the data that the graph frames itself" in " ".join(said["notes"])


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
@pytest.mark.parametrize("words", [["--json"], ["--csv"], []])
def test_a_name_that_is_no_unicode_does_not_lose_the_answers(
    tiny, class_folder, tmp_path, clearmargin, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    write_onnx(make_onnx(tiny, tiny.contender("one layer"), Path("x.onnx"), None))
    image = next((class_folder / "alpha").glob("*.png")).read_bytes()
    Path("images").mkdir()
    for name in (b"caf\xe9.png", b"good.png"):
        Path("images", os.fsdecode(name)).write_bytes(image)
    status, out, err = clearmargin("predict", "x.onnx", "images", *words)
    assert status == 0, err
    assert "images/good.png" in out
    if words == ["--json"]:
        assert json.loads(out)["predictions"][0]["image"] == os.fsdecode(b"images/caf\xe9.png")
    else:
        assert ("images/caf\\udce9.png" if words else "images/caf�.png") in out


def test_real_pictures_are_answered_alike(untrained, shared_data, tmp_path):
    import zipfile

    contender = untrained(96, layers=[{"conv": 8, "activation": "relu"}, {"pool": "max"}, {"pool": "global_average"}])
    with zipfile.ZipFile(shared_data / "brain-mri-yes-no.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))][:12]
        assert len(names) == 12
        for place, name in enumerate(names):
            (tmp_path / f"{place:02d}{Path(name).suffix}").write_bytes(archive.read(name))
    file = exported(contender, "image")
    for path in sorted(tmp_path.glob("[0-9]*")):
        square = prepared_pixels(path.read_bytes(), contender.preprocessing)
        picture = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(file.outputs_of(picture[None]), file.logits(square[None]))
        np.testing.assert_allclose(file.logits(square[None]), reference(contender)(square[None]), atol=1e-4)
