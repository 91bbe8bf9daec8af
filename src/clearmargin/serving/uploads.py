"""Images out of the body of a request: capped while it streams in, never on the disk, and without its file names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from clearmargin.serving.limits import MB, Limits
from clearmargin.serving.problems import Problem

FIELDS = ("files", "file")
MOST_HEADERS, LONGEST_HEAD = 8, 8192  # of a part of a form
_IMAGE_TYPES = ("image/", "application/octet-stream", "application/dicom")
# A quoted string, as the RFCs have it; where that leads nowhere, as browsers write it: backslashes are not escaped.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"(?=\s*(?:;|$))|"([^"]*)"|([^\s;"]*))\s*')
_BOUNDARY = re.compile(r"[\x20-\x7e]{0,69}[\x21-\x7e]")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_PADDING = re.compile(rb"[ \t]*")


class Held:
    """Bytes of all requests that are not answered yet."""

    def __init__(self, most: int) -> None:
        self._most, self.bytes = most, 0

    @contextmanager
    def share(self) -> Iterator[_Share]:
        """What one request holds, until the end of the block."""
        share = _Share(self, self._most)
        try:
            yield share
        finally:
            self.bytes -= share.bytes


class _Share:
    def __init__(self, held: Held, most: int) -> None:
        self._held, self._most, self.bytes = held, most, 0

    def add(self, count: int) -> None:
        """Hold more.

        Raises
        ------
        Problem
            When all requests together would hold too much.
        """
        if self._held.bytes + count > self._most:
            raise Problem("overloaded", "The server holds as many images as it can: try again later.")
        self._held.bytes += count
        self.bytes += count


def declared_bytes(headers: Mapping[str, str]) -> int:
    """How long a request says its body is; 0 when it does not say."""
    said = headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else 0


async def read_body(pieces: AsyncIterator[bytes], declared: int, limits: Limits, share: _Share) -> bytes:
    """Read a body as it comes.

    Parameters
    ----------
    declared
        Its length, as the request says it: what is too long is refused before anything is read.

    Raises
    ------
    Problem
        413 beyond the limit, as soon as that is known; 408 when it comes too slowly; 429 when the server holds too
        much already.
    """
    if declared > limits.request_bytes:
        raise _too_long(limits)
    loop = asyncio.get_running_loop()
    end, kept, size = loop.time() + limits.body_seconds, list[bytes](), 0
    try:
        async with asyncio.timeout(limits.silence_seconds) as patience:
            async for piece in pieces:
                size += len(piece)
                if size > limits.request_bytes:
                    raise _too_long(limits)
                share.add(len(piece))
                kept.append(piece)
                patience.reschedule(min(loop.time() + limits.silence_seconds, end))
    except TimeoutError:
        raise Problem("too-slow", "The body of the request came too slowly.", {"Connection": "close"}) from None
    return b"".join(kept)


def _too_long(limits: Limits) -> Problem:
    return Problem("too-large", f"A request may have at most {limits.request_bytes / MB:g} MB.")


def images_of(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    """The encoded images of a body: a form with files, or one image as it is.

    It may take a while: not for an event loop.

    Raises
    ------
    Problem
        400 for a broken form, 413 for too many images or too large ones, 415 for another kind of body, 422 for a form
        without images or with other fields.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = _parts(content_type, body, limits)
    elif kind.startswith(_IMAGE_TYPES):
        found = [body]
    else:
        raise Problem(
            "wrong-format",
            "Send multipart/form-data with images in the field 'files', or one image with its own content type.",
        )
    for image in found:
        _check_length(len(image), limits)
    if not found:
        raise Problem("unusable-request", "The form has no images: expected at least one in the field 'files'.")
    return found


def _check_length(length: int, limits: Limits) -> None:
    if length > limits.image_bytes:
        raise Problem("too-large", f"An image may have at most {limits.image_bytes / MB:g} MB.")


def _parts(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    """The contents of a form's parts: found with `bytes.find`, since a parser in Python would hold up everybody.

    As RFC 2046, 5.1.1: something may stand before the first boundary, blanks behind one, and headers may be folded.
    """
    broken = Problem("bad-request", "The body is not a whole form: multipart/form-data with a boundary is expected.")
    boundary = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise broken
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    found: list[bytes] = []
    place = len(delimiter) - 2 if body.startswith(delimiter[2:]) else _behind(delimiter, body, 0)
    while place >= 0 and not body.startswith(b"--", place):
        place = _PADDING.match(body, place).end()  # type: ignore[union-attr]
        head_end = body.find(b"\r\n\r\n", place, place + LONGEST_HEAD)
        if not body.startswith(b"\r\n", place) or head_end < 0:
            raise broken
        lines = _FOLD.sub(b"", body[place + 2 : head_end]).split(b"\r\n")
        if len(lines) > MOST_HEADERS:
            raise broken
        if len(found) >= limits.request_images:
            most = limits.request_images
            raise Problem("too-many", f"A request may have at most {most} images.", most=most)
        if _field(lines) not in FIELDS:
            raise Problem("unusable-request", "The form has another field than 'files', which holds the images.")
        place = _behind(delimiter, body, head_end + 4)
        found.append(body[head_end + 4 : place - len(delimiter)])
    if place < 0:
        raise broken
    return found


def _behind(delimiter: bytes, body: bytes, start: int) -> int:
    """The place behind the next delimiter; -1 when there is none."""
    place = body.find(delimiter, start)
    return place + len(delimiter) if place >= 0 else -1


def _field(lines: list[bytes]) -> str | None:
    """The name of the field that a part with these headers belongs to."""
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "content-disposition":
            return _parameters(value).get("name")
    return None


def _parameters(header: str) -> dict[str, str]:
    """What stands behind the first semicolon of a header, as far as it can be understood: names in lower case."""
    found: dict[str, str] = {}
    place = len(header.partition(";")[0])
    while one := _PARAMETER.match(header, place):
        plain = one[4] if one[3] is None else one[3]
        found.setdefault(one[1].lower(), plain if one[2] is None else re.sub(r"\\(.)", r"\1", one[2]))
        place = one.end()
    return found
