import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import pytest

from rls.api.health import Health
from rls.transport.base import (
    Calls,
    CertificateStatus,
    Connections,
    Dropped,
    ServerLimits,
    ServerPolicy,
    ServerReports,
    Tls,
    Transport,
)
from rls.transport.grpcio.server import GrpcioTransport
from rls.transport.handler import Handler, ServiceDefinition, Unary
from rls.transport.native.server import NativeTransport

TRANSPORTS = {"native": NativeTransport, "grpcio": GrpcioTransport}


@pytest.fixture(params=TRANSPORTS)
def kind(request):
    return request.param


class Reports(NamedTuple):
    """What a transport reports: connections refused, lack of files, certificates not in force or expired, failed handshakes."""

    refused: list[str]
    no_files: list[str]
    not_loaded: list[str]
    expired: list[str]
    handshakes: list[tuple[str, str]]


class Served(NamedTuple):
    """A transport that serves, with what its test may look at or change."""

    transport: Transport
    health: Health
    dropped: list[Dropped]
    connections: Connections
    certificate: CertificateStatus
    reports: Reports
    calls: Calls

    @property
    def address(self) -> str:
        return self.transport.address


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(kind) -> AsyncIterator[Serve]:
    """Starts transports of the kind under test, on free ports unless told otherwise."""
    started: list[tuple[Transport, asyncio.Task[None]]] = []

    async def start(
        handlers=None,
        *,
        address="127.0.0.1:0",
        limits: ServerLimits | None = None,
        tls: Tls | None = None,
        options=None,
        **policy,
    ) -> Served:
        """*handlers* by path; a coroutine function among them is a unary one."""
        health = Health()
        health.set(serving=True)
        dropped: list[Dropped] = []

        def on_drop(why: Dropped, count: int = 1, /) -> None:
            dropped.extend([why] * count)

        service = ServiceDefinition({path: as_handler(one) for path, one in (handlers or {}).items()} | health.handlers)
        # Envoy's 20 ms are over before a busy machine has read all of a call.
        policy.setdefault("default_deadline", 10.0)
        reports = Reports([], [], [], [], [])
        connections = Connections(
            reports.refused.append, reports.no_files.append, lambda *failed: reports.handshakes.append(failed)
        )
        certificate = CertificateStatus(reports.not_loaded.append, reports.expired.append)
        calls = Calls()
        transport = TRANSPORTS[kind](
            service,
            address,
            policy=ServerPolicy(**policy),
            limits=limits,
            reports=ServerReports(on_drop, connections=connections, certificate=certificate, calls=calls),
            tls=tls,
            **(options or {}),
        )
        await transport.start()
        started.append((transport, asyncio.create_task(health.run())))
        return Served(transport, health, dropped, connections, certificate, reports, calls)

    yield start
    for transport, beating in reversed(started):
        await transport.aclose()
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when *condition* holds; fail when it takes too long."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come to hold"
        await asyncio.sleep(0.005)


def as_handler(handler) -> Handler:
    """*handler*, of a unary method where it does not say."""
    return Unary(handler) if callable(handler) else handler


def direct(make) -> Unary:
    """A unary handler that the native transport serves without a task, by what *make* makes; no other can serve it."""

    async def without(_call) -> bytes:
        raise AssertionError("a transport without direct handlers")

    return Unary(without, make)
