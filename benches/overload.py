"""`python -m benches.overload`: more calls than can be answered in the 20 ms that Envoy waits, directly and through one."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benches import arguments, processes
from benches import overload_report as report
from benches.client import Phase, Result, measure
from benches.machine import describe, on_core, others_seconds, resident_mib
from benches.overload_report import Outcome, Row, Way
from benches.processes import LOAD_CORE, SERVER_CORE, Envoy, Missing, Running
from benches.speed import Speed, watched
from examples.mesh.processes import Missing as NoEnvoy

CONNECTIONS = 32
TIMEOUT_MS = 20
IN_FLIGHT = (32, 64, 96, 128, 192)
TIMES = (0.5, 1.0, 1.5, 3.0)
WAYS = (
    Way("directly, 1 key, 10 descriptors", 1, 10),
    Way("directly, 10,000 keys, 1 descriptor", 10_000, 1),
    Way("directly, 10,000 keys, 10 descriptors", 10_000, 10),
    # On one core an Envoy makes too few requests for an overload: it is one of several callers.
    Way("a tenth through Envoy, 10,000 keys, 10 descriptors", 10_000, 10, proxy=True),
)
PROXIED = 0.1
_ATTEMPTS = 3
_QUIET = 0.15
# A tenth of a second in which so many are answered is a normal one.
_NORMAL = 0.99


@dataclass(frozen=True, slots=True)
class Plan:
    """How long it is overloaded, and how often; for how long it is watched afterwards, and its peak measured before and then."""

    seconds: float
    rounds: int
    after: float = 1.0
    peak: float = 0.5


FULL, QUICK = Plan(1.5, 5), Plan(1.0, 1)


@dataclass(frozen=True, slots=True)
class Stand:
    """A server, what it counts in, and what stands before it."""

    name: str
    way: Way
    server: Running
    redis: Running
    envoy: Envoy | None
    speed: Speed

    def put_through_envoy(self, phases: Sequence[Phase]) -> list[Result]:
        """Put a load on its Envoy, from new connections; Envoy is who gives up."""
        assert self.envoy is not None
        return measure(
            self.envoy.address,
            phases,
            connections=CONNECTIONS,
            keys=self.way.keys,
            proxy=True,
            prefix=on_core(LOAD_CORE),
        )

    def put(self, phases: Sequence[Phase]) -> list[Result]:
        """Put a load on it directly, from new connections."""
        return measure(
            self.server.address,
            phases,
            connections=CONNECTIONS,
            descriptors=self.way.descriptors,
            keys=self.way.keys,
            timeout_ms=TIMEOUT_MS,
            prefix=on_core(LOAD_CORE),
        )

    def upstream(self) -> dict[str, int]:
        """What Envoy has counted so far."""
        return {} if self.envoy is None else self.envoy.stats()

    @property
    def pids(self) -> list[int]:
        return [self.server.pid, self.redis.pid] + ([] if self.envoy is None else [self.envoy.pid])


@contextlib.contextmanager
def stand(
    way: Way, name: str, start: Callable[..., contextlib.AbstractContextManager[Running]], speed: Speed
) -> Iterator[Stand]:
    """All of it, new; *speed* is that of the server's core."""
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as path, contextlib.ExitStack() as stack:
        folder = Path(path)
        redis = stack.enter_context(processes.redis(folder))
        server = stack.enter_context(start(folder, redis))
        envoy = stack.enter_context(processes.envoy(folder, server, way.descriptors)) if way.proxy else None
        yield Stand(name, way, server, redis, envoy, speed)


def run(plan: Plan) -> list[Row]:
    """Every server in every way."""
    servers: dict[str, Callable[..., contextlib.AbstractContextManager[Running]]] = {
        "rls": lambda folder, redis: processes.rls(folder, backend=f"redis://{redis.address}"),
        "rls on grpcio": lambda folder, redis: processes.rls(
            folder, backend=f"redis://{redis.address}", transport="grpcio"
        ),
    }
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as unpacked, watched(SERVER_CORE) as speed:
        program = processes.peer(Path(unpacked), "ratelimit")
        if program is not None:
            servers["ratelimit (Go)"] = lambda folder, redis: processes.envoyproxy_ratelimit(
                folder, program, redis.address
            )
        rows: list[Row] = []
        for way in WAYS:
            for name, start in servers.items():
                with stand(way, name, start, speed) as one:
                    rows += _overload(one, plan)
        return rows


