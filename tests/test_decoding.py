import io
import logging
import random
import resource
import struct
import threading
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from clearmargin.decoding import FORMATS, MAX_PIXELS, prepare, prepare_all
from clearmargin.errors import ImageError
from clearmargin.records import Preprocessing

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "brain-tumor-mri.zip"
SAME = Preprocessing(16)
SAME_GRAY = Preprocessing(16, color="gray")


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (16, 16), seed: int = 0) -> Image.Image:
    width, height = size
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


def png(width: int, height: int, depth: int, color: int, lines: bytes, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def sixteen_bit_png(values: np.ndarray, color: int) -> bytes:
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    return png(values.shape[1], values.shape[0], 16, color, lines)


# --- modes


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats_keep_every_pixel_at_equal_size(mode, file_format):
    image = picture(mode)
    prepared = prepare(encoded(image, file_format), SAME)
    assert np.array_equal(prepared.pixels, np.asarray(image.convert("RGB")))
    assert prepared.facts.mode == mode
    assert prepared.facts.format == file_format


@pytest.mark.parametrize(
    ("image", "file_format", "options"),
    [
        (picture("P"), "PNG", {}),
        (picture("1"), "PNG", {}),
        (picture("P"), "GIF", {}),
        (picture("RGB"), "WEBP", {"lossless": True}),
        (picture("L"), "TIFF", {"compression": "tiff_lzw"}),
        (picture("RGB"), "TIFF", {"compression": "tiff_deflate"}),
        (picture("1"), "TIFF", {"compression": "group4"}),
    ],
)
def test_other_modes_become_rgb(image, file_format, options):
    prepared = prepare(encoded(image, file_format, **options), SAME)
    assert np.array_equal(prepared.pixels, np.asarray(image.convert("RGB")))


def test_grey_is_itu_r_601_luma():
    image = picture()
    rgb = np.asarray(image, float)
    luma = rgb @ [0.299, 0.587, 0.114]
    pixels = prepare(encoded(image, "PNG"), SAME_GRAY).pixels
    assert pixels.shape == (16, 16, 1)
    assert np.abs(pixels[..., 0] - luma).max() <= 0.51


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_black(mode):
    image = picture("RGBA")
    alpha = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    image.putalpha(alpha)
    image = image.convert(mode)
    values = np.asarray(image.convert("RGBA"), float)
    expected = np.round(values[..., :3] * values[..., 3:] / 255)
    assert np.array_equal(prepare(encoded(image, "PNG"), SAME).pixels, expected)


def test_transparent_palette_entry_lies_on_black():
    image = Image.new("P", (16, 16), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(0, (0, 0, 8, 16))
    for file_format in ("PNG", "GIF"):
        pixels = prepare(encoded(image, file_format, transparency=1), SAME).pixels
        assert pixels[0, 0].tolist() == [255, 0, 0]
        assert pixels[0, 15].tolist() == [0, 0, 0]


@pytest.mark.parametrize("key", [(5, 6, 7), 9])
def test_transparent_colour_lies_on_black(key):
    image = Image.new("RGB" if isinstance(key, tuple) else "L", (16, 16), key)
    assert not prepare(encoded(image, "PNG", transparency=key), SAME).pixels.any()


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_maps_65535_to_255(color, channels):
    values = np.random.default_rng(1).integers(0, 65536, (16, 16, channels))
    if color >= 4:
        values[..., -1] = 65535
    expected = np.round(values[..., : 1 if color in (0, 4) else 3] / 257)
    pixels = prepare(sixteen_bit_png(values, color), SAME).pixels.astype(int)
    assert np.abs(pixels - expected).max() <= (0 if color == 0 else 1)


def test_16_bit_png_with_a_transparent_grey():
    values = np.full((16, 16, 1), 40_000)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    key = struct.pack(">H", 40_000)
    chunk = struct.pack(">I", 2) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    assert not prepare(png(16, 16, 16, 0, lines, chunk), SAME).pixels.any()


RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ((RAMP * 257).astype("<u2"), "I;16"),
        ((RAMP * 257).astype(">u2"), "I;16B"),
        ((RAMP * 257).astype(np.int32), "I"),
        ((RAMP / 255).astype(np.float32), "F"),
    ],
)
def test_deep_grey_tiff_maps_linearly(values, mode):
    prepared = prepare(encoded(Image.fromarray(values), "TIFF"), SAME_GRAY)
    assert prepared.facts.mode == mode
    assert np.array_equal(prepared.pixels[..., 0], RAMP)


