"""The last 15 minutes of checks."""

import pytest

from rls.core.model import Unit
from rls.engine.limiter import Limiter
from rls.histograms import SECONDS
from rls.observe.metrics import Metrics
from rls.observe.traffic import POINTS, Traffic, quantile
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.tries import Step, descriptor, request, rule, rule_set


async def test_a_point_has_the_rates_since_the_one_before() -> None:
    clock, timer, metrics = Clock(1_000.0), Clock(0.0), Metrics()
    limiter = Limiter(MemoryStore(), observers=(metrics,))
    limiter.load(rule_set({(Step("company"),): rule("company", 3, Unit.YEAR)}))
    traffic = Traffic(metrics, clock, timer)
    assert (traffic.at, traffic.points) == (0.0, ())
    for _ in range(10):
        await limiter.check(request(descriptor(("company", "acme"))))
    timer.now, clock.now = 5.0, 1_005.0
    traffic.look()
    timer.now, clock.now = 10.0, 1_010.0
    traffic.look()
    first, second = traffic.points
    assert (first.checks, first.refused) == (2.0, 1.4)
    assert 0 < first.p99 <= SECONDS[-1]
    assert tuple(second) == (0.0, 0.0, 0.0)
    assert traffic.at == 1_010.0
    for _ in range(POINTS):
        traffic.look()
    assert len(traffic.points) == POINTS
    assert traffic.points[0] == second._replace(p99=0.0)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.99, 0.0),
        ({0: 100}, 0.5, SECONDS[0] / 2),
        ({0: 98, 3: 2}, 0.99, SECONDS[2] + (SECONDS[3] - SECONDS[2]) / 2),
        ({0: 1, len(SECONDS): 99}, 0.99, SECONDS[-1]),
        ({9: 1}, 1.0, SECONDS[9]),
    ],
)
def test_a_quantile_lies_within_the_range_that_has_it(counts, share, expected) -> None:
    numbers = [counts.get(index, 0) for index in range(len(SECONDS) + 1)]
    assert quantile(numbers, share) == pytest.approx(expected)
