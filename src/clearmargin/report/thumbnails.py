"""Small pictures of images, kept in the run folder so that a later report still has them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clearmargin.errors import DiskError
from clearmargin.files import write_bytes

Pictures = Callable[[Sequence[str]], dict[str, np.ndarray]]
SIDE_PX = 160
_LOSSLESS_UP_TO_PX = 48  # a digit of 28 x 28 keeps its pixels
_AT_A_TIME = 64
_LARGEST_FILE = 200_000
_THUMBNAIL = re.compile(r"[0-9a-f]{20}\.(jpg|png)")


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


def save_thumbnails(folder: Path, names: Sequence[str], pictures: Pictures, side_px: int = SIDE_PX) -> list[str]:
    """Reduce the images called ``names`` to ``side_px`` and write them to ``folder``, a few at a time.

    Returns
    -------
    The names of the files; a name that ``pictures`` does not return gets none.
    """
    written = []
    for start in range(0, len(names), _AT_A_TIME):
        for name, pixels in pictures(names[start : start + _AT_A_TIME]).items():
            suffix, content = _encode(pixels, side_px)
            written.append(_stem(name) + suffix)
            write_bytes(folder / written[-1], content)
    return written


def keep_only(folder: Path, files: Sequence[str]) -> None:
    """Delete the thumbnails in ``folder`` that are not among ``files``: those of an earlier page.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    wanted = set(files)
    for path in folder.glob("*.*") if folder.is_dir() else ():
        if path.name not in wanted and _THUMBNAIL.fullmatch(path.name):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise DiskError(f"{path} can't be deleted: {error.strerror or error}.") from error


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


def _encode(pixels: np.ndarray, side_px: int) -> tuple[str, bytes]:
    """Encode a uint8 array of shape (height, width[, 1 or 3])."""
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    if max(image.size) <= _LOSSLESS_UP_TO_PX:
        image.save(buffer, format="PNG", optimize=True)
        return ".png", buffer.getvalue()
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
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
