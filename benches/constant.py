"""The floor: the HTTP/2 of `rls` with a constant answer, without anything else of it behind."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from rls.api.service import SHOULD_RATE_LIMIT
from rls.transport.base import Calls, Direct, Limits, Turn
from rls.transport.health import Health
from rls.transport.http2 import Request, Responder, UnaryHandler
from rls.transport.native.server import NativeTransport

_ANSWER = b"\x08\x01"  # RateLimitResponse.overall_code: OK


def _constant(_: Turn) -> UnaryHandler:
    def answer(connection: Responder, stream_id: int, *_: Request | bytes | float) -> None:
        connection.respond(stream_id, _ANSWER)

    return answer


async def main() -> None:
    direct: dict[bytes, Direct] = {SHOULD_RATE_LIMIT.encode(): _constant}
    server = NativeTransport(
        Calls({}, Health(), direct=direct), f"127.0.0.1:{sys.argv[1]}", limits=Limits(max_streams=1_000)
    )
    await server.start()
    await server.ended()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
