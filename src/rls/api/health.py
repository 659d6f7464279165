"""gRPC health checking (grpc/health/v1/health.proto), which also notices when the event loop stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError

from rls.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rls.transport.handler import Call, Handler, ServerStreaming, StreamingCall, Unary
from rls.transport.status import Aborted, StatusCode

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVICES = frozenset({"", "ratelimit"})
_BEAT = 0.25
_STALL = 1.0
_MAX_WATCHES = 18
"""At one time: 16 of one connection, and two more that are kept for others."""


class Health:
    """Whether the service is serving: it was set so, and its loop has turned within the last second.

    A loop that is stuck answers nothing. The first answers after a stall still say NOT_SERVING, whatever runs first:
    SERVING takes two beats less than a second apart.

    Args:
        clock: Seconds.
        on_stall: Called with each beat but the first: seconds that the loop stood still, 0 if it did not.
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

    @property
    def handlers(self) -> dict[str, Handler]:
        """Check and Watch, by path."""
        return {
            CHECK: Unary(self.check, needs_permit=False),
            WATCH: ServerStreaming(self.watch, max_calls=_MAX_WATCHES),
        }

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

    async def check(self, call: Call) -> bytes:
        """Health.Check.

        Raises:
            Aborted: NOT_FOUND for an unknown service, INVALID_ARGUMENT for a malformed message.
        """
        if _service(call.message) not in SERVICES:
            raise Aborted(StatusCode.NOT_FOUND, "unknown service")
        return _RESPONSES[self.serving]

    async def watch(self, call: StreamingCall) -> None:
        """Health.Watch: sends the state, and then every change.

        Raises:
            Aborted: INVALID_ARGUMENT for a malformed message.
        """
        known = _service(call.message) in SERVICES
        sent = None
        while True:
            changed = self._changed
            response = _RESPONSES[self.serving] if known else _SERVICE_UNKNOWN
            if response is not sent:
                await call.send(response)
                sent = response
            await changed.wait()

    def _announce(self) -> None:
        serving = self.serving
        if serving is not self._announced:
            self._announced = serving
            self._changed.set()
            self._changed = asyncio.Event()


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
