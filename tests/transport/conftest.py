import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import pytest

from rls.transport.base import Calls, CertificateStatus, Connections, Dropped, Limits, Tls, Transport
from rls.transport.grpcio.server import GrpcioTransport
from rls.transport.health import CHECK, Health
from rls.transport.native.server import NativeTransport

TRANSPORTS = {"native": NativeTransport, "grpcio": GrpcioTransport}


@pytest.fixture(params=TRANSPORTS)
def kind(request):
    return request.param


class Reports(NamedTuple):
    """What a transport reports: connections refused, lack of files, certificates that are not in force or expired."""

    refused: list[str]
    no_files: list[str]
    not_loaded: list[str]
    expired: list[str]


class Served(NamedTuple):
    """A transport that serves, with what its test may look at or change."""

    transport: Transport
    health: Health
    dropped: list[Dropped]
    connections: Connections
    certificate: CertificateStatus
    reports: Reports

    @property
    def address(self) -> str:
        return self.transport.address


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(kind) -> AsyncIterator[Serve]:
    """Starts transports of the kind under test, on free ports unless told otherwise."""
    started: list[tuple[Transport, asyncio.Task[None]]] = []

    async def start(
        unary=None,
        *,
        address="127.0.0.1:0",
        limits: Limits | None = None,
        tls: Tls | None = None,
        options=None,
        **calls,
    ) -> Served:
        health = Health()
        health.set(serving=True)
        dropped: list[Dropped] = []
        handlers = {**(unary or {}), CHECK: health.check}
        # Envoy's 20 ms are over before a busy machine has read all of a call.
        calls.setdefault("caller_timeout", 10.0)
        reports = Reports([], [], [], [])
        connections = Connections(reports.refused.append, reports.no_files.append)
        certificate = CertificateStatus(reports.not_loaded.append, reports.expired.append)
        served = Calls(
            handlers, health, on_drop=dropped.append, connections=connections, certificate=certificate, **calls
        )
        transport = TRANSPORTS[kind](served, address, limits=limits, tls=tls, **(options or {}))
        await transport.start()
        started.append((transport, asyncio.create_task(health.run())))
        return Served(transport, health, dropped, connections, certificate, reports)

    yield start
    for transport, beating in reversed(started):
        await transport.aclose()
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return when *condition* holds; fail when it takes too long."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come to hold"
        await asyncio.sleep(0.005)