def test_16_bit_tiff_in_which_white_is_zero():
    content = encoded(Image.fromarray((RAMP * 257).astype(np.uint16)), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(prepare(content, SAME_GRAY).pixels[..., 0], 255 - RAMP)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4), 70_000, np.int32), r"must lie within 0\.\.65535, got 70000\.\.70000"),
        (np.full((4, 4), -1, np.int32), r"must lie within 0\.\.65535, got -1\.\.-1"),
        (np.full((4, 4), 812.5, np.float32), r"must lie within 0\.\.1, got 812\.5\.\.812\.5"),
        (np.full((4, 4), np.nan, np.float32), r"must lie within 0\.\.1, got nan\.\.nan"),
    ],
)
def test_values_without_a_known_range_are_refused(values, reason):
    with pytest.raises(ImageError, match=reason):
        prepare(encoded(Image.fromarray(values), "TIFF"), SAME)


@pytest.mark.parametrize(("file_format", "options"), [("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})])
def test_cmyk(file_format, options):
    image = Image.new("CMYK", (16, 16), (200, 30, 90, 10))
    prepared = prepare(encoded(image, file_format, **options), SAME)
    assert prepared.facts.mode == "CMYK"
    assert np.abs(prepared.pixels[8, 8].astype(int) - (53, 216, 159)).max() <= 2


def test_ycbcr():
    image = Image.new("RGB", (16, 16), (200, 30, 90))
    pixels = prepare(encoded(image.convert("YCbCr"), "TIFF"), SAME).pixels
    assert np.abs(pixels[0, 0].astype(int) - (200, 30, 90)).max() <= 2


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_counts(file_format):
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encoded(first, file_format, save_all=True, append_images=[second], **options)
    assert prepare(content, SAME).pixels[3, 3].tolist() == [255, 0, 0]


# --- orientation

UPRIGHT_CORNERS = {  # where the upper left red corner of the stored pixels belongs: (row, column)
    1: (0, 0),
    2: (0, -1),
    3: (-1, -1),
    4: (-1, 0),
    5: (0, 0),
    6: (0, -1),
    7: (-1, -1),
    8: (-1, 0),
}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation, file_format):
    image = Image.new("RGB", (32, 16), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 95} if file_format == "JPEG" else {"lossless": True} if file_format == "WEBP" else {}
    prepared = prepare(encoded(image, file_format, exif=exif, **options), Preprocessing(16, "stretch"))
    assert (prepared.facts.width_px > prepared.facts.height_px) == (orientation < 5)
    red, _, blue = prepared.pixels[UPRIGHT_CORNERS[orientation]]
    assert red > 200 > 60 > blue


def test_unreadable_exif_does_not_cost_the_image():
    content = encoded(picture(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(prepare(content, SAME).pixels, np.asarray(picture()))


# --- what is known of an image


def test_grey_and_rgb_copies_have_the_same_pixels():
    grey = picture("L", (20, 10))
    contents = [
        encoded(grey, "PNG"),
        encoded(grey.convert("RGB"), "PNG"),
        encoded(grey.convert("RGBA"), "PNG"),
        encoded(grey, "BMP"),
        encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        np.asarray(grey),
        np.asarray(grey)[..., None],
        np.asarray(grey.convert("RGB")),
    ]
    facts = [prepare(content, SAME).facts for content in contents]
    assert len({fact.pixel_sha256 for fact in facts}) == 1
    assert len({fact.content_sha256 for fact in facts[:5]}) == 5


def test_the_same_bytes_in_another_shape_are_another_image():
    values = np.zeros((4, 8), np.uint8)
    assert prepare(values, SAME).facts.pixel_sha256 != prepare(values.T, SAME).facts.pixel_sha256
    assert prepare(values, SAME).facts.content_sha256 != prepare(values.T, SAME).facts.content_sha256


def test_facts_do_not_depend_on_preprocessing():
    content = encoded(picture(size=(30, 20)), "PNG")
    facts = prepare(content, SAME).facts
    assert facts == prepare(content, Preprocessing(8, "crop", "gray")).facts
    assert (facts.width_px, facts.height_px, facts.bytes) == (30, 20, len(content))


# --- becoming square


def test_pad_keeps_the_proportions_and_centres_on_black():
    pixels = prepare(np.full((10, 20), 255, np.uint8), SAME_GRAY).pixels[..., 0]
    assert np.array_equal(np.flatnonzero(pixels.any(axis=1)), np.arange(4, 12))
    assert (pixels[4:12] == 255).all()


def test_crop_takes_the_middle_untouched():
    values = np.random.default_rng(0).integers(0, 256, (16, 25)).astype(np.uint8)
    pixels = prepare(values, Preprocessing(16, "crop", "gray")).pixels[..., 0]
    assert np.array_equal(pixels, values[:, 4:20])


def test_stretch_fills_the_square():
    assert (prepare(np.full((5, 40), 255, np.uint8), Preprocessing(16, "stretch")).pixels == 255).all()


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = prepare(stripes, SAME_GRAY).pixels
    assert abs(int(pixels[8, 8, 0]) - 128) <= 3


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 2)])
@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_extreme_proportions(shape, fit):
    pixels = prepare(np.full(shape, 200, np.uint8), Preprocessing(32, fit)).pixels
    assert pixels.shape == (32, 32, 3)
    assert pixels.max() == 200


@settings(max_examples=60, deadline=None)
@given(
    values=arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    fit=st.sampled_from(["pad", "stretch", "crop"]),
    color=st.sampled_from(["rgb", "gray"]),
    size_px=st.integers(1, 48),
)
def test_any_array_becomes_a_square_within_its_own_range(values, fit, color, size_px):
    preprocessing = Preprocessing(size_px, fit, color)
    pixels = prepare(values, preprocessing).pixels
    assert pixels.shape == (size_px, size_px, preprocessing.channels)
    assert pixels.dtype == np.uint8
    assert pixels.max() <= values.max()
    if values.shape == (size_px, size_px):
        assert np.array_equal(pixels[..., 0], values)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
        np.zeros(16, np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4), bool),
    ],
)
def test_other_arrays_are_refused(values):
    with pytest.raises(ImageError, match="expected a uint8 array of shape"):
        prepare(values, SAME)


