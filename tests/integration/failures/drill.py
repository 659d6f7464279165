"""A drill: a steady load of real calls on a real server, a fault of its cluster meanwhile, and what came of them.

Every call has two descriptors. The limit of one is never reached: of what Redis has of it at the end, and of what the
server says that it counted, the hits that were lost are known. The limit of the other is reached in the second half: how
many calls more were let pass is known, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.client import Phase, Result, measure
from tests.redis_cluster import RedisCluster
from tests.rls_process import RlsProcess

SECONDS = 12.0
COMPANIES = 100
FAULT_AFTER_SECONDS = 2.0
_BUCKET_SECONDS = 0.1
_EXACT = 0.99
"""Share of the calls of a tenth of a second that must be decided in time for it to count as well."""
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {{unit: year, requests_per_unit: 4000000000}}
  - key: remote_address
    rate_limit: {{unit: year, requests_per_unit: {limit}}}
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much load there is, and how long callers and the server wait.

    Attributes:
        rate: Calls a second.
        caller_timeout_ms: After this a caller gives up.
        backend_timeout_ms: What the server waits for Redis.
    """

    rate: int
    caller_timeout_ms: int
    backend_timeout_ms: int

    @property
    def limit(self) -> int:
        """For each company: a little more than half of the calls that there are for it."""
        return int(0.542 * self.rate * SECONDS / COMPANIES)


REAL = Pace(2_000, 20, 10)
"""As in a mesh: what the page of operations shows. It needs a machine that does nothing else."""
PATIENT = Pace(400, 1_000, 200)
"""For any busy machine; still far less than the faults last."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a drill.

    Attributes:
        drill: Its name.
        in_time: Share of the calls that got a decision before their caller gave up, in percent.
        told_in_time: Share of the calls that got a decision or an error before that, in percent.
        errors: Calls that got an error.
        lost: Hits that the server was told to be counted, and that Redis has not; below 0, hits that Redis has counted
            for calls that got an error.
        over_admitted: Calls that passed beyond the limit, in percent of it.
        recovered: Seconds from the fault to the end of the last tenth of a second in which more than one call of a
            hundred was not decided in time; 0 where there was none.
        in_the_end: As `in_time`, of the calls of the last two seconds.
        alone: Hits that the server decided by its own counts; so many calls may have passed beyond the limit.
        in_doubt: Those of them that it did not send afterwards, since Redis may have counted them; so many may be lost.
        allowed: Calls that may pass.
    """

    drill: str
    in_time: float
    told_in_time: float
    errors: int
    lost: int
    over_admitted: float
    recovered: float
    in_the_end: float
    alone: int
    in_doubt: int
    allowed: int

    def row(self) -> str:
        return (
            f"| {self.drill} | {self.in_time:.2f} % | {self.told_in_time:.2f} % | {self.errors} | {self.lost} "
            f"| {self.over_admitted:.1f} % | {self.recovered:.1f} s |"
        )

    @staticmethod
    def head() -> str:
        names = (
            *("fault", "decided in 20 ms", "decided or error in 20 ms", "errors"),
            *("hits lost", "over-admitted", "until exact again"),
        )
        return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


class Drill:
    """A server that counts in *cluster*, at *url* where that is not the cluster's own, and is called at a *pace*."""

    def __init__(self, cluster: RedisCluster, folder: Path, pace: Pace, url: str = "") -> None:
        self.cluster = cluster
        self._pace = pace
        self._folder = folder
        self._url = url or cluster.url

    def run(self, name: str, fault: Callable[[], None]) -> Report:
        """Let *fault* happen, and undo itself where that is part of it, under load."""
        with self._server() as server:
            results: list[Result] = []
            load = threading.Thread(target=lambda: results.extend(self._load(server.addresses["grpc"])))
            load.start()
            began = time.monotonic()
            while server.metric("rls_requests_total") < FAULT_AFTER_SECONDS * self._pace.rate:
                assert time.monotonic() - began < SECONDS, server.output()[-2000:]
                time.sleep(0.02)
            happened = int(FAULT_AFTER_SECONDS / _BUCKET_SECONDS)
            fault()
            load.join()
            self.cluster.wait_until_well()
            (result,) = results
            return self._report(name, server, result, happened)

    def _load(self, address: str) -> list[Result]:
        phase = Phase(SECONDS, rate=self._pace.rate)
        timeout = self._pace.caller_timeout_ms
        return measure(address, [phase], connections=4, descriptors=2, keys=COMPANIES, timeout_ms=timeout)

    @contextmanager
    def _server(self) -> Iterator[RlsProcess]:
        timeout = ("--backend-timeout", f"{self._pace.backend_timeout_ms}ms")
        rules = RULES.format(limit=self._pace.limit)
        server = RlsProcess(self._folder, "--backend", self._url, "--max-concurrency", "0", *timeout, rules=rules)
        try:
            yield server
        finally:
            server.kill()

    def _report(self, name: str, server: RlsProcess, result: Result, happened: int) -> Report:
        made = result.sent + result.unsent
        errors = sum(result.refused.values()) + result.lost
        passed = server.metric("rls_requests_total", code="OK")
        decided = passed + server.metric("rls_requests_total", code="OVER_LIMIT")
        allowed = self._pace.limit * COMPANIES
        missed = [number for number, (sent, answered, _) in enumerate(result.buckets) if answered < _EXACT * sent]
        last = result.buckets[-int(2 / _BUCKET_SECONDS) :]
        return Report(
            drill=name,
            in_time=100 * result.answered / made,
            told_in_time=100 * (result.answered + errors) / made,
            errors=errors,
            lost=int(decided) - self._counted(),
            over_admitted=100 * max(0.0, passed - allowed) / allowed,
            recovered=max(0.0, (missed[-1] + 1 - happened) * _BUCKET_SECONDS) if missed else 0.0,
            in_the_end=100 * sum(answered for _, answered, _ in last) / max(1, sum(sent for sent, _, _ in last)),
            alone=int(server.metric("rls_fallback_total", policy="local")),
            in_doubt=int(server.metric("rls_fallback_hits_total", result="in_doubt")),
            allowed=allowed,
        )

    def _counted(self) -> int:
        """All hits of the rule whose limit is never reached."""
        found = 0
        for server in self.cluster.primaries():
            with self.cluster.client(server) as client:
                for key in client.scan_iter("*company_id=*", count=1000):
                    value: Any = client.get(key)
                    found += int(value)
        return found
