"""Settings → what counts and decides."""

from __future__ import annotations

from collections.abc import Callable

from rls.app.hashing import open_pseudonyms, register_hashing_metric
from rls.app.replicas import Replicas
from rls.app.stores import open_backend
from rls.app.telemetry import Telemetry
from rls.app.unusable import value_of
from rls.core.decide import Modes
from rls.core.keys import KeyFormat
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import plain
from rls.core.rules import OnBackendError
from rls.engine.enforcement import HOLD_SECONDS, Reason
from rls.engine.events import methods_of, tell_all
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.engine.refunds import Refunds
from rls.engine.rulebook import Rulebook
from rls.observe.failure_policies import register_failure_policy_metrics, register_refund_metrics
from rls.settings import Settings
from rls.stores.redis import Inspection


class Engine:
    """The limiter and what it works with.

    Args:
        settings: Where counters are, and how they are counted.
        telemetry: Gets metrics, and the reasons that weaken limits.
        inspection: Asks the nodes of Redis.
        on_store_change: Called with the reason when the store begins to fail, with "" when it is back.

    Attributes:
        pseudonyms: Hides values of requests; None where they are shown.
        store: Counts.
        stores: Where the counters are; *store* is one of them, or asks them.
        replicas: How many servers share the limits.
        policies: Decide while the store fails.
        limiter: Plans, counts and decides.
        rulebook: Puts rules in force.

    Raises:
        UnusableSetting: The secret for digests, or the URL of a backend, cannot be used.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, inspection: Inspection, on_store_change: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._enforcement = enforcement = telemetry.enforcement
        metrics = telemetry.metrics
        with value_of("hash_secret_file"):
            self.pseudonyms = open_pseudonyms(settings.hash_secret_file, settings.hash_keys)
        self.store, self.stores = open_backend(
            settings,
            metrics,
            enforcement.reporter(Reason.TTL_REFUSED),
            inspection,
            on_batch=tell_all(methods_of(telemetry.observers, "batch_done")),
        )
        telemetry.nodes = lambda: inspection.up
        self.replicas = Replicas(
            settings.replicas,
            on_count=self._report_sharing,
            unknown=enforcement.reporter(Reason.REPLICAS_UNKNOWN),
        )
        self.policies = FailurePolicies(
            self.store,
            default=OnBackendError(settings.on_backend_error),
            replicas=lambda: self.replicas.count,
            on_change=on_store_change,
            on_no_room=enforcement.reporter(Reason.NO_ROOM, seconds=HOLD_SECONDS),
            on_refused=enforcement.reporter(Reason.COUNTER_REFUSED, seconds=HOLD_SECONDS),
            on_decided=metrics.by_policy,
        )
        self.limiter = Limiter(
            self.store,
            policies=self.policies,
            refunds=Refunds(self.store),
            counting=CountingOptions(
                settings.near_limit_ratio,
                KeyFormat(settings.key_format),
                settings.key_prefix,
                refund_over_limit=settings.refund_over_limit,
                hide=plain if self.pseudonyms is None else self.pseudonyms.hide,
            ),
            modes=Modes(settings.shadow_mode, settings.quota_mode),
            observers=telemetry.observers,
        )
        self.rulebook = Rulebook(self.limiter, telemetry.observers)
        self._report_modes()
        register_failure_policy_metrics(metrics, self.policies, lambda: self.replicas.count)
        register_hashing_metric(metrics, self.pseudonyms)
        register_refund_metrics(metrics, self.limiter.refunds)

    async def aclose(self) -> None:
        """Give back what is under way, ask no more, release connections."""
        await self.limiter.refunds.aclose()
        await self.policies.aclose()
        await self.store.aclose()

    def _report_modes(self) -> None:
        """Report the modes of the whole server that weaken rules."""
        report, modes = self._enforcement.report, self.limiter.modes
        report(Reason.SHADOW_MODE, "--shadow-mode answers OK to every request" if modes.shadow_mode else "")
        report(
            Reason.QUOTA_MODE,
            "--quota-mode lets a request pass unless all of its limits are exceeded" if modes.quota_mode else "",
        )

    def _report_sharing(self, replicas: int) -> None:
        """Report whether *replicas* servers count apart."""
        apart = replicas > 1 and self._settings.backend.scheme == "memory"
        text = (
            f"{replicas} servers count in memory, each for itself: together they let {replicas} times the limits pass"
        )
        self._enforcement.report(Reason.MEMORY_NOT_SHARED, text if apart else "")
