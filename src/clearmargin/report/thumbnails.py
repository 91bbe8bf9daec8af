"""Small pictures of test images, kept in the run folder so that a later report still has them."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clearmargin.files import write_bytes

Pictures = Callable[[Sequence[str]], dict[str, np.ndarray]]
SIDE_PX = 160
_LOSSLESS_UP_TO_PX = 48  # a digit of 28 x 28 keeps its pixels
_AT_A_TIME = 64
_LARGEST_FILE = 200_000


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def tiny(self) -> bool:
        """True when it should be enlarged with its pixels visible."""
        return max(self.width, self.height) <= _LOSSLESS_UP_TO_PX * 2


def save_thumbnails(folder: Path, names: Sequence[str], pictures: Pictures) -> None:
    """Reduce the images called ``names`` and write them to ``folder``, a few at a time.

    A name that ``pictures`` does not return gets no file.
    """
    for start in range(0, len(names), _AT_A_TIME):
        for name, pixels in pictures(names[start : start + _AT_A_TIME]).items():
            suffix, content = _encode(pixels)
            write_bytes(folder / (_stem(name) + suffix), content)


def load_thumbnails(folder: Path, names: Sequence[str]) -> dict[str, Thumbnail]:
    """Read what `save_thumbnails` wrote; names without a readable file are absent."""
    found = {}
    for name in names:
        for suffix, kind in ((".jpg", "jpeg"), (".png", "png")):
            thumbnail = load_picture(folder / (_stem(name) + suffix), kind)
            if thumbnail is not None:
                found[name] = thumbnail
                break
    return found


def _stem(name: str) -> str:
    # Names may hold anything; a hash is a file name on every system.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _encode(pixels: np.ndarray) -> tuple[str, bytes]:
    """Encode a uint8 array of shape (height, width[, 1 or 3])."""
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    if max(image.size) <= _LOSSLESS_UP_TO_PX:
        image.save(buffer, format="PNG", optimize=True)
        return ".png", buffer.getvalue()
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    image.save(buffer, format="JPEG", quality=82, optimize=True)
    return ".jpg", buffer.getvalue()


def load_picture(path: Path, kind: str) -> Thumbnail | None:
    """Read a picture of the run folder, ``kind`` jpeg or png; None when it is missing, too large or none at all."""
    if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
        return None
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=(kind.upper(),)) as image:
                width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", width, height)
