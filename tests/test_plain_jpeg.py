import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmargin import decoding
from clearmargin.decoding import prepare, prepared_pixels
from clearmargin.errors import ImageError
from clearmargin.jpeg import plain_jpeg
from clearmargin.records import Preprocessing

HOW = Preprocessing(16)
RANDOM = np.random.default_rng(0)


def jpeg(mode: str = "RGB", size: tuple[int, int] = (33, 20), **options) -> bytes:
    content = io.BytesIO()
    pixels = RANDOM.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(content, "JPEG", **options)
    return content.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


PLAIN = [
    jpeg(),
    jpeg("L"),
    jpeg(quality=100, subsampling=0),
    jpeg(quality=1),
    jpeg(subsampling=1),
    jpeg(optimize=True),
    jpeg(size=(1, 1)),
    jpeg(comment=b"a slice"),
    jpeg(restart_marker_rows=1),
]
UNUSUAL = [
    jpeg(progressive=True),
    jpeg("CMYK"),
    jpeg(exif=turned()),
    jpeg(icc_profile=b"profile"),
    b"",
    b"\xff\xd8",
    PLAIN[0][:2] + b"\xff\xe0\0\x07JFIF\0" + PLAIN[0][20:],  # too short a segment
    PLAIN[0][:2] + b"\xff\xe0\0\x10AVI1" + bytes(10) + PLAIN[0][20:],
]


def by_pillow(content: bytes, how: Preprocessing = HOW):
    """What comes out when Pillow reads the header: facts and pixels, or the reason."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "decode_plain_jpeg", lambda *_: None)
        return outcome(content, how)


def outcome(content: bytes, how: Preprocessing = HOW):
    try:
        made = prepare(content, how)
    except ImageError as error:
        return str(error)
    return made.facts, made.pixels.tobytes(), made.miniature.tobytes()


@pytest.mark.parametrize("content", PLAIN)
def test_a_plain_jpeg_is_read_at_once_and_to_the_same_bits(content):
    assert plain_jpeg(content) is not None
    assert outcome(content) == by_pillow(content)
    assert outcome(content + b"behind the end") == by_pillow(content + b"behind the end")


@pytest.mark.parametrize("content", UNUSUAL)
def test_all_others_are_left_to_pillow(content):
    assert plain_jpeg(content) is None
    assert outcome(content) == by_pillow(content)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLAIN), st.data())
def test_damage_ends_as_it_does_with_pillow(content, data):
    damaged = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    damaged = bytes(damaged[:cut] if data.draw(st.booleans()) else damaged)
    assert outcome(damaged) == by_pillow(damaged)


def test_too_many_pixels_are_refused_from_the_header():
    with pytest.raises(ImageError, match="too large: 33 x 20"):
        prepare(jpeg(), HOW, max_pixels=100)


@pytest.mark.parametrize("how", [HOW, Preprocessing(24, "crop", "gray", trim=True, intensity="standardised")])
@pytest.mark.parametrize("content", [PLAIN[0], UNUSUAL[2], RANDOM.integers(0, 256, (9, 31), dtype=np.uint8)])
def test_pixels_alone_are_those_of_a_whole_preparation(content, how):
    assert np.array_equal(prepared_pixels(content, how), prepare(content, how).pixels)


def test_pixels_alone_are_refused_as_a_whole_preparation_is():
    with pytest.raises(ImageError, match="not an image"):
        prepared_pixels(b"no image", HOW)
