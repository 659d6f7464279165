"""The floor: h2corn that answers every call with the same bytes, without anything of ours in between."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import h2corn
import uvloop

from rls.process import yield_to_python

Event: TypeAlias = MutableMapping[str, Any]

_START: Event = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/grpc")],
    "trailers": True,
}
_BODY: Event = {"type": "http.response.body", "body": b"\0\0\0\0\2\x08\x01"}  # RateLimitResponse.overall_code: OK
_OK: Event = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


async def app(scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
    del scope
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)
    await send(_OK)


async def main() -> None:
    config = h2corn.Config(
        bind=(f"127.0.0.1:{sys.argv[1]}",),
        grpc=True,
        http1=False,
        access_log=False,
        date_header=False,
        lifespan="off",
        runtime_threads=1,
    )
    await h2corn.Server(app, config).serve()


if __name__ == "__main__":
    yield_to_python()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
