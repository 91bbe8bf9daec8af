"""Connections that do not wait for ever: for a head, for the rest of a body, or for a client to take its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from clearmargin.serving.limits import Limits
from clearmargin.serving.problems import MEDIA_TYPE, Problem

READ_BYTES = 32_768  # at once: the loop answers others before it reads on
MOST_CRUMBS, CRUMB_BYTES = 256, 64


class WholesomeConnection(h11.Connection):
    """Refuses a body in crumbs: to take each piece costs as much time as a kilobyte does, and it may be one byte.

    So many pieces are free, and one more for every 64 bytes that came.

    Attributes
    ----------
    crumbled
        Whether it refused one.
    """

    crumbled = False
    _pieces = _payload = 0

    def next_event(self) -> Any:
        """What came, as h11 says it.

        Raises
        ------
        h11.RemoteProtocolError
            When it is no HTTP, or in too many pieces.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._payload = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._payload += len(event.data)
            if self._pieces > MOST_CRUMBS + self._payload // CRUMB_BYTES:
                self.crumbled = True
                raise h11.RemoteProtocolError("a body in crumbs")
        return event


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with an end to its patience.

    Bodies that are read are watched by `uploads.read_body`; here is what happens outside of a request.
    """

    limits = Limits()
    waiting: dict[PatientProtocol, None]  # those without a head, in the order in which they began to wait

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self.conn: WholesomeConnection = WholesomeConnection(h11.SERVER)
        limits = self.limits
        self._head = _Patience(self, limits.head_seconds)
        self._rest = _Patience(self, limits.linger_seconds)
        self._write = _Patience(self, limits.send_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.limits.connections and self.waiting:
            next(iter(self.waiting)).cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        for patience in (self._head, self._rest, self._write):
            patience.wait(False)
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a byte now and then does not make the wait for a whole head longer."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The answer is written."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes nothing: it has some seconds."""
        super().pause_writing()
        self._write.wait(True)

    def resume_writing(self) -> None:
        """It took something."""
        super().resume_writing()
        self._write.wait(False)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or comes in crumbs, is answered as any other problem."""
        crumbs = "The body came in very many tiny pieces: send it in pieces of a kilobyte or more."
        problem = Problem("bad-request", crumbs if self.conn.crumbled else "This is not a request of HTTP/1.1.")
        headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(problem.body))), ("connection", "close")]
        pairs = [(name.encode(), value.encode()) for name, value in headers]
        events = h11.Response(status_code=400, headers=pairs), h11.Data(data=problem.body), h11.EndOfMessage()
        try:
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()
        except h11.LocalProtocolError:  # an answer was begun already
            self.cut()

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _watch(self) -> None:
        """See what the connection waits for, and begin or end the waiting."""
        answered = self.cycle is None or self.cycle.response_complete
        for_head = answered and self.conn.their_state is h11.IDLE
        for_rest = answered and self.conn.their_state is h11.SEND_BODY  # of a body that was answered unread
        self._head.wait(for_head)
        self._rest.wait(for_rest)
        if not for_head:
            self.waiting.pop(self, None)
        elif not self.transport.is_closing():
            self.waiting.setdefault(self)


class _Patience:
    """Cuts a connection that waits too long."""

    def __init__(self, connection: PatientProtocol, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, waiting: bool) -> None:
        """Begin to wait, go on waiting, or stop."""
        if not waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif waiting and self._timer is None:
            self._timer = self._connection.loop.call_later(self._seconds, self._connection.cut)


def protocol_within(limits: Limits) -> type[PatientProtocol]:
    """The protocol of one server."""
    return type("ServerProtocol", (PatientProtocol,), {"limits": limits, "waiting": {}})
