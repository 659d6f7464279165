"""Settings → the admin address: what it shows, who may ask it, and who may change what."""

from __future__ import annotations

from collections.abc import Sequence

from rls.api.admin.access import Access, Refused, is_own
from rls.api.admin.app import PREFIX, AdminApi
from rls.api.admin.counters import CounterRoutes
from rls.api.admin.explain import Explaining
from rls.api.admin.overrides import OverrideRoutes
from rls.api.admin.page.serving import is_page
from rls.api.admin.pods import Pods
from rls.api.admin.route import AdminRoute
from rls.api.admin.status import Status
from rls.api.admin.tokens import AdminTokens
from rls.api.admin.traffic import TrafficRoutes
from rls.api.http import admin_app
from rls.api.readiness import Readiness
from rls.app.engine import Engine
from rls.app.telemetry import Telemetry
from rls.app.unusable import value_of
from rls.engine.counters import Counters
from rls.observe.audit import Audit
from rls.settings import Settings
from rls.sources.overrides import OverrideSource
from rls.stores.base import ListsCounters
from rls.transport.http1.bounds import App


class Admin:
    """The admin address of one server.

    Attributes:
        app: Answers.

    Raises:
        UnusableSetting: The file with the tokens cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        engine: Engine,
        readiness: Readiness,
        overrides: OverrideSource,
    ) -> None:
        rulebook = engine.rulebook
        with value_of("admin_token_file"):
            self._tokens = AdminTokens(settings.admin_token_file)
        self._audit = Audit(telemetry.log, telemetry.history)
        self._address = settings.admin
        status = Status(
            readiness, rulebook, telemetry.top, str(settings.backend), telemetry.nodes, telemetry.began, overrides
        )
        name = settings.replicas if isinstance(settings.replicas, str) else ""
        pods = Pods(name, settings.admin, self._tokens.own)
        api = AdminApi(
            telemetry.top,
            telemetry.history,
            lambda: rulebook.rules,
            telemetry.metrics.rules,
            status,
            pods,
            more=self._more(settings, telemetry, engine, overrides),
        )
        self._reading = [f"{PREFIX}{one.path}" for one in api.routes if one.method == "POST" and not one.changes]
        self.app: App = admin_app(lambda: rulebook.rules, api.app, settings.admin, guard=self._guard)
        telemetry.metrics.register_counter(
            "rls_admin_refused_total",
            "Requests at the admin address that were refused.",
            lambda: self._audit.refused,
            "reason",
        )
        if not is_own(settings.admin) and not self._tokens.exist:
            telemetry.log.warning(
                "admin_closed",
                reason=f"other machines reach {settings.admin}: nobody is answered there without --admin-token-file",
            )

    def _more(
        self, settings: Settings, telemetry: Telemetry, engine: Engine, overrides: OverrideSource
    ) -> Sequence[AdminRoute]:
        """Routes beside those that show who is limited."""
        backend, policies = str(settings.backend), engine.policies
        traffic = TrafficRoutes(
            telemetry.traffic, telemetry.metrics, backend, telemetry.nodes, lambda: policies.caught_up
        )
        lists = [store for store in engine.stores if isinstance(store, ListsCounters)]
        counters = Counters(engine.limiter, engine.store)
        return (
            *traffic.routes,
            Explaining(engine.limiter).route,
            *CounterRoutes(counters, engine.limiter, lists, self._audit).routes,
            *OverrideRoutes(overrides, counters, self._audit, most_times=settings.max_override_factor).routes,
        )

    def _guard(self, app: App) -> App:
        return Access(app, self._address, self._tokens, reading=self._reading, public=is_page, on_refused=self._refused)

    def _refused(self, refused: Refused, method: str, path: str, peer: str) -> None:
        self._audit.refuse(refused.reason, detail=refused.text, method=method, path=path, peer=peer)
