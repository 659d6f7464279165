"""`/traffic` and `/backend`: how many checks there are, what counts them, and what decides where it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from rls.api.admin.answer import answer_json
from rls.api.admin.query import Query
from rls.api.admin.route import AdminRoute
from rls.api.admin.rows import Row, identity, iso
from rls.core.rules import RuleId
from rls.histograms import SECONDS
from rls.observe.metrics import Metrics
from rls.observe.rule_counters import RuleCounters
from rls.observe.traffic import EVERY_SECONDS, Traffic
from rls.printable import printable
from rls.slices import STEP, Steps, run

MOST_POLICIES = 100
"""Rows of policies."""


class TrafficRoutes:
    """The routes of traffic.

    Args:
        traffic: Has the last 15 minutes.
        metrics: Has the numbers since the server started.
        backend: Its URL, without secrets.
        nodes: Returns the nodes of Redis by address, and whether each is available.
        kept: Returns what became of hits that this process counted while the backend failed.
    """

    def __init__(
        self,
        traffic: Traffic,
        metrics: Metrics,
        backend: str,
        nodes: Callable[[], Mapping[str, bool]],
        kept: Callable[[], Mapping[str, int]],
    ) -> None:
        self._traffic = traffic
        self._metrics = metrics
        self._backend = backend
        self._nodes = nodes
        self._kept = kept

    @property
    def routes(self) -> Sequence[AdminRoute]:
        """All of them."""
        return (
            AdminRoute("/backend", "what counts, how long checks took, and which policies decided", self._show_backend),
            AdminRoute("/traffic", "checks and refusals per second of the last 15 minutes", self._show_traffic),
        )

    async def _show_traffic(self, request: Request) -> Response:
        Query(request, ())
        points = self._traffic.points
        return answer_json(
            {
                "requests": self._metrics.requests,
                "refused": self._metrics.refused,
                "time": iso(self._traffic.at),
                "seconds": EVERY_SECONDS,
                "checks_per_second": [round(point.checks, 2) for point in points],
                "refused_per_second": [round(point.refused, 2) for point in points],
                "p99_seconds": [round(point.p99, 6) for point in points],
            }
        )

    async def _show_backend(self, request: Request) -> Response:
        Query(request, ())
        metrics = self._metrics
        return answer_json(
            {
                "backend": printable(self._backend),
                "nodes": [{"address": printable(address), "up": up} for address, up in self._nodes().items()],
                "errors": metrics.backend_errors,
                "durations": {"up_to_seconds": list(SECONDS), "requests": list(metrics.durations)},
                "fallback_hits": dict(self._kept()),
                "policies": await run(_policies(list(metrics.rules.by_path.values()))),
                "stores": [
                    {
                        "store": name,
                        "counters": store.size(),
                        "limit": store.limit,
                        "evicted": None if store.evicted is None else store.evicted(),
                    }
                    for name, store in metrics.stores.items()
                ],
            }
        )


def _policies(rules: Sequence[RuleCounters]) -> Steps[list[Row]]:
    """How many checks of each rule a policy decided: most first."""
    found: list[tuple[int, RuleCounters, str]] = []
    for number, one in enumerate(rules):
        found += [(times, one, str(policy)) for policy, times in (one.fallback or {}).items()]
        if number % STEP == 0:
            yield
    found.sort(key=lambda row: -row[0])
    yield
    return [
        {
            **identity(RuleId(one.domain, one.path) if one.rule is None else one.rule.id),
            "policy": policy,
            "checks": times,
        }
        for times, one, policy in islice(found, MOST_POLICIES)
    ]
