"""Two rls under load, an Envoy before them and a Prometheus: what it has, and what the clients counted."""

from __future__ import annotations

import json
import math
import re
import signal
import time
from collections.abc import Mapping
from typing import NamedTuple

from examples.mesh.http import ask
from examples.mesh.metrics import total
from examples.mesh.processes import wait_for
from examples.observe.load import Load
from examples.observe.stage import Patience, Stage
from tests.dashboards.trees import Query, queries

INTERVAL_SECONDS = 1.0
LOAD_SECONDS = 14
# So that nothing gives up on a machine that is busy.
PATIENCE = Patience(envoy="2s", rls="1s")


class Period(NamedTuple):
    """A time that queries look back over, in Unix seconds, from a scrape of all targets to another.

    `rate` guesses what was before the first and after the last sample of a target. *nearly* is how much that can be, as
    a share.
    """

    start: float
    end: float
    nearly: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @classmethod
    def between(cls, first: Mapping[str, float], last: Mapping[str, float]) -> Period:
        """From the samples at *first* to those at *last*, by target."""
        start, end = min(first.values()), max(last.values())
        guessed = ((first[each] - start + end - last[each]) / (last[each] - first[each]) for each in first)
        return cls(start - 0.001, end + 0.001, max(guessed) + 0.01)


class Watched(NamedTuple):
    """What ran, and what was counted in the period without faults.

    Attributes:
        running: All that still runs.
        counted: The answers that the clients got.
        calm: The period without faults.
        all: The period with faults, too.
        exposed: What each rls exposed at the end of the first.
    """

    running: Stage
    counted: Load
    calm: Period
    all: Period
    exposed: tuple[str, ...]

    def ask(self, expr: str, period: Period) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of a query with variables."""
        found = self.running.prometheus.query(substituted(expr, period.seconds), period.end)
        samples = [(series["metric"], float(series["value"][1])) for series in found]
        return [(labels, value) for labels, value in samples if not math.isnan(value)]

    def shown(self, query: Query) -> list[float]:
        """What its panel shows of both periods together."""
        if query.instant:
            return [value for _, value in self.ask(query.expr, self.all)]
        # As far back as Grafana looks: four scrapes.
        expr = substituted(query.expr, 4 * INTERVAL_SECONDS)
        found = self.running.prometheus.query_range(expr, self.all.start, self.all.end, INTERVAL_SECONDS)
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if not math.isnan(value)]

    def number(self, dashboard: str, panel: str, ref: str = "A", **labels: str) -> float:
        """What a panel showed of the period without faults, of the series with *labels*."""
        (query,) = (each for each in queries() if each[:3] == (dashboard, panel, ref))
        values = [value for there, value in self.ask(query.expr, self.calm) if labels.items() <= there.items()]
        assert len(values) == 1, (query.expr, values)
        return values[0]

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over both rls, as they exposed it at the end of the period without faults."""
        return sum(total(text, name, **labels) for text in self.exposed)


def substituted(expr: str, seconds: float) -> str:
    """As Grafana does it, with everything chosen; both ranges look back over the whole period."""
    expr = re.sub(r"\$__rate_interval|\$__range", f"{1000 * seconds:.0f}ms", expr)
    return re.sub(r"\$(domain|rule)\b", ".*", expr)


def watch(running: Stage) -> Watched:
    # Series of values and of Envoy appear with their first request, which `rate` does not see.
    with running.load():
        ask_what_is_not_there(running)
        time.sleep(3)
    first = scraped_once_more(running)
    with running.load() as load:
        time.sleep(LOAD_SECONDS)
    calm = Period.between(first, scraped_once_more(running))
    exposed = tuple(rls.get("/metrics").body.decode() for rls in running.rls)
    let_it_fail(running)
    return Watched(running, load, calm, Period.between(first, scraped_once_more(running)), exposed)


def scraped_once_more(running: Stage) -> dict[str, float]:
    """When each target was scraped, after now."""
    start = time.time()
    targets = len(running.rls) + 2  # Envoy, the user service

    def scraped() -> dict[str, float]:
        now = time.time()
        up, stamps = (values_by_target(running, expr, now) for expr in ("up", "timestamp(up)"))
        found = {each: stamp for each, stamp in stamps.items() if up.get(each) == 1 and stamp > start}
        return found if len(found) == targets else {}

    return wait_for(scraped, "all is scraped once more", 60)


def values_by_target(running: Stage, expr: str, at: float) -> dict[str, float]:
    return {each["metric"]["instance"]: float(each["value"][1]) for each in running.prometheus.query(expr, at)}


def let_it_fail(running: Stage) -> None:
    """Valkey hangs, rls hang, rules change, and some callers ask for what is not there."""
    with running.load():
        ask_what_is_not_there(running)
        scraped_once_more(running)
        running.valkey.send(signal.SIGSTOP)
        time.sleep(4)
        running.valkey.send(signal.SIGCONT)
        for rls in running.rls:
            rls.send(signal.SIGSTOP)
        time.sleep(7)
        for rls in running.rls:
            rls.send(signal.SIGCONT)
        before = revisions(running)
        running.rules.write_text(running.rules.read_text().replace("requests_per_unit: 20", "requests_per_unit: 8"))
        wait_for(lambda: not revisions(running) & before, "the new rules are in force everywhere")
        time.sleep(2)


def ask_what_is_not_there(running: Stage) -> None:
    """A domain without rules, and a descriptor that no rule matches."""
    for domain, key in (("elsewhere", "company_id"), ("users", "unheard_of")):
        body = {"domain": domain, "descriptors": [{"entries": [{"key": key, "value": "x"}]}]}
        ask(running.rls[0].http_port, "/json", method="POST", body=json.dumps(body).encode())


def revisions(running: Stage) -> set[str]:
    """Those that the pods have in force."""
    texts = [rls.get("/metrics").body.decode() for rls in running.rls]
    return {found for text in texts for found in re.findall(r'rls_config_info\{revision="(\w+)"\} 1', text)}
