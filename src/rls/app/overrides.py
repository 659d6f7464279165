"""Settings → the overrides of a server: kept in its store, put in force by its rulebook."""

from __future__ import annotations

from rls.app.engine import Engine
from rls.app.telemetry import Telemetry
from rls.engine.enforcement import Reason
from rls.settings import Settings
from rls.sources.overrides import OverrideSource
from rls.stores.base import KeepsRecords


def open_overrides(settings: Settings, telemetry: Telemetry, engine: Engine) -> OverrideSource:
    """What reads, sets and ends overrides."""
    main = engine.stores[0]
    source = OverrideSource(
        main if isinstance(main, KeepsRecords) else None,
        engine.rulebook.override,
        telemetry.enforcement.reporter(Reason.OVERRIDES_NOT_READ),
        is_down=lambda: bool(engine.policies.reason),
        most=settings.max_overrides,
    )
    telemetry.metrics.register_gauge("rls_overrides", "Overrides in force.", lambda: len(source.in_force))
    telemetry.metrics.register_gauge(
        "rls_override_end_timestamp_seconds",
        "When the override ends, in Unix seconds.",
        lambda: _ends(source),
        "domain",
        "rule",
        "override",
    )
    telemetry.metrics.register_gauge(
        "rls_overrides_read_timestamp_seconds",
        "When the overrides were last read from the store, in Unix seconds.",
        lambda: source.read_at,
    )
    return source


def _ends(source: OverrideSource) -> dict[tuple[str, ...], float]:
    """When each override ends, by domain, rule and id."""
    return {(one.domain, one.rule, one.id): one.until for one in source.in_force}
