"""Images out of the body of a request: capped while it streams in, never on the disk, and without its file names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from clearmargin.serving.limits import MB, Limits
from clearmargin.serving.problems import Problem

FIELDS = (b"files", b"file")
MOST_HEADERS, LONGEST_HEADER = 8, 4096
# The parser tells of every broken form; without a handler Python would print it.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())
_IMAGE_TYPES = ("image/", "application/octet-stream", "application/dicom")


class Held:
    """Bytes of all requests that are being read and decoded."""

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


class _Form:
    """What python-multipart reports of a form, put together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.images: list[bytes] = []
        self.finished = False
        self._pieces: list[bytes] = []
        self._header, self._value = b"", b""
        self._disposition: bytes | None = None

    def on_part_begin(self) -> None:
        if len(self.images) >= self._limits.request_images:
            raise Problem("too-large", f"A request may have at most {self._limits.request_images} images.")
        self._pieces, self._disposition = [], None

    def on_header_begin(self) -> None:
        self._header, self._value = b"", b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def on_headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        if options.get(b"name") not in FIELDS:
            raise Problem("unusable-request", "The form has another field than 'files', which holds the images.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def on_part_end(self) -> None:
        self.images.append(b"".join(self._pieces))

    def on_end(self) -> None:
        self.finished = True


_REPORTS = (
    "on_part_begin", "on_header_begin", "on_header_field", "on_header_value", "on_header_end", "on_headers_finished",
    "on_part_data", "on_part_end", "on_end",
)  # fmt: skip


def _parts(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    broken = Problem("bad-request", "The body is not a whole form: multipart/form-data with a boundary is expected.")
    form = _Form(limits)
    callbacks = {name: getattr(form, name) for name in _REPORTS}
    try:
        boundary = parse_options_header(content_type)[1][b"boundary"]
        parser = MultipartParser(
            boundary, callbacks, max_header_count=MOST_HEADERS, max_header_size=LONGEST_HEADER  # type: ignore[arg-type]
        )  # fmt: skip
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, LookupError, TypeError, AttributeError):  # headers go through email's parser
        raise broken from None
    if not form.finished:
        raise broken
    return form.images