def _overload(one: Stand, plan: Plan) -> Iterator[Row]:
    one.put([Phase(1.0, in_flight=CONNECTIONS)])
    if one.envoy is not None:
        one.put_through_envoy([Phase(1.0, in_flight=CONNECTIONS)])
    in_flight, peak = _best(one)
    print(f"{one.name}, {one.way.name}: {peak:,.0f}/s with {in_flight} in flight", file=sys.stderr, flush=True)
    for times in TIMES:
        outcomes = []
        for _ in range(plan.rounds):
            outcomes.append(_quiet(one, in_flight, peak, times, plan))
            peak = outcomes[-1].peak
        outcomes.sort(key=lambda outcome: outcome.share)
        middle = outcomes[len(outcomes) // 2]
        print(f"  {times} of it: {middle.share:.0%}, {middle.refused}", file=sys.stderr, flush=True)
        yield Row(one.name, one.way, times, middle, worst=outcomes[0].share)


def _best(one: Stand) -> tuple[int, float]:
    """The number of calls in flight with which most are answered, and how many that are a second."""
    found = one.put([Phase(0.3, in_flight=number) for _ in range(5) for number in IN_FLIGHT])
    peaks = {
        number: median(result.goodput for result in found[i :: len(IN_FLIGHT)]) for i, number in enumerate(IN_FLIGHT)
    }
    in_flight = max(peaks, key=peaks.__getitem__)
    return in_flight, peaks[in_flight]


def _quiet(one: Stand, in_flight: int, peak: float, times: float, plan: Plan) -> Outcome:
    """The best of a few attempts: the one with the least other load."""
    best = None
    for _ in range(_ATTEMPTS):
        new = _outcome(one, in_flight, peak, times, plan)
        if best is None or new.others < best.others:
            best = new
        if best.others < _QUIET:
            break
    assert best is not None
    return best


def _outcome(one: Stand, in_flight: int, peak: float, times: float, plan: Plan) -> Outcome:
    before, others, begin = one.upstream(), others_seconds(one.pids), time.monotonic()
    at_peak = Phase(plan.peak, in_flight=in_flight)
    phases = [at_peak, Phase(plan.seconds, rate=peak * times), Phase(plan.after, rate=peak / 2), at_peak]
    if one.envoy is None:
        loads = [one.put(phases)]
    else:
        with ThreadPoolExecutor() as both:
            proxied = both.submit(one.put_through_envoy, _silent(_share(phases, PROXIED)))
            direct = both.submit(one.put, _share(phases, 1 - PROXIED))
            loads = [direct.result(), proxied.result()]
    first, during, after, last = zip(*loads, strict=True)
    others = (others_seconds(one.pids) - others) / (time.monotonic() - begin)
    upstream = {name: count - before.get(name, 0) for name, count in one.upstream().items()}
    lost = during[0].lost + upstream.get("upstream_cx_destroy_remote_with_active_rq", 0)
    refused = Counter(during[0].refused)
    if one.envoy is not None:
        # Envoy answers 500 to any failure; its statistics say which one it was.
        refused["HTTP 503"] += upstream.get("upstream_rq_503", 0)
        refused["timed out in Envoy"] = upstream.get("upstream_rq_timeout", 0)
    return Outcome(
        peak=_peak(one.speed, first[0], during[0], last[0]),
        offered=sum(result.sent for result in during) / plan.seconds,
        goodput=sum(result.goodput for result in during),
        through_envoy=during[1].answered / during[1].sent if one.envoy is not None else None,
        refused=dict(refused),
        timed_out=during[0].timed_out,
        late=during[0].late,
        lost=lost,
        connections=sum(during[0].goaways.values()) + upstream.get("upstream_cx_close_notify", 0),
        p50_ms=during[0].p50_ms,
        p99_ms=during[0].p99_ms,
        resident_mib=resident_mib(one.server.pid),
        normal_after=_latest(map(_normal_after, after)),
        client_cpu=max(result.client_cpu for result in during),
        others=max(0.0, others),
    )


def _peak(speed: Speed, first: Result, during: Result, last: Result) -> float:
    """The peak just before and just after, as it would have been at the speed that the core had in between."""
    before, between, after = (speed.piece_seconds(one.began, one.began + one.seconds) for one in (first, during, last))
    return (first.goodput * before + last.goodput * after) / 2 / between


def _share(phases: Sequence[Phase], share: float) -> list[Phase]:
    return [replace(phase, rate=share * phase.rate) for phase in phases]


def _silent(phases: Sequence[Phase]) -> list[Phase]:
    """No calls, where others measure the peak."""
    return [replace(phase, in_flight=0) for phase in phases]


def _normal_after(after: Result) -> float | None:
    """Seconds until nearly all calls were answered, for the rest of the time; None where that was not so in the end."""
    normal = None
    step = after.seconds / len(after.buckets)
    for number, (sent, answered, _) in enumerate(after.buckets):
        if sent and answered < _NORMAL * sent:
            normal = None
        elif normal is None:
            normal = round(number * step, 1)
    return normal


def _latest(times: Iterable[float | None]) -> float | None:
    """The last of all, None where one of them never came."""
    known = list(times)
    return None if None in known else max(seconds for seconds in known if seconds is not None)


def main() -> None:
    parser = arguments.parser("benches.overload", __doc__)
    parser.add_argument("--quick", action="store_true", help="each load once")
    options = parser.parse_args()
    try:
        processes.need("taskset", "util-linux")
        about = describe()
        rows = run(QUICK if options.quick else FULL)
    except (Missing, NoEnvoy) as missing:
        sys.exit(f"benches: {missing}")
    except KeyboardInterrupt:
        sys.exit("\nbenches: interrupted; everything that was started is stopped")
    print(report.write(options.into, "overload-quick" if options.quick else "overload", about, rows))


if __name__ == "__main__":
    main()
