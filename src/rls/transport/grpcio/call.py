"""One call of the grpcio transport, as its handler sees it."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias, cast
from urllib.parse import unquote

import grpc

from rls.transport.handler import Call, Metadata, Peer, StreamingCall
from rls.transport.status import Aborted, StatusCode

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

_CANCEL_SECONDS = 0.005
_LATE_CANCEL_SECONDS = 1.0


class GrpcioCall(Call):
    """See `Call`."""

    def __init__(self, path: str, message: bytes, context: Context) -> None:
        self.path = path
        self.message = message
        left = seconds_left(context)
        self.deadline = None if left is None else time.monotonic() + left
        self.context = context

    @property
    def metadata(self) -> Metadata:
        """See `Call`."""
        return Metadata((str(name), value) for name, value in self.context.invocation_metadata() or ())

    @property
    def peer(self) -> Peer:
        """See `Call`."""
        return Peer(_address(self.context.peer()), lambda: names_of(self.context))


class GrpcioStreamingCall(GrpcioCall, StreamingCall):
    """See `StreamingCall`."""

    def __init__(self, path: str, message: bytes, context: Context) -> None:
        super().__init__(path, message, context)
        self._sending = asyncio.Lock()  # grpc takes one message at a time
        self._half_closed = False

    async def receive(self) -> bytes | None:
        """See `StreamingCall`."""
        if self._half_closed:
            return None
        try:
            message: object = await self.context.read()
        except grpc.aio.BaseError:
            raise _over() from None
        if isinstance(message, bytes):
            return message
        # grpc says the same of a call that is over, and cancels it a moment later: let it.
        left = seconds_left(self.context)
        await asyncio.sleep(_CANCEL_SECONDS if left is None or left > 0 else _LATE_CANCEL_SECONDS)
        self._half_closed = True
        return None

    async def send(self, message: bytes) -> None:
        """See `StreamingCall`."""
        async with self._sending:
            try:
                await self.context.write(message)
            except grpc.aio.BaseError:
                raise _over() from None


def _over() -> Aborted:
    return Aborted(StatusCode.CANCELLED, "the call is over")


def seconds_left(context: Context) -> float | None:
    """Until the deadline of a call; None where the caller set none, which the stubs do not know."""
    return cast("float | None", context.time_remaining())


def names_of(context: Context) -> list[str]:
    """DNS names and URIs of the client's certificate; grpc has its other alternative names among them."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return [name.decode("latin-1") for name in names]


def _address(peer: str) -> str:
    """Of what grpc calls a peer: `ipv4:host:port`, `ipv6:%5Bhost%5D:port`, `unix:...`."""
    family, _, address = peer.partition(":")
    return unquote(address) if family in ("ipv4", "ipv6") else "unix"
