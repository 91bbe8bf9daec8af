"""Plain JPEG files decoded without Pillow's own reading of the header, which takes longer than a tiny picture."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from clearmargin.jpeg import plain_jpeg
from clearmargin.pillow import DAMAGE


class DecodedJpeg(NamedTuple):
    """An image of mode L or RGB, its mode as the file has it, and the quality `jpeg.jpeg_quality` finds."""

    image: Image.Image
    mode: str
    quality: int


def decode_plain_jpeg(content: bytes, max_pixels: int) -> DecodedJpeg | None:
    """Decode a JPEG without anything unusual in it.

    Returns
    -------
    None for all that is not plain or not whole, or has more pixels: Pillow then says what it is.
    """
    header = plain_jpeg(content)
    if header is None or header.size[0] * header.size[1] > max_pixels:
        return None
    try:
        image = Image.frombytes(header.mode, header.size, content, "jpeg", header.mode, "")
    except DAMAGE:
        return None
    return DecodedJpeg(image, header.mode, header.quality)
