"""What every transport takes and offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rls.transport.health import Health
from rls.transport.http2 import Request, Responder, UnaryHandler
from rls.transport.wire import Aborted, StatusCode


class Turn:
    """The present turn of the loop.

    Attributes:
        waited: Seconds that what is being read has waited for what was read before it.
        in_task: Makes a handler that serves each call in a task, which is cancelled when its caller is gone. Set by the
            server.
    """

    __slots__ = ("in_task", "waited")

    in_task: Callable[[AnyHandler], AnyUnaryHandler]

    def __init__(self) -> None:
        self.waited = 0.0


Direct: TypeAlias = Callable[[Turn], UnaryHandler]
"""Makes a handler that needs no task, for a server whose turns of the loop are these."""
Handler: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Answers one message with one; raises RlsError or Aborted."""
AnyHandler: TypeAlias = Callable[[Any], Awaitable[bytes]]
"""As `Handler`, of a message or of what became of it."""
AnyUnaryHandler: TypeAlias = Callable[[Responder, int, Request, Any, float], None]
"""As `http2.UnaryHandler`, of a message or of what became of it."""


class Dropped(StrEnum):
    """Why a call was not decided by its rules, or not in time.

    QUEUED: most of its time was over before its turn came. EXPIRED: its deadline had passed before it was begun. LATE: its
    deadline passed while it was being answered. CANCELLED: the caller gave up while it was being answered. SHED: there was
    no permit for it (see `Permits`), or too many calls were half sent. Calls that are QUEUED, EXPIRED or SHED are not
    counted. What h2corn sheds by itself is not among them.
    """

    QUEUED = "queued"
    EXPIRED = "expired"
    LATE = "late"
    CANCELLED = "cancelled"
    SHED = "shed"


class Shed(Aborted):
    """Ends a call that there is no room or time for; its caller gets `Calls.shed_answer` if there is one."""

    def __init__(self, text: str, why: Dropped = Dropped.SHED) -> None:
        super().__init__(StatusCode.RESOURCE_EXHAUSTED, text)
        self.why = why


@dataclass(frozen=True, slots=True)
class Calls:
    """What a transport serves.

    Attributes:
        unary: Handlers by path.
        direct: Handlers by path that need no task; the native transport prefers them to those of `unary`. The other
            transports do not know them, so each path is in `unary` as well.
        health: The state that gRPC health checks are told.
        caller_timeout: Seconds after which a caller without a deadline is taken to have given up.
        unhurried: Seconds within which every answer is there: a caller that waits for less is not waited for longer.
        max_message_bytes: Bytes of a message, sent and inflated; at least `wire.SHORT`.
        shed_answer: The message that answers a call which is shed or was queued for too long; None for an error.
        on_drop: Is told of every call that was dropped.
        on_limit: Is told how many calls may be in progress, at first and whenever that changes.
    """

    unary: Mapping[str, Handler]
    health: Health
    caller_timeout: float = 0.02
    unhurried: float = 0.0
    max_message_bytes: int = 1_048_576
    shed_answer: bytes | None = None
    on_drop: Callable[[Dropped], None] = lambda _: None
    on_limit: Callable[[int], None] = lambda _: None
    direct: Mapping[bytes, Direct] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a transport clients can take.

    Attributes:
        max_streams: Calls in flight on one connection.
        max_connections: Connections; what is over is closed. 0 for no limit.
        max_concurrency: Calls in progress; what is over is shed. Fewer while calls wait for the CPU (see `Permits`). 0 for
            no limit.
        max_watches: Health.Watch calls.
        drain: Seconds that calls in flight have to finish when the server stops.
    """

    max_streams: int = 100
    max_connections: int = 2000
    max_concurrency: int = 0
    max_watches: int = 16
    drain: float = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of the server, read again when they change.

    Attributes:
        cert: Certificate chain, leaf first.
        key: Its private key, unencrypted.
        client_ca: CA that every client's certificate must come from; None where clients need no certificate.
        client_san: DNS names or URIs, such as SPIFFE identities; a client's certificate must hold one of them. Empty
            where any will do.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None
    client_san: tuple[str, ...] = ()


class Transport(Protocol):
    """A gRPC server, from start to drain."""

    @property
    def address(self) -> str:
        """Where it listens: the port is the one that the kernel gave. Only after `start`."""

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            SettingsError: The address is taken or unusable, or the certificates are.
        """

    async def ended(self) -> None:
        """Return when it serves no more; raise what ended it. Only after `start`."""

    async def aclose(self) -> None:
        """Stop accepting, let calls in flight finish, close. Idempotent."""
