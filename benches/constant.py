"""The floor: the HTTP/2 of `rls` with a constant answer, without anything else of it behind."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from rls.api.service import SHOULD_RATE_LIMIT
from rls.transport.base import ServerLimits
from rls.transport.handler import Call, DirectHandler, ServiceDefinition, Turn, Unary
from rls.transport.http2 import Request, Responder
from rls.transport.native.server import NativeTransport

_ANSWER = b"\x08\x01"  # RateLimitResponse.overall_code: OK


async def _answer(_: Call) -> bytes:
    return _ANSWER


def _constant(_: Turn) -> DirectHandler:
    def answer(connection: Responder, stream_id: int, *_: Request | bytes | float) -> None:
        connection.respond(stream_id, _ANSWER)

    return answer


async def main() -> None:
    service = ServiceDefinition({SHOULD_RATE_LIMIT: Unary(_answer, _constant)})
    limits = ServerLimits(max_concurrent_streams=1_000)
    server = NativeTransport(service, f"127.0.0.1:{sys.argv[1]}", limits=limits)
    await server.start()
    await server.ended()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