def test_an_array_without_pixels_is_refused():
    with pytest.raises(ImageError, match="no pixels: 3 x 0"):
        prepare(np.zeros((0, 3), np.uint8), SAME)


# --- hostile and broken files


def test_a_pixel_bomb_is_refused_from_its_header():
    packer = zlib.compressobj(9)
    lines = b"".join(packer.compress(bytes(1 + 30_000 // 8)) for _ in range(30_000)) + packer.flush()
    whole = png(30_000, 30_000, 1, 0, b"").replace(zlib.compress(b""), lines)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="too large: more than the limit of 50,000,000 pixels"):
        prepare(whole, SAME)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize("size", [(8_000, 8_000), (12_000, 9_000)])  # below and above where Pillow warns
def test_an_image_above_the_limit_is_refused(size):
    with pytest.raises(ImageError, match=rf"too large: {size[0]} x {size[1]} pixels, the limit is 50,000,000"):
        prepare(png(*size, 1, 0, b""), SAME)
    assert MAX_PIXELS == 50_000_000


def test_the_limit_holds_for_arrays_too():
    with pytest.raises(ImageError, match="too large: 20 x 10 pixels, the limit is 199 pixels"):
        prepare(np.zeros((10, 20), np.uint8), SAME, max_pixels=199)


@pytest.mark.filterwarnings("ignore:.*image format is deprecated:DeprecationWarning")
def test_no_format_outside_the_list_is_decoded():
    Image.init()
    tried, decoded = set(), set()
    for file_format in sorted(Image.SAVE):
        try:
            content = encoded(picture(), file_format)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # Pillow can't write it, or not this picture
        tried.add(file_format)
        try:
            decoded.add(prepare(content, SAME).facts.format)
        except ImageError as error:
            assert "not an image in an accepted format" in str(error)  # noqa: PT017
    assert {"ICO", "PCX", "SGI", "TGA"} <= tried
    assert decoded <= {*FORMATS, "MPO"}  # a JPEG with several pictures in it


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not an image in an accepted format"),
        (b"\x89PNG\r\n\x1a\n", "not an image in an accepted format"),
        (encoded(picture(size=(60, 60)), "PNG")[:-2000], "damaged or unsupported PNG: .*truncated"),
        (encoded(picture(size=(60, 60)), "JPEG")[:-1000], "damaged or unsupported JPEG: .*truncated"),
    ],
)
def test_broken_files_say_why(content, reason):
    with pytest.raises(ImageError, match=reason):
        prepare(content, SAME)


