from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clearmargin.deciding import Deciding
from clearmargin.models import build_network
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, to_input
from clearmargin.models.layers import initialise
from clearmargin.recipe import Augmentation, Contender, Training
from clearmargin.records import Split
from clearmargin.task import Classification
from clearmargin.training.feeds import CacheFeed, Chance, Feeds, ImageFeed
from clearmargin.training.loop import forward

MEAN, STD = (0.5,) * 3, (0.25,) * 3
FLIPS = Augmentation(flip_horizontal=True, noise=0.1)


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chance(seed=0, epoch=0) -> Chance:
    return Chance(5, epoch, generator(seed))


def view(value: float, rows=30):
    bits = torch.full((rows, 2, 2, 3), value, dtype=torch.bfloat16).view(torch.int16).numpy()
    return SimpleNamespace(shape=bits.shape, dtype=bits.dtype, read=lambda rows: bits[rows])


def vgg(freeze_through: str, size=32):
    contender = Contender(name="VGG", architecture="vgg16", freeze_through=freeze_through)
    network = build_network(contender, (3, size, size), 3)
    initialise(network, generator())
    return network.eval()


def feeds_of(network, images, cache, precision=torch.float32, augmentation=None) -> Feeds:
    settings = Training(augmentation=augmentation or Augmentation())
    pixels = SimpleNamespace(rows=images, key="key")
    return Feeds(network, settings, pixels, IMAGENET_MEAN, IMAGENET_STD, cache=cache, precision=precision)


def test_images_are_changed_only_while_training(pictures):
    images, rows = pictures(6), np.array([4, 0, 5])
    feed = ImageFeed(images, MEAN, STD, FLIPS)
    plain = to_input(images.values[rows], MEAN, STD)
    assert len(feed) == 6
    assert torch.equal(feed.batch(rows, None), plain)
    assert not torch.equal(feed.batch(rows, chance()), plain)
    assert torch.equal(feed.batch(rows, chance()), feed.batch(rows, chance()))
    assert torch.equal(ImageFeed(images, MEAN, STD).batch(rows, chance()), plain)


def test_alternate_flips_show_both_sides_in_two_epochs(pictures):
    images, rows = pictures(64), np.arange(64)
    feed = ImageFeed(images, MEAN, STD, Augmentation(flip_horizontal=True, alternate_flips=True))
    plain = to_input(images.values[rows], MEAN, STD)
    first, second, third = (feed.batch(rows, chance(seed=epoch, epoch=epoch)) for epoch in range(3))
    sides = [torch.equal(shown, image) for shown, image in zip(first, plain, strict=True)]
    assert 20 < sum(sides) < 44
    assert torch.equal(second, first.flip(3))
    assert torch.equal(third, first)
    some = np.array([50, 3, 3])
    assert torch.equal(feed.batch(some, chance(7)), first[some])  # whoever else is in the batch


def test_each_sample_is_drawn_from_one_of_its_views():
    feed = CacheFeed([view(1), view(2), view(3)])
    rows = np.arange(30)
    assert feed.batch(rows, None).unique().tolist() == [1]  # the first shows the images as they are
    drawn = feed.batch(rows, chance())
    assert drawn.shape == (30, 3, 2, 2)
    assert drawn.dtype == torch.float32
    assert drawn.is_contiguous(memory_format=torch.channels_last)
    assert drawn.unique().tolist() == [1, 2, 3]
    assert all(len(sample.unique()) == 1 for sample in drawn)
    assert torch.equal(drawn, feed.batch(rows, chance()))
    assert not torch.equal(drawn, feed.batch(rows, chance(1)))


@pytest.mark.parametrize("freeze_through", ["block1", "block5"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cached_activations_and_images_give_the_same_logits(pictures, tmp_path, freeze_through, precision):
    images, network, rows = pictures(5, side=32), vgg(freeze_through), np.array([4, 1, 2])
    feeds = feeds_of(network, images, tmp_path, precision)
    cached = forward(feeds.model, feeds.plain(rows), precision)
    direct = forward(network, ImageFeed(images, IMAGENET_MEAN, IMAGENET_STD), precision)[rows]
    torch.testing.assert_close(cached, direct, rtol=0, atol=1e-6 if precision is torch.float32 else 1e-3)
    assert feeds.trunk_seconds > 0


def test_nothing_frozen_means_no_cache(pictures, tmp_path):
    network = vgg("none")
    feeds = feeds_of(network, pictures(3, side=32), tmp_path, augmentation=FLIPS)
    assert feeds.model is network
    assert feeds.train(np.arange(3)).batch(np.arange(3), None).shape == (3, 3, 32, 32)
    assert not torch.equal(*(feeds.train(np.arange(3)).batch(np.arange(3), drawn) for drawn in (None, chance())))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("augmentation", "views"), [(Augmentation(), 1), (FLIPS, 2)])
def test_views_are_computed_for_training_rows_only(pictures, tmp_path, augmentation, views):
    images = pictures(6, side=32)
    feeds = feeds_of(vgg("block5"), images, tmp_path, augmentation=augmentation)
    train, validation = np.array([0, 2, 4]), np.array([1, 3])
    assert len(feeds.train(train)) == 3
    assert sorted(images.reads) == sorted(train.tolist() * views)
    images.reads.clear()
    assert len(feeds.plain(validation)) == 2
    assert sorted(images.reads) == [1, 3]
    assert len(list((tmp_path / "trunk").iterdir())) == views


def test_answers_are_those_of_the_part_in_the_order_of_the_split(pictures, tmp_path):
    images, network = pictures(6, side=32), vgg("block5")
    feeds = feeds_of(network, images, tmp_path)
    text = np.array([f"{number}.png" for number in range(6)], dtype=object)
    parts = np.array(["train", "test", "train", "test", "validation", "test"], dtype=object)
    split = Split(text, np.array(list("abcabc"), dtype=object), text, parts, (0.8, 0.1, 0.1), False)
    task, normalisation = Classification(("a", "b", "c")), (IMAGENET_MEAN, IMAGENET_STD)
    deciding = Deciding(task, split, None, network, feeds, normalisation, torch.float32, tmp_path, None)
    said = deciding.answers("test", None)
    assert said.names.tolist() == ["1.png", "3.png", "5.png"]
    assert said.labels.tolist() == ["b", "a", "c"]
    with torch.inference_mode():
        logits = network(to_input(images.values[[1, 3, 5]], IMAGENET_MEAN, IMAGENET_STD))
    np.testing.assert_allclose(said.probabilities, logits.double().softmax(dim=1).numpy(), atol=1e-6)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1, atol=1e-12)
    assert sorted(images.reads) == [1, 3, 5]
