"""A client that sends checks over gRPC, for `rls call`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple, Self

import grpc

from rls.api.health import CHECK as HEALTH_CHECK
from rls.api.messages import Answer, answer_of, message_of
from rls.api.service import SHOULD_RATE_LIMIT
from rls.core.model import Descriptor, Entry, RateLimit, Request, Unit
from rls.errors import RlsError, SettingsError
from rls.proto import health_pb2, raw_pb2, rls_pb2

# No proxy from the environment and no shared connection: the check must reach this server.
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


class UnansweredError(RlsError):
    """No answer from the server: *code* is the gRPC status, *text* says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text


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

        self._health = channel.unary_unary(
            HEALTH_CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
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
        return self._send(message_of(request), timeout)

    def knows_domain(self, domain: str, *, timeout: float) -> bool | None:
        """Whether the server has rules for *domain*; None without an answer. It counts nothing.

        A limit that a request brings holds only in domains that have rules (`rls` and envoyproxy/ratelimit).
        """
        probe = Descriptor((Entry("rls_call_domain", ""),), RateLimit(1, Unit.SECOND), hits_addend=0)
        try:
            statuses = self.check(Request(domain, (probe,)), timeout=timeout).statuses
        except UnansweredError:
            return None
        return statuses[0].limit is not None if statuses else None

    def health(self, *, timeout: float) -> str:
        """What gRPC health checking says of the server: `SERVING`, or another name of grpc.health.v1.

        Raises:
            UnansweredError: There is no answer.
        """
        try:
            response = self._health(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise UnansweredError(error.code().name, error.details() or "") from error
        return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)

    def _send(self, message: raw_pb2.RateLimitRequest, timeout: float) -> Answer:
        began = time.perf_counter()
        try:
            response = self._call(message, timeout=timeout)
        except grpc.RpcError as error:
            raise UnansweredError(error.code().name, error.details() or "") from error
        return answer_of(response, time.perf_counter() - began)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
