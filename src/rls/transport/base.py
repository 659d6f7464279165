"""What every transport takes and offers, beside the handlers (see `handler`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from rls.transport.status import Aborted, StatusCode


class Dropped(StrEnum):
    """Why a call was not decided by its rules, or not in time.

    QUEUED: most of its time was over before its turn came. EXPIRED: its deadline had passed before it was begun. LATE: its
    deadline passed while it was being answered. CANCELLED: the caller gave up while it was being answered. SHED: there was
    no permit for it (see `Permits`). LARGE: it has many descriptors, and too many such calls wait. INCOMPLETE: too many
    calls were half sent. STREAM: a streaming call, of which as many are open as may be. Only calls that are LATE or
    CANCELLED are counted.
    """

    QUEUED = "queued"
    EXPIRED = "expired"
    LATE = "late"
    CANCELLED = "cancelled"
    SHED = "shed"
    LARGE = "large"
    INCOMPLETE = "incomplete"
    STREAM = "stream"

    @property
    def kind(self) -> str:
        """Which calls it is about, for metrics."""
        return self.value if self in _SHED_BY_KIND else "check"

    @property
    def reason(self) -> str:
        """What happened to them, for metrics."""
        return "shed" if self in _SHED_BY_KIND else self.value


_SHED_BY_KIND = frozenset({Dropped.LARGE, Dropped.INCOMPLETE, Dropped.STREAM})


class Shed(Aborted):
    """Ends a call that there is no room or time for; its caller gets the handler's `shed_answer` if there is one."""

    def __init__(self, text: str, why: Dropped = Dropped.SHED) -> None:
        super().__init__(StatusCode.RESOURCE_EXHAUSTED, text)
        self.why = why


class Closed(StrEnum):
    """Why the server closed a connection that its client kept open.

    TOO_MANY: as many were open as may be. HANDSHAKE: TLS failed or took too long. NO_ALPN: the client did not agree to
    HTTP/2. AGE: it was too old, or the certificates had changed. SLOW_READER: the client did not read its answers.
    TIMEOUT: a request did not arrive in time. CLIENT_ERROR: the client broke the protocol or a bound.
    """

    TOO_MANY = "too_many"
    HANDSHAKE = "handshake"
    NO_ALPN = "no_alpn"
    AGE = "age"
    SLOW_READER = "slow_reader"
    TIMEOUT = "timeout"
    CLIENT_ERROR = "client_error"


def _ignore(_: str) -> None:
    """A report that nobody reads."""


