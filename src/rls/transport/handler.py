"""The port between what carries calls and what answers them.

A **handler** answers the calls of one method. It is registered by its path, `/package.Service/Method`, in a
`ServiceDefinition`, and every transport serves it the same way; tests/transport/test_conformance.py holds them to it.

**Kinds.** They are gRPC's own:

- `Unary(handler)`: `async def handler(call: Call) -> bytes`. One message in, `call.message`; the answer out.
- `ServerStreaming(handler)`: `async def handler(call: StreamingCall) -> None`. One message in, `call.message`; any number
  of messages out, by `await call.send(message)`.
- `Bidirectional(handler)`: `async def handler(call: StreamingCall) -> None`. Messages in, by `async for message in call`,
  and out, by `call.send`, in any order. Client streaming is the case with one message out.

Messages are bytes. To parse and to serialize is the handler's business.

**End.** A unary call ends with OK when its handler returns, a streaming call when its handler does. An exception ends that
one call, never the connection: `Aborted` with its own status, `RlsError` as `status_of` says, anything else with INTERNAL,
its traceback in the log. Messages that were sent before the exception still arrive.

**Cancellation.** A handler runs in a task of its own. The task is cancelled when nobody waits for the answer any more: the
caller reset the call, its connection is gone, its deadline has passed (a unary handler may run on after that); or, for a
streaming call, the server or the connection drains. What a handler sends after that goes to nobody.

**Deadlines.** `call.deadline` is the caller's. A unary call whose deadline passed before it was begun never reaches its
handler, and one that is late is not answered. A streaming call ends with DEADLINE_EXCEEDED at its deadline.

**Overload.** A unary call needs a permit (see `permits`). Without one it is shed before its message is looked at.
A handler may shed a call itself, by raising `Shed`. Streaming calls need no permit. Each streaming method has its own bound,
`max_calls`: it ends further calls with RESOURCE_EXHAUSTED. The last eighth of it is for connections with less than an equal
share.

**Flow control.** `send` returns when all of the message has been handed to the connection, so it waits for a client that reads
slowly; a client that takes nothing for 5 s is reset. What a client sends faster than the handler receives waits in the
client, but for one HTTP/2 window.

**Metadata, peer, trace context** are decoded when they are asked for, and not before.

**Without a task.** A unary handler that is called very often may have a second form, `Unary(handler, direct=...)`. It must
answer the same. A transport that can do so begins its calls in the turn of the loop in which they came, and no object is
made for a call but by the handler itself: see `DirectHandler`. `native` prefers that form; `grpcio` does not know it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from rls.transport.base import OnDrop, ServerPolicy, ignore_drops
from rls.transport.http2 import Request, Responder


class Metadata:
    """The custom metadata of a request: without what HTTP/2 and gRPC use for themselves.

    Names are lower case, and may come more than once; the values of one name are in their order. The value of a name that
    ends with `-bin` is bytes, any other is text.

    Args:
        pairs: Names and values.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str | bytes]] = ()) -> None:
        self._pairs = tuple(pairs)

    def __iter__(self) -> Iterator[tuple[str, str | bytes]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Metadata({list(self._pairs)!r})"

    def get(self, name: str) -> str | None:
        """The first text of *name*; None if the caller sent no such name."""
        return next((value for known, value in self._pairs if known == name and isinstance(value, str)), None)

    def get_bytes(self, name: str) -> bytes | None:
        """The first value of *name*, which ends with `-bin`; None if the caller sent no such name."""
        return next((value for known, value in self._pairs if known == name and isinstance(value, bytes)), None)


class Peer:
    """The client's end of a connection.

    Args:
        address: `host:port`, `[host]:port` or `unix`.
        names: Reads the names of its certificate.
    """

    __slots__ = ("_names", "_read_names", "address")

    def __init__(self, address: str, names: Callable[[], Iterable[str]] = tuple) -> None:
        self.address = address
        self._read_names = names
        self._names: frozenset[str] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Subject alternative names, DNS names and URIs, of the certificate that was verified; empty without mTLS."""
        if self._names is None:
            self._names = frozenset(self._read_names())
        return self._names


class Call(Protocol):
    """One call, as its handler sees it.

    Attributes:
        path: Of its method, `/package.Service/Method`.
        message: The request; b"" where messages come one by one (see `Bidirectional`).
        deadline: When its caller gives up, by `time.monotonic`; None where the caller did not say.
    """

    path: str
    message: bytes
    deadline: float | None

    @property
    def metadata(self) -> Metadata:
        """What the caller sent with the call."""

    @property
    def peer(self) -> Peer:
        """Whose connection it came on."""

    @property
    def traceparent(self) -> str | None:
        """The caller's trace context (W3C Trace Context) as it was sent, not validated; None without one."""
        return self.metadata.get("traceparent")


class StreamingCall(Call, Protocol):
    """A call with many messages. One task receives at a time; any may send."""

    async def receive(self) -> bytes | None:
        """The next message; None after the last one, as often as asked.

        Raises:
            Aborted: The call is over.
        """

    async def send(self, message: bytes) -> None:
        """Send a message, and wait until the connection has taken all of it. Messages go out in the order of the calls.

        Raises:
            Aborted: The call is over.
        """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The messages that come, until the caller has sent all."""
        return self

    async def __anext__(self) -> bytes:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message


class Turn:
    """A server as its direct handlers see it, and the present turn of its loop.

    Args:
        policy: How long callers wait.
        on_drop: To be called for all calls that are not answered.

    Attributes:
        waited: Seconds that what is being read has waited for what was read before it.
        in_task: Makes of a coroutine function, and of `Unary.shed_answer`, a handler that serves each call in a task, as
            those of `Unary.handler` are served. What the handler is given as the message, the function gets.
            Set by the server.
    """

    __slots__ = ("in_task", "on_drop", "policy", "waited")

    in_task: Callable[
        [Callable[[Any], Awaitable[bytes]], bytes | None], Callable[[Responder, int, Request, Any, float], None]
    ]

    def __init__(self, policy: ServerPolicy | None = None, on_drop: OnDrop = ignore_drops) -> None:
        self.policy = policy or ServerPolicy()
        self.on_drop = on_drop
        self.waited = 0.0


DirectHandler: TypeAlias = Callable[[Responder, int, Request, bytes, float], None]
"""Answers calls without a task: `http2.UnaryHandler`."""
Direct: TypeAlias = Callable[[Turn], DirectHandler]
"""Makes a handler for the server whose turns of the loop these are."""
UnaryHandler: TypeAlias = Callable[[Call], Awaitable[bytes]]
StreamHandler: TypeAlias = Callable[[StreamingCall], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Unary:
    """One message in, one out.

    Attributes:
        handler: Answers a call.
        direct: The same without a task.
        needs_permit: Whether calls are shed under overload. Without, a call is answered whatever else is under way, however
            late: for what costs little and never waits.
        shed_answer: The message that answers a call which is shed; None to end it with RESOURCE_EXHAUSTED.
    """

    handler: UnaryHandler
    direct: Direct | None = None
    needs_permit: bool = True
    shed_answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class ServerStreaming:
    """One message in, any number out.

    Attributes:
        handler: Answers a call.
        max_calls: Calls at one time.
    """

    handler: StreamHandler
    max_calls: int = 128


@dataclass(frozen=True, slots=True)
class Bidirectional:
    """Any number of messages in and out.

    Attributes:
        handler: Answers a call.
        max_calls: Calls at one time. Each may hold two messages of the largest size.
    """

    handler: StreamHandler
    max_calls: int = 128


Handler: TypeAlias = Unary | ServerStreaming | Bidirectional


class ServiceDefinition:
    """What a transport serves: handlers by path.

    Args:
        handlers: By `/package.Service/Method`.

    Raises:
        ValueError: A path is none.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        for path in handlers:
            parts = path.split("/")
            if len(parts) != 3 or parts[0] or not all(parts[1:]):
                raise ValueError(f"{path!r} is not a method: expected /package.Service/Method")
        self.handlers = dict(handlers)

    @property
    def services(self) -> list[str]:
        """The names of the services, sorted: `package.Service`."""
        return sorted({path.split("/")[1] for path in self.handlers})
