"""A client that sends checks over gRPC, for `rls call`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import UInt64Value

from rls.api.service import SHOULD_RATE_LIMIT
from rls.core.model import Descriptor, RateLimit, Request, Unit, to_bytes
from rls.errors import RlsError, SettingsError
from rls.proto import ratelimit_pb2, raw_pb2, rls_pb2

_UNITS = {int(unit): unit for unit in Unit}
# No proxy from the environment and no shared connection: the check must reach this server.
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


class UnansweredError(RlsError):
    """No answer from the server: *code* is the gRPC status, *text* says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


class DescriptorAnswer(NamedTuple):
    """DescriptorStatus; *limit* is None where no limit applied."""

    code: str
    limit: RateLimit | None
    limit_remaining: int
    seconds_until_reset: int


class Answer(NamedTuple):
    """RateLimitResponse, and the *seconds* until it came."""

    code: str
    statuses: Sequence[DescriptorAnswer]
    headers: Sequence[tuple[str, str]]
    metadata: Mapping[str, Any]
    raw_body: bytes
    json: dict[str, Any]
    seconds: float


class ClientTls(NamedTuple):
    """PEM files: authorities to trust (None: the system's), and the certificate to present with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


class Client:
    """Calls the service at *address*, `host:port` or `unix:/path`."""

    def __init__(self, address: str, *, tls: ClientTls | None = None) -> None:
        if tls is None:
            channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.cert))
            name = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
            channel = grpc.secure_channel(address, credentials, (*_OPTIONS, *name))
        self._channel = channel
        self._call = channel.unary_unary(
            SHOULD_RATE_LIMIT,
            request_serializer=raw_pb2.RateLimitRequest.SerializeToString,
            response_deserializer=rls_pb2.RateLimitResponse.FromString,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def check(self, request: Request, *, timeout: float) -> Answer:
        """Send one check and wait up to *timeout* seconds, the time to connect included.

        Raises:
            UnansweredError: There is no answer.
        """
        message = raw_pb2.RateLimitRequest(
            domain=to_bytes(request.domain),
            descriptors=[_descriptor(descriptor) for descriptor in request.descriptors],
            hits_addend=request.hits_addend,
        )
        return self._send(message, timeout)

    def knows_domain(self, domain: str, *, timeout: float) -> bool | None:
        """Whether the server has rules for *domain*; None without an answer. It counts nothing.

        A limit that a request brings holds only in domains that have rules (`rls` and envoyproxy/ratelimit).
        """
        limit = ratelimit_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=1, unit="SECOND")
        entry = raw_pb2.RateLimitDescriptor.Entry(key=b"rls_call_domain", value=b"")
        probe = raw_pb2.RateLimitDescriptor(entries=[entry], limit=limit, hits_addend=UInt64Value(value=0))
        message = raw_pb2.RateLimitRequest(domain=to_bytes(domain), descriptors=[probe])
        try:
            statuses = self._send(message, timeout).statuses
        except UnansweredError:
            return None
        return statuses[0].limit is not None if statuses else None

    def _send(self, message: raw_pb2.RateLimitRequest, timeout: float) -> Answer:
        began = time.perf_counter()
        try:
            response = self._call(message, timeout=timeout)
        except grpc.RpcError as error:
            raise UnansweredError(error.code().name, error.details() or "") from error
        return _answer(response, time.perf_counter() - began)


def _descriptor(descriptor: Descriptor) -> raw_pb2.RateLimitDescriptor:
    entries = [
        raw_pb2.RateLimitDescriptor.Entry(key=to_bytes(key), value=to_bytes(value)) for key, value in descriptor.entries
    ]
    return raw_pb2.RateLimitDescriptor(
        entries=entries,
        hits_addend=None if descriptor.hits_addend is None else UInt64Value(value=descriptor.hits_addend),
    )


def _answer(response: rls_pb2.RateLimitResponse, seconds: float) -> Answer:
    statuses = []
    for status in response.statuses:
        limit = None
        if status.HasField("current_limit"):
            current = status.current_limit
            multiplier = current.unit_multiplier.value if current.HasField("unit_multiplier") else 1
            unit = _UNITS.get(current.unit, Unit.SECOND)
            limit = RateLimit(current.requests_per_unit, unit, multiplier, current.name)
        statuses.append(
            DescriptorAnswer(_code(status.code), limit, status.limit_remaining, status.duration_until_reset.seconds)
        )
    return Answer(
        code=_code(response.overall_code),
        statuses=statuses,
        headers=[(header.key, header.value) for header in response.response_headers_to_add],
        metadata=json_format.MessageToDict(response.dynamic_metadata),
        raw_body=response.raw_body,
        json=json_format.MessageToDict(response),
        seconds=seconds,
    )


def _code(code: int) -> str:
    names = rls_pb2.RateLimitResponse.Code
    return names.Name(code) if code in names.values() else str(code)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
