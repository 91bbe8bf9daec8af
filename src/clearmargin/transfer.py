"""One transfer over HTTP: from where the file ends, no further than allowed, and never by an unsafe way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from clearmargin.errors import DiskError, DownloadError

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

_PIECE_BYTES: Final = 1 << 20
_MOST_REDIRECTS: Final = 5
_PASSING: Final = frozenset({408, 425, 429})  # with all from 500 on: the server may answer when asked again


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, and how often to ask again.

    Attributes
    ----------
    connect_seconds, silence_seconds
        Until it answers; between two pieces.
    window_seconds, slowest_bytes_per_second
        A transfer that stays slower throughout one window counts as broken off.
    attempts, pause_seconds
        At one address; the pause before the second, doubled before each further one.
    """

    connect_seconds: float = 10
    silence_seconds: float = 30
    window_seconds: float = 60
    slowest_bytes_per_second: float = 500
    attempts: int = 5
    pause_seconds: float = 1


class BrokenOffError(Exception):
    """The transfer ended early, and asking again may help."""


def transfer(
    url: str, part: Path, *, most_bytes: int, report: Callable[[int, int | None], None], patience: Patience
) -> None:
    """Append to ``part`` what is missing of the file, or write it anew when the server knows no parts.

    Parameters
    ----------
    most_bytes
        A larger file is refused, and what came of it is deleted.
    report
        Called with bytes done, bytes in all (None when the server does not say).

    Raises
    ------
    BrokenOffError
        When it ended early and asking again may help; what came is kept.
    DownloadError
        When asking again is of no use.
    DiskError
        When the file system refuses.
    """
    start = size_of(part)
    with _answer(url, start, patience) as response:
        done = _first_byte(response, url, start, part)
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        if total is not None and total > most_bytes:
            raise _too_large(url, total, most_bytes, part)
        for piece in _pieces(response, url, patience):
            done += len(piece)
            if done > most_bytes:
                raise _too_large(url, done, most_bytes, part)
            _append(part, piece, anew=done == len(piece))
            report(done, total)
        if total is not None and done < total:
            raise BrokenOffError(f"{host_of(url)} broke off after {done:,} of {total:,} bytes")


def _first_byte(response: Response, url: str, start: int, part: Path) -> int:
    """Where in the file the body begins: at ``start`` when the server continues, at 0 when it begins anew."""
    status, host = response.status_code, host_of(url)
    if status == 206 and start and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return start
    if status == 200:
        return 0
    if status in (206, 416):
        delete(part)
        raise BrokenOffError(f"{host} could not continue at byte {start:,}")
    answer = f"{host} answered {status} {response.reason} for {url}"
    raise BrokenOffError(answer) if status in _PASSING or status >= 500 else DownloadError(answer)


def _answer(url: str, start: int, patience: Patience) -> Response:
    """Ask for a file from byte ``start`` on; follow redirects as long as they are safe."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.Session() as session:
        # It looks at the next place even when told not to follow, and reads the whole body of this one before.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        for _ in range(_MOST_REDIRECTS + 1):
            with _network_errors(url):
                response = session.get(
                    url,
                    headers=headers,
                    auth=_without_password,
                    stream=True,
                    allow_redirects=False,
                    timeout=(patience.connect_seconds, patience.silence_seconds),
                )
            if not response.is_redirect:
                return response
            response.close()
            url = _redirected(url, response.headers["Location"])
    raise DownloadError(f"{host_of(url)} sends on and on, more than {_MOST_REDIRECTS} times")


def _without_password(request: PreparedRequest) -> PreparedRequest:
    """Else requests would send what the user's ``.netrc`` has for this host."""
    return request


def _redirected(url: str, location: str) -> str:
    try:
        new = urljoin(url, location)
        old, to = urlsplit(url), urlsplit(new)
    except ValueError as error:
        raise DownloadError(f"{host_of(url)} sends on to {location!r}, which is no address ({error})") from error
    if to.scheme == "https" or (to.scheme == "http" and (to.scheme, to.netloc) == (old.scheme, old.netloc)):
        return new
    raise DownloadError(f"{host_of(url)} sends on to {new}, which is not https; that is not followed")


def _pieces(response: Response, url: str, patience: Patience) -> Iterator[bytes]:
    """The body as it comes, not unpacked."""
    since, came = time.monotonic(), 0
    while True:
        with _network_errors(url):
            piece = response.raw.read1(_PIECE_BYTES, decode_content=False)
        if not piece:
            return
        yield piece
        came += len(piece)
        passed = time.monotonic() - since
        if passed > patience.window_seconds:
            if came < passed * patience.slowest_bytes_per_second:
                raise BrokenOffError(f"{host_of(url)} sends too slowly: {came:,} bytes in {passed:.0f} s")
            since, came = time.monotonic(), 0


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Tell what may pass, a connection that broke off, from what will not, a host that can't be reached."""
    import requests
    import urllib3.exceptions as broken

    lasting = (requests.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.ProxyError)
    try:
        yield
    except (requests.ReadTimeout, broken.ReadTimeoutError) as error:
        raise BrokenOffError(f"{host_of(url)} sent nothing for a long time") from error
    except lasting as error:
        raise DownloadError(f"{host_of(url)} can't be reached ({_reason(error)})") from error
    except requests.ConnectionError as error:
        if isinstance(getattr(error.args[0], "reason", None), broken.NewConnectionError):
            raise DownloadError(f"{host_of(url)} can't be reached ({_reason(error)})") from error
        raise BrokenOffError(f"{host_of(url)} broke off the connection") from error
    except broken.HTTPError as error:
        raise BrokenOffError(f"{host_of(url)} broke off the connection") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url} can't be asked for ({error})") from error


def _reason(error: BaseException) -> str:
    """What the operating system said, from under the wrappings."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def host_of(url: str) -> str:
    """Host and port, for messages."""
    return urlsplit(url).netloc


def size_of(part: Path) -> int:
    """Bytes that have come so far."""
    return part.stat().st_size if part.exists() else 0


def _append(part: Path, piece: bytes, *, anew: bool) -> None:
    try:
        with part.open("wb" if anew else "ab", buffering=0) as file:
            rest = memoryview(piece)
            while rest:  # a nearly full disk takes a part, and says so only the next time
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise refused_by_disk(part, error) from error


def delete(part: Path) -> None:
    """Remove what came, or raise `DiskError`."""
    try:
        part.unlink(missing_ok=True)
    except OSError as error:
        raise refused_by_disk(part, error) from error


def _too_large(url: str, size_bytes: int, most_bytes: int, part: Path) -> DownloadError:
    delete(part)
    return DownloadError(
        f"{host_of(url)} sends {size_bytes:,} bytes or more, at most {most_bytes:,} can be right; what came was deleted"
    )


def refused_by_disk(path: Path, error: OSError) -> DiskError:
    """Say what the file system refused."""
    return DiskError(
        f"Could not write {path.name} in {path.parent}: {error.strerror or error}. Free some space, or choose another "
        "folder; what has come so far is kept and gone on with."
    )
