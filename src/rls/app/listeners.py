"""Settings → the addresses that a server listens on: gRPC, HTTP and admin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rls.api.health import Health
from rls.api.http import public_app
from rls.api.json_token import JsonToken
from rls.api.readiness import Readiness
from rls.api.service import Service
from rls.app.admin import Admin
from rls.app.engine import Engine
from rls.app.telemetry import Telemetry
from rls.app.transports import Sockets, handlers_of, open_transport
from rls.app.unusable import value_of
from rls.app.watching import Watching
from rls.observe.handshakes import log_handshakes
from rls.settings import Settings
from rls.sources.overrides import OverrideSource
from rls.transport.base import ServerReports, Transport
from rls.transport.http1.listener import HttpListener

NAMES = ("grpc", "http", "admin")


class Listeners:
    """The listeners that *settings* ask for.

    Attributes:
        grpc: What Envoy calls.
        all: Each of them by name, in the order in which they start.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        engine: Engine,
        service: Service,
        health: Health,
        readiness: Readiness,
        watching: Watching,
        overrides: OverrideSource,
    ) -> None:
        sockets = Sockets(telemetry.metrics, telemetry.enforcement, log_handshakes(telemetry.log))
        reports = ServerReports(watching.drops.add, watching.limited, sockets.grpc, sockets.certificate, watching.calls)
        self.grpc: Transport = open_transport(settings, handlers_of(settings, service, health), reports)
        self.all: dict[str, Transport | HttpListener] = {"grpc": self.grpc}
        if settings.http:
            public = public_app(
                service,
                readiness,
                lambda: engine.rulebook.diagnostics,
                telemetry.metrics.page,
                json_checks=settings.json_checks,
                json_token=_json_token(settings.json_token_file),
            )
            self.all["http"] = HttpListener(public, settings.http, counted=sockets.http)
        if settings.admin:
            admin = Admin(settings, telemetry, engine, readiness, overrides)
            self.all["admin"] = HttpListener(admin.app, settings.admin, name="admin", counted=sockets.admin)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where each listens, or "off". Only after all have started."""
        return {name: self.all[name].address if name in self.all else "off" for name in NAMES}


def _json_token(file: Path | None) -> JsonToken | None:
    """That in *file*.

    Raises:
        UnusableSetting: The file cannot be read, or is empty.
    """
    if file is None:
        return None
    with value_of("json_token_file"):
        return JsonToken(file)
