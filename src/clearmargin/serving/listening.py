"""The socket of a server, bound before anything is promised."""

from __future__ import annotations

import socket

from clearmargin.errors import UsageError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens for nobody yet; port 0 takes any that is free.

    Raises
    ------
    UsageError
        When the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol, asyncio leaves Nagle's algorithm on, and the body of an answer waits 40 ms for its head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise not_to_be_had(host, port, error) from error
    return listening


def not_to_be_had(host: str, port: int, error: OSError) -> UsageError:
    """What to say when an address can't be bound, or listened at: another process may have done so since."""
    return UsageError(f"Port {port} of {host} can't be had ({error.strerror or error}): choose another with --port.")
