"""Settings → what speaks gRPC, and what answers hold. Beside `app`, what knows the transports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rls.api.direct import rate_limit_handlers
from rls.api.encode import ALLOW_ALL, DENY_ALL, ResponseOptions
from rls.api.health import Health
from rls.api.service import Service
from rls.core.headers import HeaderNames
from rls.engine.enforcement import HOLD_SECONDS, EnforcementState, Reason
from rls.observe.connections import register_certificate_metrics, register_connection_metrics
from rls.observe.metrics import Metrics
from rls.settings import Settings
from rls.transport.base import (
    CertificateStatus,
    Connections,
    ServerLimits,
    ServerPolicy,
    ServerReports,
    Tls,
    Transport,
)
from rls.transport.handler import Handler, ServiceDefinition
from rls.transport.native.server import NativeTransport

_FINISH_SECONDS = 5.0
"""What calls in flight have after the drain."""
_SHED_ANSWERS = {"error": None, "deny": DENY_ALL, "allow": ALLOW_ALL}


class Sockets:
    """The connections of each listener and the certificate of gRPC, as metrics and in *enforcement*.

    *on_handshake* hears of failed TLS handshakes: see `Connections`.
    """

    def __init__(
        self,
        metrics: Metrics,
        enforcement: EnforcementState,
        on_handshake: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        reporter = enforcement.reporter
        no_files = reporter(Reason.FILE_DESCRIPTORS_EXHAUSTED, seconds=HOLD_SECONDS)
        refused = reporter(Reason.CONNECTIONS_REFUSED, seconds=HOLD_SECONDS)
        self.grpc = Connections(refused, no_files, on_handshake)
        self.http, self.admin = Connections(on_no_files=no_files), Connections(on_no_files=no_files)
        self.certificate = CertificateStatus(
            reporter(Reason.CERTIFICATE_NOT_LOADED), reporter(Reason.CERTIFICATE_EXPIRED)
        )
        register_connection_metrics(metrics, {"grpc": self.grpc, "http": self.http, "admin": self.admin})
        register_certificate_metrics(metrics, self.certificate)


def open_transport(settings: Settings, handlers: Mapping[str, Handler], reports: ServerReports) -> Transport:
    """The gRPC server that *settings* ask for. It serves *handlers*, by path."""
    service = ServiceDefinition(handlers)
    policy = ServerPolicy(
        default_deadline=settings.default_deadline,
        # Twice: a call may wait for a write that is under way, and then for its own.
        max_service_time=2 * settings.backend_timeout,
        max_connection_age=settings.max_connection_age,
        max_connection_age_grace=settings.max_connection_age_grace,
        drain_timeout=_FINISH_SECONDS,
    )
    limits = ServerLimits(
        max_concurrent_streams=settings.max_concurrent_streams,
        max_connections=settings.max_connections,
        max_concurrency=settings.max_concurrency,
        max_message_bytes=settings.max_message_bytes,
    )
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, settings.tls_client_san)
    if settings.transport == "native":
        return NativeTransport(service, settings.grpc, policy=policy, limits=limits, reports=reports, tls=tls)
    # Not above: it loads grpc, 9 MB that the native transport does without.
    from rls.transport.grpcio.server import GrpcioTransport  # noqa: PLC0415

    return GrpcioTransport(
        service,
        settings.grpc,
        policy=policy,
        limits=limits,
        reports=reports,
        tls=tls,
        reflection=settings.reflection,
    )


def handlers_of(settings: Settings, service: Service, health: Health) -> dict[str, Handler]:
    """All that is served by gRPC, by path."""
    return {**rate_limit_handlers(service, _SHED_ANSWERS[settings.on_overload]), **health.handlers}


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