def mutated(random_state: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    kind = random_state.random()
    if kind < 0.2:
        return bytes(damaged[: random_state.randrange(len(damaged))])
    if kind < 0.3:
        start = random_state.randrange(len(damaged))
        del damaged[start : start + random_state.randrange(1, 200)]
        return bytes(damaged)
    for _ in range(random_state.choice((1, 3, 10, 100))):
        # Half of the time near the beginning, where the headers are.
        place = int(len(damaged) * random_state.random() ** random_state.choice((1, 4)))
        damaged[place] = random_state.randrange(256)
    return bytes(damaged)


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    photos = [encoded(picture(mode, (60, 50)), "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK")]
    return photos + [encoded(picture(mode, (60, 50)), "PNG", exif=exif) for mode in ("L", "RGB", "RGBA", "P", "1")]


def fuzz(contents: list[bytes], times: int, seed: int) -> tuple[int, int]:
    """How many were decoded, and how many refused: anything but an `ImageError` escapes."""
    random_state = random.Random(seed)
    decoded = refused = 0
    for _ in range(times):
        fit = random_state.choice(("pad", "stretch", "crop"))
        try:
            prepare(mutated(random_state, random_state.choice(contents)), Preprocessing(24, fit))
            decoded += 1
        except ImageError as error:
            assert str(error).isprintable()  # noqa: PT017
            refused += 1
    return decoded, refused


def test_only_image_errors_escape_from_damaged_files(capfd):
    decoded, refused = fuzz(seeds(), 2000, seed=0)
    assert decoded > 200
    assert refused > 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not REAL_DATA.exists(), reason="../shared/data/brain-tumor-mri.zip is not there")
def test_only_image_errors_escape_from_damaged_real_files():
    with zipfile.ZipFile(REAL_DATA) as archive:
        smallest = sorted(archive.infolist(), key=lambda entry: (entry.file_size, entry.filename))
        contents = [archive.read(entry) for entry in smallest[:20] if entry.filename.endswith(".jpg")]
    decoded, refused = fuzz(contents, 500, seed=1)
    assert decoded > 100
    assert refused > 50


# An IFD that promises five entries and holds half of one: Pillow warns and goes on.
WARNS = encoded(picture(), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")


def test_too_little_memory_may_pass(monkeypatch):
    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("clearmargin.decoding.Image.open", short)
    with pytest.raises(ImageError, match="damaged or unsupported image: MemoryError") as raised:
        prepare(b"some bytes", Preprocessing(16))
    assert raised.value.transient


def test_pillow_itself_would_warn_here():
    image = Image.open(io.BytesIO(WARNS))
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        image.getexif()


def test_no_warning_escapes_from_any_thread():
    seen = []

    def work() -> None:
        for _ in range(50):
            try:
                prepare(WARNS, SAME)
            except BaseException as error:
                seen.append(error)

    before = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == []
    assert list(warnings.filters) == before


def test_pillow_logs_nothing_to_the_terminal(capfd):
    logging.getLogger("PIL.TiffImagePlugin").error("more samples than can be decoded")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(16),
        Preprocessing(28),
        Preprocessing(28, color="gray"),
        Preprocessing(28, trim=True),
        Preprocessing(28, intensity="standardised", fit="crop"),
    ],
)
def test_prepared_together_is_prepared_one_by_one(how):
    """Tiny and large, grey and coloured, files and arrays, with broken ones between."""
    generator = np.random.default_rng(3)
    shapes = [(28, 28), (28, 28, 3), (300, 200), (20, 28), (28, 28), (64, 64, 3), (28, 28, 3)]
    contents = [generator.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    contents = [*contents, b"no image", ImageError("not there"), contents[0]]
    found = dict(prepare_all(contents, how))
    assert sorted(found) == list(range(10))
    assert isinstance(found[7], ImageError)
    assert str(found[8]) == "not there"
    for place in (*range(7), 9):
        alone = prepare(contents[place], how)
        assert found[place].facts == alone.facts
        assert np.array_equal(found[place].pixels, alone.pixels)
        assert np.array_equal(found[place].miniature, alone.miniature)
