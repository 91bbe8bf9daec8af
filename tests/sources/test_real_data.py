"""Data sets as they are handed around."""

from __future__ import annotations

from collections import Counter

import pytest

from clearmargin.sources import catalogue, open_source

COUNTS = {
    "brain-tumor-mri": {
        ("test", "glioma_tumor"): 100,
        ("test", "meningioma_tumor"): 115,
        ("test", "no_tumor"): 105,
        ("test", "pituitary_tumor"): 74,
        ("train", "glioma_tumor"): 826,
        ("train", "meningioma_tumor"): 822,
        ("train", "no_tumor"): 395,
        ("train", "pituitary_tumor"): 827,
    },
    "brain-mri-yes-no": {(None, "no"): 98, (None, "yes"): 155},
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_brain_images(shared_data, monkeypatch, name):
    monkeypatch.setenv("CLEARMARGIN_DATA", str(shared_data))
    source = open_source(name)
    assert Counter((sample.part, sample.label) for sample in source.samples) == COUNTS[name]
    assert source.findings == ()
    assert sum(isinstance(content, bytes) for content in source.read()) == len(source.samples)


@pytest.mark.parametrize("name", ["brain-tumor-mri", "brain-mri-yes-no", "mnist", "cifar10-images"])
def test_the_catalogue_counts_right(shared_data, monkeypatch, name):
    monkeypatch.setenv("CLEARMARGIN_DATA", str(shared_data))
    (record,) = [dataset for dataset in catalogue() if dataset.name == name]
    samples = open_source(name).samples
    assert len(samples) == record.samples
    assert len({sample.label for sample in samples}) == record.classes


def test_mnist(shared_data):
    source = open_source(shared_data / "mnist")
    assert Counter(sample.part for sample in source.samples) == {"test": 10_000, "train": 60_000}
    first = next(source.read())
    assert (source.samples[0].name, source.samples[0].label) == ("t10k/00000", "7")
    assert first.shape == (28, 28)
    assert first.max() > 200
