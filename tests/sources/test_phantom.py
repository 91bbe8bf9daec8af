import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from clearmargin.decoding import prepare
from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Preprocessing
from clearmargin.sources.phantom import PhantomSource

SMALL = {"patients": 12, "size_px": 48}
ROWS = Preprocessing(48, color="gray")


@pytest.fixture(scope="module")
def small() -> PhantomSource:
    return PhantomSource(seed=0, **SMALL)


@pytest.fixture(scope="module")
def contents(small) -> dict[str, bytes]:
    return dict(zip((sample.name for sample in small.samples), small.read(), strict=True))


def test_the_usual_size():
    source = PhantomSource()
    assert (source.kind, source.simulated, source.findings) == ("phantom", True, ())
    assert 580 <= len(source.samples) <= 640
    assert len({sample.group for sample in source.samples}) == 120
    assert all(sample.part is None for sample in source.samples)
    own = [sample for sample in source.samples if sample.name not in source.planted]
    assert set(Counter(sample.group for sample in own).values()) == {3, 4, 5, 6, 7}
    by_class = Counter(sample.label for sample in source.samples)
    assert set(by_class) == {"no lesion", "rim lesion", "diffuse lesion", "nodule"}
    assert min(by_class.values()) > 120


def test_names_are_unique_and_in_order(small):
    names = [sample.name for sample in small.samples]
    assert names == sorted(set(names))
    assert names[0] == "patient-001/slice-1.png"
    assert all(sample.name.startswith(f"{sample.group}/") for sample in small.samples)


def test_a_patient_has_one_class(small):
    for group in {sample.group for sample in small.samples}:
        assert len({sample.label for sample in small.samples if sample.group == group}) == 1


def test_what_is_planted(small, contents):
    guises = Counter(guise for guise, _ in small.planted.values())
    assert guises["same bytes"] + guises["same pixels"] == 6
    assert guises["as jpeg"] + guises["brighter"] + guises["cropped"] + guises["brighter jpeg"] == 4
    assert guises["cut off"] == 1
    samples = {sample.name: sample for sample in small.samples}
    conflicts = 0
    for name, (guise, original) in small.planted.items():
        copy, source = samples[name], samples[original]
        if guise == "cut off":
            with pytest.raises(ImageError, match="truncated"):
                prepare(contents[name], ROWS)
            continue
        conflicts += copy.label != source.label
        assert copy.group != source.group
        mine, its = prepare(contents[name], ROWS), prepare(contents[original], ROWS)
        assert (contents[name] == contents[original]) == (guise == "same bytes")
        assert (mine.facts.pixel_sha256 == its.facts.pixel_sha256) == guise.startswith("same")
        alike = np.corrcoef(mine.pixels.ravel(), its.pixels.ravel())[0, 1]
        assert alike > (0.7 if guise == "cropped" else 0.98)
    assert conflicts == 1


def test_only_the_planted_copies_are_copies(small, contents):
    seen: Counter[str] = Counter()
    for name, content in contents.items():
        if small.planted.get(name, ("",))[0] != "cut off":
            seen[prepare(content, ROWS).facts.pixel_sha256] += 1
    assert sum(count - 1 for count in seen.values()) == 6


def test_slices_are_grey_square_images_of_the_size_asked_for(contents, small):
    for name, content in contents.items():
        if name not in small.planted:
            facts = prepare(content, ROWS).facts
            assert (facts.width_px, facts.height_px, facts.mode, facts.format) == (48, 48, "L", "PNG")


def test_the_seed_determines_every_byte(small, contents):
    again = PhantomSource(seed=0, **SMALL)
    assert again.samples == small.samples
    assert again.fingerprint() == small.fingerprint()
    assert list(again.read()) == list(contents.values())


def test_another_process_draws_the_same_bytes(contents):
    script = (
        "import hashlib; from clearmargin.sources.phantom import PhantomSource\n"
        f"source = PhantomSource(seed=0, **{SMALL})\n"
        "print(source.fingerprint(), hashlib.sha256(b''.join(source.read())).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("other", [{"seed": 1}, {"patients": 13}, {"size_px": 49}])
def test_other_arguments_are_other_data(small, other):
    changed = PhantomSource(**({"seed": 0} | SMALL | other))
    assert changed.fingerprint() != small.fingerprint()


def test_another_seed_draws_other_slices(contents):
    assert not set(PhantomSource(seed=1, **SMALL).read()) & set(contents.values())


def test_reading_twice_in_turns_does_not_mix_up(small, contents):
    first, second = small.read(), small.read()
    for expected in contents.values():
        assert next(first) == expected
        assert next(second) == expected


# Mean grey level of the first slice of the first eight patients. Stores of decoded pixels are found by
# the version of the drawing: whoever changes the drawing raises _DRAWING in phantom.py, then these.
DRAWN = [60.02, 71.46, 47.43, 73.07, 57.76, 64.98, 60.41, 55.18]


def test_the_drawing_is_the_one_its_version_says(contents):
    means = [prepare(contents[f"patient-{number:03}/slice-1.png"], ROWS).pixels.mean() for number in range(1, 9)]
    assert means == pytest.approx(DRAWN, abs=0.3), "The drawing changed: raise _DRAWING, then write the new means here."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patients": 7}, "patients of at least 8, got 7"),
        ({"size_px": 16}, "size_px of at least 32, got 16"),
        ({"seed": -1}, "seed of at least 0, got -1"),
    ],
)
def test_what_can_not_be_drawn_is_refused(arguments, message):
    with pytest.raises(SourceError, match=message):
        PhantomSource(**arguments)


def test_lesions_change_the_image_and_their_absence_does_not():
    from clearmargin.sources.phantom_patients import KINDS, draw_patient
    from clearmargin.sources.phantom_slices import draw_slice

    for kind in KINDS:
        patient = draw_patient(0, 3, 64, kind, 5)
        with_it, without = (
            draw_slice(np.random.default_rng(0), patient.anatomy, lesion, 0.5, 0.0).astype(int)
            for lesion in (patient.lesion, None)
        )
        assert (patient.lesion is None) == (kind == "no lesion")
        if patient.lesion is not None:
            assert np.abs(with_it - without).max() > 30
