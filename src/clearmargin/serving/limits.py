"""How much a server takes on: bytes, pixels, images, time."""

from __future__ import annotations

from dataclasses import dataclass

from clearmargin.trained import BATCH

MB = 10**6


@dataclass(frozen=True)
class Limits:
    """What is refused beyond.

    Attributes
    ----------
    image_bytes, image_pixels
        Of one image: its file, and what it unpacks to.
    request_bytes, request_images
        Of one request; each frame of a DICOM file is an image.
    held_bytes
        Of all requests together, from their first byte until they are answered.
    reading
        Requests whose body is on its way.
    waiting
        Images that were accepted and are not answered.
    seconds
        From the moment a request was read until its answer.
    share
        Of these seconds: what was accepted must be answered within them, at the speed of the moment.
    batch, window_seconds
        At most so many images pass the network together; and the first of them waits at most so long for others that
        are on their way.
    idle_seconds
        For which nobody asked anything, before another training image is looked at.
    silence_seconds, body_seconds
        Between two pieces of a body, and for all of it.
    head_seconds
        Until a connection has said what it wants.
    send_seconds, answer_seconds
        Until a client has taken what was written to it, one piece of a large page after the other; and all of the page.
    linger_seconds
        For which the rest of a body is thrown away after it was answered without having been read.
    connections
        Beyond, the one that has waited longest for its head is cut.
    """

    image_bytes: int = 32 * MB
    image_pixels: int = 25_000_000
    request_bytes: int = 64 * MB
    request_images: int = 64
    held_bytes: int = 256 * MB
    reading: int = 512
    waiting: int = 256
    seconds: float = 30.0
    share: float = 0.8
    batch: int = BATCH
    window_seconds: float = 0.003
    idle_seconds: float = 2.0
    silence_seconds: float = 10.0
    body_seconds: float = 60.0
    head_seconds: float = 10.0
    send_seconds: float = 30.0
    answer_seconds: float = 300.0
    linger_seconds: float = 2.0
    connections: int = 900
