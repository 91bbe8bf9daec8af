"""Running a service: nothing is promised before the model is ready, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from clearmargin.serving.app import build_app
from clearmargin.serving.connections import protocol_within
from clearmargin.serving.listening import not_to_be_had

if TYPE_CHECKING:
    from clearmargin.serving.service import Service

BACKLOG = 1024
END_SECONDS = 5  # beyond the time a request may take
MOST_FILES = 4096  # that are open at once, connections among them


class Server(uvicorn.Server):
    """uvicorn's, which ends with status 0 when it is told to end, having answered what was accepted."""

    def __init__(self, service: Service, announce: Callable[[], None] | None = None) -> None:
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                build_app(service),
                http=protocol_within(limits),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="critical",  # what uvicorn says holds addresses, and may quote requests
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=math.ceil(limits.seconds) + END_SECONDS,
            )
        )
        self._service, self._announce = service, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; what goes wrong with a connection is no news, and its words may hold addresses.

        Raises
        ------
        UsageError
            When another process listens there since the sockets were bound.
        """
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        try:
            await super().startup(sockets)
        except OSError as error:
            if not sockets:
                raise
            host, port = sockets[0].getsockname()[:2]
            raise not_to_be_had(host, port, error) from error
        if self._announce is not None:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second Ctrl-C does not wait."""
        self._service.ending = True
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM meanwhile, and do not raise them again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_server(service: Service, listening: socket.socket, announce: Callable[[], None]) -> None:
    """Serve with a service that was started, until a signal comes; what was accepted by then is answered.

    Parameters
    ----------
    announce
        Called as soon as it answers.

    Raises
    ------
    ClearmarginError
        When the model can't be made ready, or another process listens there by now.
    """
    _allow_many_connections()
    try:
        service.worker.wait_until_warm()
        Server(service, announce).run(sockets=[listening])
    finally:
        service.stop()


def _allow_many_connections() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
