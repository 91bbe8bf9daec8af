"""Copies of images as they occur in collections: resized, stored again, brightened, framed, cropped, turned."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Transform = Callable[[Image.Image, np.random.Generator], Image.Image]


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def as_png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def resized(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Between half and twice the size."""
    factor = 2 ** random.uniform(-1, 1)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def stored_again(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """As a JPEG of quality 50 to 95."""
    return Image.open(io.BytesIO(as_jpeg(image, int(random.integers(50, 96)))))


def brightness(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Multiplied by 0.8 to 1.2; what is above white is cut off."""
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2))


def contrast(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The distance to the mean multiplied by 0.8 to 1.2."""
    return ImageEnhance.Contrast(image).enhance(random.uniform(0.8, 1.2))


def lifted(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Up to a fifth of the range added or taken away, cut off at black and white."""
    shift = random.uniform(-51, 51)
    return image.point(lambda value: int(min(max(value + shift, 0), 255)))


def framed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A frame of one grey, up to 10 % of the side at each of the four edges."""
    width, height = image.size
    left, right = (int(random.uniform(0, 0.1) * width) for _ in range(2))
    top, bottom = (int(random.uniform(0, 0.1) * height) for _ in range(2))
    fill = int(random.choice([0, 255, random.integers(0, 256)]))
    return ImageOps.expand(image, (left, top, right, bottom), fill if image.mode == "L" else (fill,) * 3)


def letterboxed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Black above and below, or left and right, up to 10 % of the side each."""
    width, height = image.size
    share = random.uniform(0.02, 0.1)
    across, up = (int(share * width), 0) if random.random() < 0.5 else (0, int(share * height))
    return ImageOps.expand(image, (across, up, across, up), 0 if image.mode == "L" else (0, 0, 0))


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Up to 4 % of the side cut off at each of the four edges."""
    width, height = image.size
    left, right = (random.uniform(0, 0.04) * width for _ in range(2))
    top, bottom = (random.uniform(0, 0.04) * height for _ in range(2))
    return image.crop((round(left), round(top), round(width - right), round(height - bottom)))


def mirrored(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def upside_down(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Top and bottom exchanged."""
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def turned(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """By 90, 180 or 270 degrees."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[random.integers(3)])


def in_turn(*transforms: Transform) -> Transform:
    """One after the other."""

    def combined(image: Image.Image, random: np.random.Generator) -> Image.Image:
        for transform in transforms:
            image = transform(image, random)
        return image

    return combined


TRANSFORMS: dict[str, Transform] = {
    "exact": lambda image, random: image,
    "resized 0.5-2x": resized,
    "JPEG quality 50-95": stored_again,
    "brightness ±20 %": brightness,
    "contrast ±20 %": contrast,
    "brightness shifted by ±20 % of the range": lifted,
    "framed, up to 10 % a side": framed,
    "letterboxed, up to 10 % a side": letterboxed,
    "cropped, up to 4 % a side": cropped,
    "mirrored": mirrored,
    "upside down": upside_down,
    "turned by 90°, 180° or 270°": turned,
    "resized, brightness, JPEG": in_turn(resized, brightness, stored_again),
    "mirrored, framed, JPEG": in_turn(mirrored, framed, stored_again),
    "turned, resized, contrast, JPEG": in_turn(turned, resized, contrast, stored_again),
    "cropped, resized, JPEG": in_turn(cropped, resized, stored_again),
}
