"""grpc.aio's server with an accept loop of ours.

grpc.aio's own loop asks its core for one call at a time, and decodes the call's path as UTF-8 outside of any handler. So a
path with another byte ends the loop, and with it the server; and calls that the core has taken, but not handed over, are
cancelled when the server stops (grpc/grpc#41785). Nothing public reaches either. Here every method is registered with the
core, which compares paths as bytes and says by which request a call was matched, so no path is ever decoded; and so many
requests wait in the core that it never has to keep a call back.

This uses names that are private to grpcio; tests/test_private_apis.py fails where they change.
"""

# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined] # not in the stubs

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

_READY_FOR = 512
"""Calls of one method that may come in one turn of the loop."""
_OTHERS = 8
_PAUSE = 0.01
# It logs each header that is not UTF-8, with a traceback: a client could fill the log.
logging.getLogger(cygrpc.__name__).addFilter(lambda record: not str(record.msg).startswith("Invalid encoding"))


class _Resolver:
    """Finds the handler of one method whatever is looked for; None is answered with UNIMPLEMENTED."""

    def __init__(self, handler: Handler | None) -> None:
        self._handler = handler

    def resolve_handler(self, _: object) -> Handler | None:
        return self._handler


class GrpcServer(cygrpc.AioServer):  # type: ignore[misc]
    """A server of registered methods; what it lacks of `grpc.aio.Server` is what this project does not use.

    Args:
        options: Channel arguments.
    """

    def __init__(self, options: Iterable[tuple[str, int]]) -> None:
        self._methods: dict[bytes, Handler] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self.taken = 0
        """Calls so far."""
        self._ends: list[asyncio.Future[None]] = []
        super().__init__(cygrpc.get_working_loop(), None, (), (), tuple(options), None)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Generated code calls this beside the next."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Serve *handlers*, by the names of their methods, as *service*."""
        paths = {f"/{service}/{name}": handler for name, handler in handlers.items()}
        self._methods |= {path.encode(): handler for path, handler in paths.items()}
        super().add_registered_method_handlers(paths)

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[None]:
        """What grpc.aio's loop waits for: never a call, only the end."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        many = _READY_FOR if method is not None else _OTHERS
        workers = [asyncio.create_task(self._accept(method)) for _ in range(many)]
        gathered = asyncio.gather(*workers)

        def end(all_of_them: asyncio.Future[list[None]]) -> None:
            error = None if all_of_them.cancelled() else all_of_them.exception()
            if not ended.done():
                ended.set_exception(error or cygrpc._RequestCallError())

        gathered.add_done_callback(end)
        self._ends.append(ended)
        return ended

    async def ended(self) -> None:
        """Return, or raise why, when it serves no more."""
        stopped = asyncio.create_task(self.wait_for_termination(None))
        try:
            # grpc.aio does not tell of a loop that was cancelled.
            await asyncio.wait([stopped, *self._ends], return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                stopped.result()
        finally:
            stopped.cancel()

    async def _accept(self, method: bytes | None) -> None:
        """Take calls of *method*, or those of no method that is served, until the server stops."""
        loop = asyncio.get_running_loop()
        resolver = _Resolver(None if method is None else self._methods[method])
        name = "unknown" if method is None else method.decode()
        while self.is_running():
            try:
                if method is None:
                    state = await self._request_call()
                else:
                    state = await self._request_registered_call(method)
            except cygrpc._RequestCallError:
                if self.is_running():
                    await asyncio.sleep(_PAUSE)
                continue
            rpc = cygrpc._handle_rpc(name, resolver, (), state, loop, False)
            self.taken += 1
            call = loop.create_task(cygrpc._schedule_rpc_coro(rpc, state, loop, name))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
