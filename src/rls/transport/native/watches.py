"""Health.Watch of the native transport, without tasks."""

from __future__ import annotations

from rls.transport.health import Health
from rls.transport.http2 import Receiver, Request, Responder
from rls.transport.status import Aborted, StatusCode


class NativeWatches:
    """All Health.Watch calls of one server: bounded in number, and ended when it drains."""

    def __init__(self, health: Health, at_most: int) -> None:
        self._health = health
        self._at_most = at_most
        self._watches: dict[_Watch, None] = {}
        self._closed = False
        health.on_change.append(self._tell)

    def begin(self, connection: Responder, stream_id: int, request: Request, now: float) -> Receiver:
        """See `StreamHandler`."""
        return _Watch(self, connection, stream_id)

    def close(self) -> None:
        """End all watches, and all to come."""
        self._closed = True
        if self._tell in self._health.on_change:
            self._health.on_change.remove(self._tell)
        for watch in list(self._watches):
            watch.shut_down()

    def end(self, connection: Responder) -> None:
        """End the watches of *connection*: it is to go."""
        for watch in [watch for watch in self._watches if watch.connection is connection]:
            watch.shut_down()

    def add(self, watch: _Watch, message: bytes) -> bytes:
        """Take one in; returns the state to begin with.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where there are too many, UNAVAILABLE when the server drains.
        """
        if self._closed:
            raise _shutting_down()
        if len(self._watches) >= self._at_most:
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, f"more than {self._at_most} watches")
        state = self.state_of(message)
        self._watches[watch] = None
        return state

    def remove(self, watch: _Watch) -> None:
        """It is over."""
        self._watches.pop(watch, None)

    def state_of(self, message: bytes) -> bytes:
        """See `Health.state_of`."""
        return self._health.state_of(message)

    def _tell(self) -> None:
        for watch in list(self._watches):
            watch.tell()


class _Watch(Receiver):
    def __init__(self, watches: NativeWatches, connection: Responder, stream_id: int) -> None:
        self.connection = connection
        self._watches = watches
        self._stream_id = stream_id
        self._message: bytes | None = None
        self._told = b""

    def message(self, message: bytes, now: float) -> None:
        if self._message is not None:
            self._fail(Aborted(StatusCode.UNIMPLEMENTED, "the call carries more than one message"))
            return
        try:
            state = self._watches.add(self, message)
        except Aborted as error:
            self._fail(error)
            return
        self._message = message
        self._send(state)

    def end(self, now: float) -> None:
        if self._message is None:
            self._fail(Aborted(StatusCode.UNIMPLEMENTED, "the call carries no message"))

    def lost(self) -> None:
        self._watches.remove(self)

    def tell(self) -> None:
        """The state may have changed."""
        assert self._message is not None
        state = self._watches.state_of(self._message)
        if state != self._told:
            self._send(state)

    def shut_down(self) -> None:
        """The server, or the connection, is to go."""
        self._fail(_shutting_down())

    def _send(self, state: bytes) -> None:
        self._told = state
        if not self.connection.send_message(self._stream_id, state):
            self._watches.remove(self)

    def _fail(self, error: Aborted) -> None:
        self._watches.remove(self)
        self.connection.fail(self._stream_id, error.code, error.text)


def _shutting_down() -> Aborted:
    return Aborted(StatusCode.UNAVAILABLE, "the server is shutting down")
