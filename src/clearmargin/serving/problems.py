"""What went wrong with a request, as RFC 9457 wants it said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/problem+json"

# By the last part of ``type``: title and status.
KINDS = {
    "bad-request": ("The request can't be understood", 400),
    "no-token": ("A token is needed", 401),
    "cross-site": ("Requests from other sites are refused", 403),
    "not-found": ("There is nothing here", 404),
    "wrong-method": ("This can't be done here", 405),
    "too-slow": ("The request came too slowly", 408),
    "too-large": ("Too large", 413),
    "too-many": ("Too many images at once", 413),
    "wrong-format": ("Not an image in an accepted format", 415),
    "no-dicom": ("DICOM is not read here", 415),
    "wrong-host": ("This server does not go by that name", 421),
    "unusable-image": ("The image can't be used", 422),
    "unusable-request": ("The request lacks what it needs", 422),
    "overloaded": ("Too much to do", 429),
    "failed": ("The server failed", 500),
    "not-ready": ("Not ready", 503),
    "deadline": ("Not answered in time", 503),
}
RETRY_SECONDS = 1


class Problem(Exception):
    """A request that is not answered as was asked.

    Attributes
    ----------
    kind
        A key of `KINDS`.
    detail
        A sentence for a person: what was expected, what came. It never quotes the request.
    headers
        Further headers of the answer.
    most
        How many images a request may have, when it had too many.
    """

    def __init__(
        self, kind: str, detail: str, headers: Mapping[str, str] | None = None, *, most: int | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.most = kind, detail, most
        self.title, self.status = KINDS[kind]
        later = {"Retry-After": str(RETRY_SECONDS)} if self.status in (429, 503) else {}
        self.headers = {**later, **(headers or {})}

    def as_json(self) -> dict[str, Any]:
        """The members of RFC 9457, section 3.1."""
        return {
            "type": f"urn:clearmargin:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }

    @property
    def body(self) -> bytes:
        """`as_json` as bytes."""
        return json.dumps(self.as_json()).encode("ascii")
