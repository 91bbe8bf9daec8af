import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from clearmargin.audit.candidates import BITS, _union, candidate_pairs
from clearmargin.audit.chains import cluster
from clearmargin.audit.crowding import crowded
from clearmargin.audit.near_copies import ORIENTATION_WORDS, THRESHOLD, find_near_copies
from clearmargin.audit.remembered import near_copies_of
from clearmargin.decoding import prepare
from clearmargin.mapped_rows import ArrayRows
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source

SHARED = Path(__file__).parents[3] / "shared" / "data"
GREY = Preprocessing(32, "pad", "gray")


def texture(seed: int, side: int = 160) -> Image.Image:
    """A picture with detail at several scales and a dark margin."""
    random = np.random.default_rng(seed)
    values = sum(width * gaussian_filter(random.standard_normal((side, side)), width) for width in (3, 6, 12))
    values = 128 + 50 * values / values.std()
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = (x / 0.8) ** 2 + (y / 0.9) ** 2 < 1
    return Image.fromarray(np.where(inside, np.clip(values, 20, 255), 0).astype(np.uint8))


def small(image: Image.Image) -> np.ndarray:
    return prepare(np.asarray(image), GREY).miniature


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def rows(images) -> ArrayRows:
    return ArrayRows(np.array([small(image) for image in images], np.uint8).reshape(-1, 64, 64))


