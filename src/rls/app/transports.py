"""Settings → what speaks gRPC, and what answers hold. Beside `app`, what knows the transports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rls.api.direct import RateLimitHandler
from rls.api.encode import ALLOW_ALL, DENY_ALL, ResponseOptions
from rls.api.service import SHOULD_RATE_LIMIT, Service
from rls.core.headers import HeaderNames
from rls.engine.enforcement import HOLD_SECONDS, EnforcementState, Reason
from rls.observe.connections import show_certificate, show_connections
from rls.observe.metrics import Metrics
from rls.settings import Settings
from rls.transport.base import Calls, CertificateStatus, Connections, Dropped, Limits, Tls, Transport
from rls.transport.grpcio.server import GrpcioTransport
from rls.transport.health import CHECK, Health
from rls.transport.native.server import NativeTransport

_FINISH_SECONDS = 5.0
"""What calls in flight have after the drain."""
_SHED_ANSWERS = {"error": None, "deny": DENY_ALL, "allow": ALLOW_ALL}


class Sockets:
    """The connections of each listener and the certificate of gRPC, as metrics and in *enforcement*."""

    def __init__(self, metrics: Metrics, enforcement: EnforcementState) -> None:
        reporter = enforcement.reporter
        no_files = reporter(Reason.FILE_DESCRIPTORS_EXHAUSTED, seconds=HOLD_SECONDS)
        self.grpc = Connections(reporter(Reason.CONNECTIONS_REFUSED, seconds=HOLD_SECONDS), no_files)
        self.http, self.admin = Connections(on_no_files=no_files), Connections(on_no_files=no_files)
        self.certificate = CertificateStatus(
            reporter(Reason.CERTIFICATE_NOT_LOADED), reporter(Reason.CERTIFICATE_EXPIRED)
        )
        show_connections(metrics, {"grpc": self.grpc, "http": self.http, "admin": self.admin})
        show_certificate(metrics, self.certificate)


def open_transport(
    settings: Settings,
    service: Service,
    health: Health,
    on_drop: Callable[[Dropped], None],
    on_limit: Callable[[int], None],
    sockets: Sockets,
) -> Transport:
    """The gRPC server that *settings* ask for; see `Calls` for *on_drop* and *on_limit*."""
    calls = _calls(settings, service, health, on_drop, on_limit, sockets)
    limits = Limits(
        max_streams=settings.max_concurrent_streams,
        max_connections=settings.max_connections,
        max_concurrency=settings.max_concurrency,
        drain=_FINISH_SECONDS,
    )
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_client_san)
    age, grace = settings.max_connection_age, settings.max_connection_age_grace
    if settings.transport == "native":
        return NativeTransport(
            calls, settings.grpc, limits=limits, tls=tls, max_connection_age=age, max_connection_age_grace=grace
        )
    return GrpcioTransport(
        calls,
        settings.grpc,
        limits=limits,
        tls=tls,
        max_connection_age=age,
        max_connection_age_grace=grace,
        reflection=settings.reflection,
    )


def _calls(
    settings: Settings,
    service: Service,
    health: Health,
    on_drop: Callable[[Dropped], None],
    on_limit: Callable[[int], None],
    sockets: Sockets,
) -> Calls:
    # Twice: a call may wait for a write that is under way, and then for its own.
    unhurried = 2 * settings.backend_timeout
    shed_answer = _SHED_ANSWERS[settings.on_overload]
    direct = partial(
        RateLimitHandler,
        service=service,
        caller_timeout=settings.default_deadline,
        unhurried=unhurried,
        shed_answer=shed_answer,
        on_drop=on_drop,
    )
    return Calls(
        {SHOULD_RATE_LIMIT: service.answer, CHECK: health.check},
        health,
        caller_timeout=settings.default_deadline,
        unhurried=unhurried,
        max_message_bytes=settings.max_message_bytes,
        shed_answer=shed_answer,
        on_drop=on_drop,
        on_limit=on_limit,
        direct={SHOULD_RATE_LIMIT.encode(): direct},
        connections=sockets.grpc,
        certificate=sockets.certificate,
    )


def answers_of(settings: Settings) -> ResponseOptions:
    """What answers hold beside codes and statuses."""
    names = HeaderNames(settings.limit_limit_header, settings.limit_remaining_header, settings.limit_reset_header)
    return ResponseOptions(
        limit_headers=names if settings.limit_response_headers_enabled else None,
        ietf_headers=settings.ietf_headers,
        limited_by_header=settings.limited_by_header,
        problem_json=settings.problem_json,
        dynamic_metadata=settings.response_dynamic_metadata,
    )
