"""The nearest training image, against brute force."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from clearmargin.evaluation import neighbours
from clearmargin.evaluation.neighbours import evenly_spaced, multiply_adds, nearest_of_class, nearest_training_images
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Contender, Training
from clearmargin.records import Inputs, Preprocessing
from clearmargin.training.feeds import Feeds, ImageFeed

MEAN, STD = (0.4,) * 3, (0.3,) * 3
LAYERS = [{"conv": 6, "activation": "relu"}, {"pool": "max"}, {"flatten": True}, {"dense": 9, "activation": "relu"}]


class Rows:
    def __init__(self, values):
        self.values, self.shape, self.dtype, self.read_at_once = values, values.shape, values.dtype, 0

    def read(self, rows):
        self.read_at_once = max(self.read_at_once, len(rows))
        return self.values[rows]


def pictures(count, seed):
    return Rows(np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8))


@pytest.fixture
def network():
    contender = Contender.model_validate({"name": "n", "layers": LAYERS})
    built = build_network(contender, (3, 12, 12), 3)
    initialise(built, torch.Generator().manual_seed(0))
    return built.eval()


def features(network, rows):
    inputs = ImageFeed(rows, MEAN, STD).batch(np.arange(rows.shape[0]), None)
    return network.layers[:-1](inputs).detach().double().numpy()


def test_neighbours_are_those_of_brute_force(network):
    queries, references = pictures(20, 1), pictures(700, 2)
    random = np.random.default_rng(3)
    query_classes, reference_classes = random.integers(0, 3, 20), random.integers(0, 3, 700)
    found = nearest_of_class(
        network, ImageFeed(queries, MEAN, STD), query_classes,
        ImageFeed(references, MEAN, STD), reference_classes, torch.float32,
    )  # fmt: skip
    assert references.read_at_once <= 256  # memory does not grow with the training part
    distances = cdist(features(network, queries), features(network, references), "cosine")
    distances[query_classes[:, None] != reference_classes[None]] = np.inf
    assert (reference_classes[found.rows] == query_classes).all()
    np.testing.assert_allclose(found.distances, distances.min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.rows, distances.argmin(axis=1))
    assert (found.features, found.compared) == (9, 700)


def test_an_image_of_the_training_part_finds_itself(network):
    references = pictures(60, 5)
    classes = np.arange(60) % 3
    queries = Rows(references.values[[7, 30, 59]])
    found = nearest_of_class(
        network, ImageFeed(queries, MEAN, STD), classes[[7, 30, 59]],
        ImageFeed(references, MEAN, STD), classes, torch.float32,
    )  # fmt: skip
    assert found.rows.tolist() == [7, 30, 59]
    assert found.distances.max() < 1e-6


def test_features_of_too_many_queries_are_capped(network, monkeypatch):
    monkeypatch.setattr(neighbours, "_MOST_QUERY_VALUES", 5 * 9 + 1)
    queries, references = pictures(20, 1), pictures(30, 2)
    classes = np.zeros(20, dtype=np.int64)
    found = nearest_of_class(
        network, ImageFeed(queries, MEAN, STD), classes,
        ImageFeed(references, MEAN, STD), np.zeros(30, dtype=np.int64), torch.float32,
    )  # fmt: skip
    assert len(found.rows) == len(found.distances) == 5


def test_beyond_what_is_affordable_evenly_spaced_images_are_compared(network, monkeypatch, tmp_path):
    inputs = pictures(90, 4)
    pixels = Inputs(inputs, (), None, (), 90, "key", Preprocessing(12), False)
    feeds = Feeds(network, Training(), pixels, MEAN, STD, cache=tmp_path, precision=torch.float32)
    work = multiply_adds(network, feeds.plain(np.arange(3)))
    assert work == 12 * 12 * 6 * 27 + 6 * 6 * 6 * 9 + 9 * 3
    queries, training = np.array([80, 85]), np.arange(60)
    classes = np.repeat([0, 1], 30)
    monkeypatch.setattr(neighbours, "AFFORDABLE", {torch.float32: 20 * work})
    found = nearest_training_images(feeds, queries, np.array([0, 1]), training, classes, torch.float32)
    assert found.compared == 20
    assert classes[found.rows].tolist() == [0, 1]


def test_evenly_spaced_rows_keep_every_class():
    classes = np.array([0] * 90 + [1] * 9 + [2])
    kept = evenly_spaced(classes, 10)
    assert np.bincount(classes[kept]).tolist() == [9, 1, 1]
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(evenly_spaced(classes, 100), np.arange(100))
