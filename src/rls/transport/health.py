"""gRPC health checking (grpc/health/v1/health.proto) that tells the truth about the loop that it runs in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from google.protobuf.message import DecodeError

from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.status import Aborted, StatusCode

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVICES = frozenset({"", "ratelimit"})
_BEAT = 0.25
_STALL = 1.0


class Health:
    """Whether the service can be relied upon: it was told so, and its loop has turned within the last second.

    A loop that is stuck answers nothing. The first answers after a stall still say NOT_SERVING, whatever runs first:
    SERVING takes two beats less than a second apart.

    Args:
        clock: Seconds.
        on_stall: Called with each beat but the first: seconds that the loop stood still, 0 where it did not.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_stall: Callable[[float], None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._on_stall = on_stall
        self._serving = False
        self._steady = False
        self._beat_at = float("-inf")
        self._announced = False
        self._changed = asyncio.Event()
        self.on_change: list[Callable[[], None]] = []
        """Called whenever `serving` has changed."""

    @property
    def serving(self) -> bool:
        """Whether to say SERVING."""
        return self._serving and self.turning

    @property
    def turning(self) -> bool:
        """Whether the loop has turned within the last second, and before."""
        return self._steady and self._clock() - self._beat_at < _STALL

    def set(self, *, serving: bool) -> None:
        """Say what the service is meant to be."""
        self._serving = serving
        self._announce()

    def beat(self) -> None:
        """The loop has turned."""
        now = self._clock()
        pause = now - self._beat_at
        first, self._beat_at = self._beat_at == float("-inf"), now
        self._steady = pause < _STALL
        if not first:
            self._on_stall(0 if self._steady else pause)
        self._announce()

    async def run(self) -> None:
        """Beat until cancelled; without this, the answer is NOT_SERVING."""
        # The first two beats in a row: a service that has just started need not wait for its second.
        self.beat()
        while True:
            self.beat()
            await asyncio.sleep(_BEAT)

    async def check(self, message: bytes) -> bytes:
        """Health.Check, for transports that await their handlers."""
        return self.answer(message)

    def answer(self, message: bytes) -> bytes:
        """Health.Check.

        Raises:
            Aborted: NOT_FOUND for a service that is not ours, INVALID_ARGUMENT for a message that is none.
        """
        if _service(message) not in SERVICES:
            raise Aborted(StatusCode.NOT_FOUND, "unknown service")
        return _RESPONSES[self.serving]

    def state_of(self, message: bytes) -> bytes:
        """What Health.Watch tells of the service that *message* names.

        Raises:
            Aborted: INVALID_ARGUMENT for a message that is none.
        """
        return _RESPONSES[self.serving] if _service(message) in SERVICES else _SERVICE_UNKNOWN

    async def watch(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Health.Watch: the state now and after each change, until closed."""
        known = _service(message) in SERVICES
        last = None
        while True:
            changed = self._changed
            response = _RESPONSES[self.serving] if known else _SERVICE_UNKNOWN
            if response is not last:
                last = response
                yield response
            await changed.wait()

    def _announce(self) -> None:
        serving = self.serving
        if serving is not self._announced:
            self._announced = serving
            self._changed.set()
            self._changed = asyncio.Event()
            for told in tuple(self.on_change):
                told()


class Watches:
    """The Health.Watch calls of one server: bounded in number, and ended when it drains.

    Each holds one of the server's calls in flight for as long as its client likes.
    """

    def __init__(self, health: Health, at_most: int) -> None:
        self._health = health
        self._at_most = at_most
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    async def stream(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """One watch, in the task of its call.

        Raises:
            Aborted: RESOURCE_EXHAUSTED where there are too many, UNAVAILABLE when the server drains.
        """
        if len(self._tasks) >= self._at_most:
            raise Aborted(StatusCode.RESOURCE_EXHAUSTED, f"more than {self._at_most} watches")
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            self._refuse_when_closed()
            async for response in self._health.watch(message):
                yield response
        except asyncio.CancelledError:
            if self._closed and task.uncancel() == 0:
                self._refuse_when_closed()
            raise
        finally:
            self._tasks.discard(task)

    def close(self) -> None:
        """End all watches, and all to come."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Aborted(StatusCode.UNAVAILABLE, "the server is shutting down")


def _service(message: bytes) -> str:
    try:
        return HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise Aborted(StatusCode.INVALID_ARGUMENT, "the message is not a HealthCheckRequest") from None


def _response(status: HealthCheckResponse.ServingStatus) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()


_RESPONSES = {
    True: _response(HealthCheckResponse.SERVING),
    False: _response(HealthCheckResponse.NOT_SERVING),
}
_SERVICE_UNKNOWN = _response(HealthCheckResponse.SERVICE_UNKNOWN)
