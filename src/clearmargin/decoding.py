"""One image becomes one array: by Pillow from an allowlist, or from DICOM; upright, 8-bit, opaque, square."""

from __future__ import annotations

import hashlib
import io
import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

# Importing the plugins registers them, so that Image.open never loads the decoders that are not on the list.
from PIL import (  # isort: skip
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from clearmargin.appearance import Appearance, appearance, appearances
from clearmargin.dicom import HEAD_BYTES, decode_dicom, dicom_size, is_dicom
from clearmargin.errors import ImageError, ImageFormatError, ImageSizeError, MissingExtraError
from clearmargin.framing import framed
from clearmargin.jpeg import jpeg_quality
from clearmargin.miniature import MOST_TOGETHER_PX, miniature, miniatures
from clearmargin.pillow import DAMAGE, quiet_pillow
from clearmargin.plain_jpeg import decode_plain_jpeg
from clearmargin.records import Preprocessing, Window

# The commonest first: Image.open tries them in this order. A JPEG with several pictures in it calls itself MPO.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM")
MAX_PIXELS = 50_000_000

# EXIF orientation (TIFF 6.0, tag 274) and what turns the image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP_PX = 256
_ORIENTATION_TAG = 274
_PHOTOMETRIC_TAG = 262

# The TIFF plugin logs an error before it raises one; without a handler Python would print it.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one image before it was made square.

    Attributes
    ----------
    content_sha256
        Hex, over the file's bytes (an array: over its shape and values).
    pixel_sha256
        Hex, over width, height and the 8-bit RGB pixels, upright and opaque, at the original size:
        a grey PNG and its RGB copy have the same.
    width_px, height_px
        Upright.
    mode
        Pillow's word for how the file stores pixels: ``L``, ``RGB``, ``I;16`` …; of DICOM its own, with the bits.
    format
        ``JPEG``, ``PNG`` …, ``DICOM``, or ``array``.
    bytes
        Size of the file, or of the array.
    jpeg_quality
        Of a JPEG: the quality setting, 1 to 100, whose tables come closest to the file's; of others 0.
    appearance
        As `appearance.Appearance` says; beside the others in `as_columns`.
    """

    content_sha256: str
    pixel_sha256: str
    width_px: int
    height_px: int
    mode: str
    format: str
    bytes: int
    jpeg_quality: int
    appearance: Appearance

    def as_columns(self) -> dict[str, str | int | float]:
        """Every fact and every measure of the appearance by name: plain JSON."""
        return dict(zip(_COLUMNS, (*_own_facts(self), *_looks(self.appearance)), strict=True))


_OWN_FACTS = tuple(field.name for field in fields(Facts) if field.name != "appearance")
_LOOKS = tuple(field.name for field in fields(Appearance))
_COLUMNS = (*_OWN_FACTS, *_LOOKS)
_own_facts, _looks = attrgetter(*_OWN_FACTS), attrgetter(*_LOOKS)


@dataclass(frozen=True)
class Prepared:
    """One image ready for a network, and what is known of it.

    Attributes
    ----------
    pixels
        uint8 of shape (size_px, size_px, channels).
    miniature
        uint8 of shape (64, 64): grey, without blank margins, whatever the preprocessing.
    """

    pixels: np.ndarray
    miniature: np.ndarray
    facts: Facts


def prepare(content: bytes | np.ndarray, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> Prepared:
    """Decode one image and make it square.

    Orientation in EXIF or XMP is applied; unreadable EXIF is ignored, as viewers do. Transparent pixels are
    laid on black. Of several frames the first counts. 16-bit values map linearly, 65535 to 255; 32-bit
    integers are taken as 16-bit when all are within 0..65535; floats must lie within 0..1. Grey is ITU-R 601
    luma. An image that has the size already keeps every pixel.

    Parameters
    ----------
    content
        The bytes of an image file in one of `FORMATS` or of a DICOM file, or uint8 of shape (height, width),
        (height, width, 1) or (height, width, 3).
    max_pixels
        Larger images are refused from their header, before anything is decoded.

    Raises
    ------
    ImageError
        When it can't be decoded; the message is the reason.
    """
    decoded = _decoded(content, max_pixels, preprocessing.window)
    return _finished(decoded, appearance(decoded.grey, decoded.colour), preprocessing)


def prepared_pixels(
    content: bytes | np.ndarray, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The pixels that `prepare` makes, uint8 of shape (size_px, size_px, channels), and nothing else: for predictions.

    Raises
    ------
    ImageError
        When it can't be decoded; the message is the reason.
    """
    return _square(_decoded(content, max_pixels, preprocessing.window), preprocessing)


def whole_picture(content: bytes | np.ndarray, window: Window = "file", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image as `prepare` decodes it, before it is framed: uint8 of shape (height, width, 3).

    Raises
    ------
    ImageError
        When it can't be decoded, or is too large; the message is the reason.
    """
    return np.asarray(_converted(_decoded(content, max_pixels, window).flat, "RGB"))


def prepare_all(
    contents: Iterable[bytes | np.ndarray | ImageError], preprocessing: Preprocessing
) -> Iterator[tuple[int, Prepared | ImageError]]:
    """Prepare many images, tiny ones of one size together: what each is, with its place, in any order.

    Parameters
    ----------
    contents
        As for `prepare`; what could not be read is passed on.
    """
    tiny: dict[tuple[object, ...], list[tuple[int, _Decoded]]] = {}  # by size and mode
    for place, content in enumerate(contents):
        try:
            if isinstance(content, ImageError):
                raise content
            decoded = _decoded(content, MAX_PIXELS, preprocessing.window)
        except ImageError as error:
            yield place, error
            continue
        if max(decoded.flat.size) <= MOST_TOGETHER_PX:
            tiny.setdefault((decoded.flat.size, decoded.flat.mode), []).append((place, decoded))
        else:
            yield place, _finished(decoded, appearance(decoded.grey, decoded.colour), preprocessing)
    for together in tiny.values():
        places = [place for place, _ in together]
        yield from zip(places, _finished_together([decoded for _, decoded in together], preprocessing), strict=True)


@dataclass(frozen=True)
class _Decoded:
    """An image in mode L or RGB, and what is known of its file."""

    flat: Image.Image
    digest: str
    mode: str
    format: str
    bytes: int
    quality: int

    @cached_property
    def only_channel(self) -> Image.Image | None:
        """All there is of an image that is grey, in mode L, also when it is stored in colours, as scans often are.

        None for an image in colours, and for a tiny one that is stored so.
        """
        return self.flat if self.flat.mode == "L" else _common_channel(self.flat)

    @cached_property
    def grey(self) -> Image.Image:
        return _converted(self.flat, "L") if self.only_channel is None else self.only_channel

    @property
    def colour(self) -> Image.Image | None:
        return self.flat if self.only_channel is None else None


def _decoded(content: bytes | np.ndarray, max_pixels: int, window: Window) -> _Decoded:
    if isinstance(content, np.ndarray):
        flat, digest, mode, file_format = _from_array(content, max_pixels)
        size, quality = content.nbytes, 0
    else:
        flat, mode, file_format, quality = _from_file(content, max_pixels, window)
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
    return _Decoded(flat, digest, mode, file_format, size, quality)


def _finished(decoded: _Decoded, looks: Appearance, preprocessing: Preprocessing) -> Prepared:
    facts = _facts(decoded, np.asarray(_converted(decoded.flat, "RGB")), looks)
    return Prepared(_square(decoded, preprocessing), miniature(decoded.grey), facts)


def _finished_together(images: list[_Decoded], preprocessing: Preprocessing) -> Iterator[Prepared]:
    """Images of one size and mode, each as `_finished` makes it."""
    sheet = _one_below_the_other([image.flat for image in images])
    width, height = images[0].flat.size
    pixels = _pixels_of(_converted(sheet, "L")).reshape(-1, height, width)
    colours = sheet.mode == "RGB"
    rgb = _pixels_of(_converted(sheet, "RGB")).reshape(-1, height, width, 3)
    looks = appearances(pixels, rgb if colours else None)
    small = miniatures(pixels)
    kept = not preprocessing.trim and preprocessing.intensity == "as-is"
    as_they_are = kept and (width, height) == (preprocessing.size_px, preprocessing.size_px)
    wanted = rgb if preprocessing.color == "rgb" else pixels[..., None]
    for place, image in enumerate(images):
        facts = _facts(image, rgb[place], looks[place])
        yield Prepared(wanted[place] if as_they_are else _square(image, preprocessing), small[place], facts)


def _one_below_the_other(images: Sequence[Image.Image]) -> Image.Image:
    """One sheet of images of one size and mode: what Python does for each call is then done once for all of them."""
    width, height = images[0].size
    sheet = Image.new(images[0].mode, (width, height * len(images)))
    for place, image in enumerate(images):
        sheet.paste(image, (0, place * height))
    return sheet


def _pixels_of(image: Image.Image) -> np.ndarray:
    """All values in a row, uint8, not to be written to: `numpy.asarray` takes several times as long."""
    return np.frombuffer(image.tobytes(), np.uint8)


def _facts(decoded: _Decoded, rgb: np.ndarray, looks: Appearance) -> Facts:
    width, height = decoded.flat.size
    digest = hashlib.sha256(struct.pack("<QQ", width, height))
    digest.update(rgb.data)
    return Facts(
        content_sha256=decoded.digest,
        pixel_sha256=digest.hexdigest(),
        width_px=width,
        height_px=height,
        mode=decoded.mode,
        format=decoded.format,
        bytes=decoded.bytes,
        jpeg_quality=decoded.quality,
        appearance=looks,
    )


def _square(decoded: _Decoded, preprocessing: Preprocessing) -> np.ndarray:
    """Pixels as a network takes them, uint8 of shape (size_px, size_px, channels).

    One channel is framed in a third of the time of three, and to the same values.
    """
    colours = preprocessing.color == "rgb"
    flat = decoded.flat if colours and decoded.only_channel is None else decoded.grey
    made = framed(flat, decoded.grey, preprocessing)
    values = np.frombuffer(bytearray(_converted(made, "RGB" if colours else "L").tobytes()), np.uint8)
    return values.reshape(preprocessing.size_px, preprocessing.size_px, preprocessing.channels)


def longest_side(content: bytes | np.ndarray) -> int:
    """The longer side of an image in pixels, from its header, or 0 when that can't be read."""
    if isinstance(content, np.ndarray):
        return max(content.shape[:2], default=0)
    try:
        if is_dicom(content[:HEAD_BYTES], named=True):
            return max(dicom_size(content))
        with quiet_pillow():
            return max(Image.open(io.BytesIO(content), formats=FORMATS).size)
    except (ImageError, *DAMAGE):
        return 0


def _from_array(content: np.ndarray, max_pixels: int) -> tuple[Image.Image, str, str, str]:
    """Image (L or RGB), SHA-256, mode, format."""
    shape = content.shape
    if content.dtype != np.uint8 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise ImageError(
            "expected a uint8 array of shape (height, width), (height, width, 1) or (height, width, 3), "
            f"got {content.dtype} of shape {shape}"
        )
    _check_size(shape[1], shape[0], max_pixels)
    values = np.ascontiguousarray(content[..., 0] if shape[2:] == (1,) else content)
    flat = Image.fromarray(values)
    digest = hashlib.sha256(repr(values.shape).encode() + values.tobytes())
    return flat, digest.hexdigest(), flat.mode, "array"


def _from_file(content: bytes, max_pixels: int, window: Window) -> tuple[Image.Image, str, str, int]:
    """Image (L or RGB), mode, format, JPEG quality."""
    if not content:
        raise ImageFormatError("the file is empty")
    if is_dicom(content[:HEAD_BYTES], named=True):
        try:
            picture = decode_dicom(content, max_pixels, window)
        except MissingExtraError as error:
            raise ImageError(f"it is DICOM. {error}") from None
        return Image.fromarray(picture.pixels), picture.mode, "DICOM", 0
    plain = decode_plain_jpeg(content, max_pixels)
    if plain is not None:
        return plain.image, plain.mode, "JPEG", plain.quality
    file_format = "image"
    try:
        with quiet_pillow():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            file_format, mode = image.format or file_format, image.mode
            _check_size(*image.size, max_pixels)
            image.load()
            return _opaque(_upright(image)), mode, file_format, jpeg_quality(getattr(image, "quantization", None))
    except UnidentifiedImageError:
        raise ImageFormatError(
            f"not an image in an accepted format ({', '.join(FORMATS)}, DICOM), or its first bytes are damaged"
        ) from None
    except Image.DecompressionBombError:
        raise ImageSizeError(f"too large: more than the limit of {max_pixels:,} pixels") from None
    except DAMAGE as error:
        # Pillow quotes bytes of the file in some messages; they must not reach a terminal as they are.
        words = "".join(letter if letter.isprintable() else "?" for letter in str(error))[:200]
        raise ImageError(
            f"damaged or unsupported {file_format}: {words or type(error).__name__}",
            transient=isinstance(error, MemoryError),
        ) from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"it has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageSizeError(f"too large: {width} x {height} pixels, the limit is {max_pixels:,} pixels")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except DAMAGE:  # the pixels are whole; only what is said about them is not
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _opaque(image: Image.Image) -> Image.Image:
    """The image as L or RGB, 8 bits, on black."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(layer, mask=layer.getchannel("A"))
        return black
    return _converted(image, "L" if image.mode in ("1", "L") else "RGB")


def _common_channel(image: Image.Image) -> Image.Image | None:
    """One channel of an image in mode RGB when all three are equal, unless it is so small that nothing is won.

    A line across the middle tells of most others. The rest is looked at in strips, to need little memory.
    """
    width, height = image.size
    if max(width, height) <= MOST_TOGETHER_PX:
        return None
    strips = ((top, min(top + _STRIP_PX, height)) for top in range(0, height, _STRIP_PX))
    for top, bottom in ((height // 2, height // 2 + 1), *strips):
        red, green, blue = image.crop((0, top, width, bottom)).split()
        if any(ImageChops.difference(red, other).getbbox() is not None for other in (green, blue)):
            return None
    return image.getchannel("R")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # Pillow would copy


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey of more than 8 bits as uint8 of shape (height, width)."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # also true for not-a-number
            raise ImageError(f"floating-point values must lie within 0..1, got {low:g}..{high:g}")
        return np.round(values * 255).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ImageError(f"integer values must lie within 0..65535, got {low}..{high}")
    eight = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # round(values / 257)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC_TAG) == 0:
        eight = 255 - eight  # white is zero; Pillow inverts this only up to 8 bits
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        eight[values == transparent] = 0
    return eight
