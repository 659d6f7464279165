"""Loads of the configuration, and what is in force, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from rls.engine.events import RulesLoaded, RulesRejected
from rls.observe.families import counter, gauge


class Loads:
    """The numbers of all loads so far."""

    def __init__(self) -> None:
        self._loads = {"complete": 0, "partial": 0, "rejected": 0}
        self._problems = 0
        self._revision = ""
        self._loaded_at = self._completed_at = 0.0
        self._rules_by_domain: dict[str, int] = {}

    def loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""
        self._rules_by_domain = {name: event.rules.count(name) for name in sorted(event.rules.domains)}
        self._revision, self._loaded_at = event.rules.revision, event.at
        if not event.is_load:
            return
        self._loads["partial" if event.diagnostics else "complete"] += 1
        self._problems = len(event.diagnostics)
        if not event.diagnostics:
            self._completed_at = event.at

    def rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
        self._loads["rejected"] += 1
        self._problems = len(event.diagnostics)

    def collect(self) -> Iterator[Metric]:
        """The numbers as metric families."""
        revision = {self._revision: 1} if self._revision else {}
        yield gauge("rls_config_info", "The revision in force; always 1.", revision, "revision")
        yield gauge(
            "rls_config_loaded_timestamp_seconds",
            "When this revision was put in force, in Unix seconds.",
            self._loaded_at,
        )
        successful = any(self._loads.values()) and not self._problems
        yield gauge(
            "rls_config_last_reload_successful", "1 if the whole configuration is in force, else 0.", int(successful)
        )
        yield gauge(
            "rls_config_last_reload_success_timestamp_seconds",
            "When the whole configuration was last put in force, in Unix seconds.",
            self._completed_at,
        )
        yield counter("rls_config_loads_total", "Configuration loads, by result.", self._loads, "result")
        yield gauge("rls_config_errors", "Errors in the configuration.", self._problems)
        yield gauge("rls_config_rules", "Rules in force.", self._rules_by_domain, "domain")
