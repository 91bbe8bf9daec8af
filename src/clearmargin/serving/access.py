"""Who may ask: the right host name, no other site, and, beyond this machine, somebody who knows the token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmargin.errors import UsageError
from clearmargin.serving.problems import Problem

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OWN_SITE = frozenset({b"same-origin", b"none"})
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 1024
TOKEN_VARIABLE = "CLEARMARGIN_TOKEN"
CHALLENGES = 'Bearer realm="clearmargin", Basic realm="clearmargin", charset="UTF-8"'
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?")
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes
    ----------
    names
        Host names and addresses, lower case, by which the server may be called. Where it listens on every address, it
        may also be called by the one that a connection reached.
    every_address
        Whether it listens on all addresses of the machine.
    token
        What a request must know; None: anybody on this machine may ask.
    """

    names: frozenset[str] = LOOPBACK_NAMES
    every_address: bool = False
    token: str | None = None

    @property
    def local(self) -> bool:
        """Whether nobody beyond this machine is meant to ask: by no other name, and from no other address."""
        return not self.every_address and all(map(is_loopback, self.names))

    def check(self, scope: Mapping[str, Any]) -> None:
        """Refuse a request from its head alone, whatever its path and method.

        Parameters
        ----------
        scope
            Of an ASGI request.

        Raises
        ------
        Problem
            With the status 421 for another host's name, 403 for another site's request, 401 without the token.
        """
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        authority = self._check_host(headers.get(b"host", []), scope.get("server"))
        sites = headers.get(b"sec-fetch-site", [])
        if any(site not in OWN_SITE for site in sites):
            raise Problem("cross-site", "The browser says that another site caused this request.")
        own = {f"http://{authority}".encode(), f"https://{authority}".encode()}
        if any(origin.lower() not in own for origin in headers.get(b"origin", [])):
            raise Problem("cross-site", "The Origin of this request is not this server.")
        if self.token is not None:
            self._check_token(headers.get(b"authorization", []))

    def _check_host(self, values: list[bytes], reached: Any) -> str:
        """The host and port that a request names, when it may."""
        found = _AUTHORITY.fullmatch(values[0].decode("latin-1").lower()) if len(values) == 1 else None
        if found is None:
            raise Problem("wrong-host", "The request must have one Host header, with a name or address in it.")
        name = found[1].strip("[]")
        if name not in self.names and not (self.every_address and _reaches(name, reached)):
            raise Problem("wrong-host", "The Host header names another server than this one.")
        return found[0]

    def _check_token(self, values: list[bytes]) -> None:
        assert self.token is not None
        said = _said_token(values[0]) if len(values) == 1 else b""
        if not hmac.compare_digest(hashlib.sha256(said).digest(), hashlib.sha256(self.token.encode()).digest()):
            raise Problem(
                "no-token",
                "Send the server's token: Authorization: Bearer TOKEN. A browser asks for it as the password.",
                {"WWW-Authenticate": CHALLENGES},
            )


def _reaches(name: str, reached: Any) -> bool:
    """Whether an address is the one that the connection came to: an address can't be rebound as names can."""
    try:
        return bool(reached) and _address(name) == _address(reached[0])
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 that a socket of IPv6 calls ``::ffff:…`` as what it is."""
    address = ipaddress.ip_address(text)
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _said_token(value: bytes) -> bytes:
    """The token of an Authorization header: Bearer's, or the password of Basic, which browsers can ask for."""
    scheme, _, rest = value.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def access_to(host: str, token: str | None, names: tuple[str, ...] = ()) -> Access:
    """Who may ask a server that listens at a host.

    Parameters
    ----------
    host
        A name or address of this machine; ``0.0.0.0`` and ``::`` are all of them.
    names
        Further host names by which it may be called, as behind a proxy.

    Raises
    ------
    UsageError
        Without a token beyond loopback, a proxy before it included; for a token that is too short, or can't be sent.
    """
    asked = frozenset(_bare(name) for name in names)
    beyond = [f"--host {host}"] if not is_loopback(host) else []
    beyond += [f"--allow-host {name}" for name in sorted(asked) if not is_loopback(name)]
    if token is None and beyond:
        raise UsageError(
            f"With {beyond[0]} other machines can reach the server: that needs a token. Write one of at least "
            f"{SHORTEST_TOKEN} characters into a file and name it with --token-file FILE, or set {TOKEN_VARIABLE}."
        )
    if token is not None and not (SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN and _TOKEN.fullmatch(token)):
        raise UsageError(
            f"The token must be {SHORTEST_TOKEN} to {LONGEST_TOKEN:,} letters, digits and signs of ASCII, no spaces."
        )
    if is_loopback(host):
        return Access(LOOPBACK_NAMES | asked | {_bare(host)}, token=token)
    everywhere = host in ("0.0.0.0", "::", "")
    return Access(LOOPBACK_NAMES | asked | (frozenset() if everywhere else {_bare(host)}), everywhere, token)


def _bare(name: str) -> str:
    """A host name as requests say it, without a port.

    Raises
    ------
    UsageError
        When it is none.
    """
    lower = name.lower()
    address = f"[{lower}]" if lower.count(":") > 1 and not lower.startswith("[") else lower
    found = _AUTHORITY.fullmatch(address)
    if found is None:
        raise UsageError(f"{name!r} is not the name or address of a host.")
    return found[1].strip("[]")


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None, environment: Mapping[str, str]) -> str | None:
    """The token in the first line of a file, or in the environment; None when there is neither.

    Raises
    ------
    UsageError
        When the file can't be read, or holds more than one line.
    """
    if path is None:
        return environment.get(TOKEN_VARIABLE) or None
    try:
        with path.open("rb") as file:
            content = file.read(4 * LONGEST_TOKEN)
    except OSError as error:
        raise UsageError(f"The token can't be read from {path}: {error.strerror or error}.") from error
    lines = content.decode("utf-8", "replace").strip().splitlines()
    if len(lines) != 1:
        raise UsageError(f"{path} must hold the token in one line, and nothing else.")
    return lines[0]