COPIES = {
    "half": lambda image: image.resize((80, 80), Image.Resampling.BICUBIC),
    "double": lambda image: image.resize((320, 320), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((224, 160), Image.Resampling.BICUBIC),
    "jpeg": lambda image: jpeg(image, 50),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "white frame": lambda image: ImageOps.expand(image, (3, 16, 10, 0), 255),
    "letterbox": lambda image: ImageOps.expand(image, (0, 16, 0, 16), 0),
    "white frame as JPEG": lambda image: jpeg(ImageOps.expand(image, 12, 255), 70),
    "cropped": lambda image: image.crop((5, 3, 157, 156)),
}


@pytest.fixture(scope="module")
def strangers() -> list[Image.Image]:
    return [texture(seed) for seed in range(12)]


@pytest.mark.parametrize("name", COPIES)
def test_changed_copies_are_found_and_strangers_are_not(strangers, name):
    near = find_near_copies(rows([*strangers, *(COPIES[name](image) for image in strangers[:4])]))
    assert near.pairs.tolist() == [[k, 12 + k] for k in range(4)]
    assert {ORIENTATION_WORDS[k] for k in near.orientation} == {"as it is"}
    assert (near.clusters[:4] == near.clusters[12:]).all()
    assert len(set(near.clusters.tolist())) == 12


@pytest.mark.parametrize("orientation", range(8))
def test_orientations_are_found_and_named(strangers, orientation):
    def turn(image):
        values = np.asarray(image)
        return Image.fromarray(np.rot90(values[:, ::-1] if orientation >= 4 else values, orientation % 4).copy())

    near = find_near_copies(rows([*strangers, *(turn(image) for image in strangers[:3])]))
    assert near.pairs.tolist() == [[k, 12 + k] for k in range(3)]
    assert near.orientation.tolist() == [orientation] * 3
    assert near.similarity.min() > 0.95


@given(st.permutations(range(10)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_samples_does_not_matter(order):
    base = [texture(seed, 96) for seed in range(6)]
    images = np.array([small(image) for image in [*base, *(image.rotate(90) for image in base[:3]), base[5]]])
    plain, shuffled = find_near_copies(ArrayRows(images)), find_near_copies(ArrayRows(images[order]))

    def pairs(near, names):
        named = zip(near.pairs.tolist(), near.similarity.tolist(), strict=True)
        return {(frozenset((names[a], names[b])), value) for (a, b), value in named}

    assert pairs(plain, range(10)) == pairs(shuffled, order)
    together = plain.clusters[list(order)]
    assert ((together[:, None] == together) == (shuffled.clusters[:, None] == shuffled.clusters)).all()


def test_images_without_detail_are_not_joined():
    blank = np.stack([np.full((64, 64), value, np.uint8) for value in (0, 0, 128, 255)])
    random = np.random.default_rng(0)
    noise = random.integers(100, 103, (3, 64, 64), dtype=np.uint8)
    near = find_near_copies(ArrayRows(np.concatenate([blank, noise])))
    assert len(near.pairs) == 0
    assert near.clusters.tolist() == list(range(7))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_images(strangers, count):
    near = find_near_copies(rows(strangers[:count]))
    assert near.pairs.shape == (0, 2)
    assert near.clusters.tolist() == list(range(count))


def test_ten_thousand_equal_images_are_no_square(strangers):
    images = np.repeat(small(strangers[0])[None], 10_000, axis=0)
    start = time.perf_counter()
    near = find_near_copies(ArrayRows(images))
    assert time.perf_counter() - start < 10
    assert len(near.pairs) == 9_999
    assert len(set(near.clusters.tolist())) == 1


def test_codes_that_differ_in_a_few_bits_are_found_among_many():
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (8, 5000, BITS // 8), dtype=np.uint8)
    noise = np.packbits(random.random((200, BITS)) < 0.08, axis=1)
    codes[0, 4800:] = codes[0, :200] ^ noise
    found = {tuple(pair) for pair in candidate_pairs(codes)[:, :2].tolist()}
    assert len(found & {(k, 4800 + k) for k in range(200)}) >= 198


def test_equal_codes_do_not_overflow():
    codes = np.zeros((8, 2_000, BITS // 8), np.uint8)
    start = time.perf_counter()
    assert len(candidate_pairs(codes)) > 2_000
    assert time.perf_counter() - start < 60


def neighbours_only(pairs):
    """Of a chain: only what is next to each other is alike."""
    return np.where(np.abs(pairs[:, 0] - pairs[:, 1]) <= 2, 0.95, 0.3)


def test_a_chain_is_flagged_and_parted_only_when_it_swallows_the_data():
    chain = np.column_stack((np.arange(29), np.arange(1, 30)))
    strength = np.full(29, 0.99)
    strength[14] = 0.91
    among_many = cluster(1000, chain, strength, neighbours_only)
    assert among_many.chained == (0,)
    assert (len(set(among_many.numbers[:30].tolist())), among_many.parted) == (1, 0)
    assert among_many.kept.all()
    among_few = cluster(60, chain, strength, neighbours_only)
    assert (len(set(among_few.numbers[:30].tolist())), among_few.parted) == (2, 1)
    assert among_few.kept.tolist() == [k != 14 for k in range(29)]
    strong = cluster(60, chain, np.full(29, 0.99), neighbours_only)
    assert len(set(strong.numbers[:30].tolist())) == 1  # what is nearly identical is never parted


def test_a_large_cluster_of_real_copies_is_no_chain_however_few_links_were_found():
    chain = np.column_stack((np.arange(29), np.arange(1, 30)))
    found = cluster(60, chain, np.full(29, 0.91), lambda pairs: np.full(len(pairs), 0.92))
    assert (found.chained, found.parted) == ((), 0)
    assert len(set(found.numbers[:30].tolist())) == 1


def test_copies_in_a_real_collection():
    data = SHARED / "brain-mri-yes-no.zip"
    if not data.exists():
        pytest.skip(f"{data} is not there")
    images = []
    for content in open_source(data).read():
        images.append(Image.open(io.BytesIO(content)).convert("L"))
        if len(images) == 60:
            break
    planted = [ImageEnhance.Brightness(jpeg(image, 60)).enhance(0.85) for image in images]
    near = find_near_copies(rows([*images, *planted]))
    assert (near.clusters[:60] == near.clusters[60:]).mean() >= 0.97
    assert len(set(near.clusters.tolist())) > 45


def digits() -> np.ndarray:
    """1,797 written digits of 8 x 8 pixels, which come with scikit-learn: nearly all are strangers."""
    return np.array([small(Image.fromarray((image * 15.9).astype(np.uint8))) for image in load_digits().images])


def test_plain_pictures_that_are_alike_by_chance_are_no_copies(monkeypatch):
    images = digits()
    near = find_near_copies(ArrayRows(images))
    assert (np.bincount(near.clusters)[near.clusters] > 1).mean() < 0.03
    careless = find_near_copies(ArrayRows(images), threshold=THRESHOLD)
    assert (np.bincount(careless.clusters)[careless.clusters] > 1).mean() > 0.3


def test_pairs_in_a_crowd_are_told_from_copies():
    random = np.random.default_rng(0)
    crowd = random.normal(size=(300, 6)) * 0.1  # strangers that vary in six ways
    copies = np.arange(300, 320)
    points = np.concatenate(
        [crowd, np.repeat(10.0 + 3 * np.arange(4), 5)[:, None] + random.normal(size=(20, 6)) * 0.02]
    )
    away = ((points[:, None] - points) ** 2).sum(axis=2)
    first, second = np.nonzero(np.triu(away < 0.5, 1))
    similarity = 1 - away[first, second]
    asked = np.flatnonzero(similarity >= 0.96)
    inside = crowded(len(points), np.column_stack((first, second)), similarity, asked)
    among_copies = np.isin(first[asked], copies)
    assert among_copies.sum() == 40
    assert not inside[among_copies].any()
    assert inside[~among_copies & (similarity[asked] < 0.99)].mean() > 0.6


def test_copies_of_rich_pictures_are_found_beside_a_crowd_of_plain_ones(strangers):
    plain = digits()
    rich = [small(image) for image in [*strangers, *(jpeg(image, 60) for image in strangers)]]
    near = find_near_copies(ArrayRows(np.concatenate([rich, plain])))
    assert (near.clusters[:12] == near.clusters[12:24]).mean() >= 0.9


def test_many_copies_of_each_image_are_found(strangers):
    random = np.random.default_rng(0)
    images = [
        small(jpeg(ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2)), int(random.integers(50, 95))))
        for image in strangers
        for _ in range(30)
    ]
    near = find_near_copies(ArrayRows(np.array(images)))
    assert len(set(near.clusters.tolist())) == len(strangers)
    assert (near.chained, near.parted) == ((), 0)


def test_what_was_searched_once_is_remembered_unless_it_is_damaged(strangers, monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    images = rows([*strangers, *(jpeg(image, 60) for image in strangers[:3])])
    searched = []

    def counting(miniatures, progress=None):
        searched.append(miniatures.shape)
        return find_near_copies(miniatures, progress=progress)

    monkeypatch.setattr("clearmargin.audit.remembered.find_near_copies", counting)
    first, again = near_copies_of(images), near_copies_of(images)
    assert len(searched) == 1
    assert first.pairs.tolist() == again.pairs.tolist() == [[0, 12], [1, 13], [2, 14]]
    assert first.clusters.tolist() == again.clusters.tolist()
    assert (again.chained, again.parted) == (first.chained, first.parted)
    (file,) = (tmp_path / "near-copies").iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[:50], whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole + b"x"):
        file.write_bytes(damage)
        assert near_copies_of(images).pairs.tolist() == first.pairs.tolist()
    assert len(searched) == 6
    near_copies_of(rows(strangers))
    assert len(searched) == 7


@given(st.sets(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_found_pairs_are_merged_as_sets_are(found, new):
    merged = _union(np.array(sorted(found), np.int64), np.array(new, np.int64))
    assert merged.tolist() == sorted(found | set(new))


def test_comparing_says_how_far_it_is():
    images, seen = np.random.default_rng(0).integers(0, 256, (30, 64, 64), dtype=np.uint8), []
    images[15:] = images[:15] // 2 + 40
    find_near_copies(ArrayRows(images), progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1] > 0