class Connections:
    """The connections of one listener, for metrics and the enforcement state.

    Args:
        on_refused: Called with a text when a connection is closed because as many are open as may be.
        on_no_files: Called with a text when no connection can be accepted for lack of file descriptors.
        on_handshake: Called with the client's address and a reason when its TLS handshake fails.

    Attributes:
        closed: Connections that the server closed, by reason.
        accept_errors: Times that accept failed for lack of file descriptors. The connection stays in the queue.
        limit: Connections that may be open; 0 where the listener does not know it.
        count: Says how many are open; None where the listener does not know it.
    """

    def __init__(
        self,
        on_refused: Callable[[str], None] = _ignore,
        on_no_files: Callable[[str], None] = _ignore,
        on_handshake: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self.closed = Counter[Closed]()
        self.accept_errors = 0
        self.limit = 0
        self.count: Callable[[], int] | None = None
        self.on_refused = on_refused
        self._on_no_files = on_no_files
        self._on_handshake = on_handshake

    def begin(self, count: Callable[[], int], limit: int, reasons: Iterable[Closed]) -> None:
        """The listener serves, and counts: see the attributes. *reasons* are those for which it closes connections."""
        self.count, self.limit = count, limit
        self.closed.update(dict.fromkeys(reasons, 0))

    def closed_by_reason(self) -> Iterable[tuple[str, int]]:
        """How many connections the server closed, by reason."""
        return [(str(why), number) for why, number in self.closed.items()]

    def handshake_failed(self, client: str, reason: str, why: Closed = Closed.HANDSHAKE) -> None:
        """A connection was closed whose TLS handshake failed."""
        self.closed[why] += 1
        self._on_handshake(client, reason)

    def no_files(self, address: str, error: OSError) -> None:
        """Accept has failed on *address*, for lack of file descriptors."""
        self.accept_errors += 1
        self._on_no_files(f"no connection can be accepted on {address}: {error.strerror}")


class CertificateStatus:
    """What is to be known about the server's certificate.

    Args:
        on_not_loaded: Called with the reason why changed files are not in force; "" once they are.
        on_expired: Called with a text while the certificate in force has expired; "" while it has not.

    Attributes:
        expires_at: When the certificate in force expires, in Unix seconds; None without TLS.
    """

    def __init__(
        self, on_not_loaded: Callable[[str], None] = _ignore, on_expired: Callable[[str], None] = _ignore
    ) -> None:
        self.expires_at: float | None = None
        self.on_not_loaded = on_not_loaded
        self.on_expired = on_expired


class Calls:
    """The calls of a server, for metrics.

    Attributes:
        in_progress: Returns how many unary calls are whole and not answered.
    """

    def __init__(self) -> None:
        self.in_progress: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """How long a server waits.

    Attributes:
        default_deadline: Seconds that a caller without a deadline is assumed to wait.
        max_service_time: Seconds in which every answer comes. A call with a nearer deadline is watched by a timer of its
            own; the others are answered anyway.
        max_connection_age: Seconds after which a connection is told to go away, ±10 %, so that clients spread over new pods;
            0 for never.
        max_connection_age_grace: Seconds that its calls in flight then have; 0 for as long as they take.
        drain_timeout: Seconds that calls in flight have to finish when the server stops.
    """

    default_deadline: float = 0.02
    max_service_time: float = 0.0
    max_connection_age: float = 0.0
    max_connection_age_grace: float = 0.0
    drain_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How much of a server clients can take. Streaming calls are bounded by their methods (see `handler`).

    Attributes:
        max_concurrent_streams: Calls in flight on one connection.
        max_connections: Connections; further ones are closed. 0 for no limit.
        max_concurrency: Unary calls in progress. Others are shed, except the first call of each connection. `Permits` lowers
            the number while calls wait for the CPU. 0 for no limit.
        max_message_bytes: Bytes of a message that is received, as sent and inflated; at least `grpc_framing.SHORT`.
    """

    max_concurrent_streams: int = 100
    max_connections: int = 10_000
    max_concurrency: int = 0
    max_message_bytes: int = 1_048_576


class OnDrop(Protocol):
    """Counts unary calls that were dropped, all for one reason."""

    def __call__(self, why: Dropped, count: int = 1, /) -> None: ...


def ignore_drops(_why: Dropped, _count: int = 1, /) -> None:
    """An `OnDrop` that does nothing."""


@dataclass(frozen=True, slots=True)
class ServerReports:
    """Where a server reports what happens.

    Attributes:
        on_drop: Called for all unary calls that were dropped.
        on_limit: Called with how many unary calls may be in progress, at first and whenever that changes.
        connections: Where it counts its connections.
        certificate: Where it reports on its certificate.
        calls: Where it says how many calls are in progress.
    """

    on_drop: OnDrop = ignore_drops
    on_limit: Callable[[int], None] = lambda _: None
    connections: Connections = field(default_factory=Connections)
    certificate: CertificateStatus = field(default_factory=CertificateStatus)
    calls: Calls = field(default_factory=Calls)


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

    async def listening(self) -> None:
        """Check every second whether clients can connect, until cancelled. Only after `start`.

        Raises:
            OSError: Nobody listens any more.
        """

    async def aclose(self) -> None:
        """Stop accepting, let calls in flight finish, close. Idempotent."""


async def first_ended(serving: Awaitable[None], certificates: asyncio.Task[None] | None) -> None:
    """Wait until one of the parts that a server lives by has ended; raise what ended it."""
    task = asyncio.ensure_future(serving)
    try:
        done, _ = await asyncio.wait(
            [task] if certificates is None else [task, certificates], return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        task.cancel()
    for part in done:
        part.result()
