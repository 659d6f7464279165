"""`make disturbances`: what an overload, greedy or impatient clients, handshakes, a scrape and a load of rules do to other calls.

A real `rls serve` that counts in Redis answers a prober's 200 calls a second over ten connections of its own. Meanwhile each
of the disturbances happens to it. The server tells how long turns of its loop take; the prober tells how long its calls took.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from benches import arguments, processes, rule_files
from benches.client import Phase, Result
from benches.frames import PATH
from benches.loop_turns import TURNS, longer_than, loop_turns
from benches.machine import cpu_seconds, describe, on_core, others_seconds, pin
from benches.prober import CALLS_PER_SECOND, Prober
from benches.processes import LOAD_CORE, Missing
from benches.served import Served, serve
from examples.mesh.http import ask

SECONDS = 5.0
_BESIDE = 0.3
_IMPATIENT_MS = 2
_NEW_CONNECTIONS = 500
_LONGEST_SECONDS = 60.0


Disturbance = Callable[[Served], str]


@dataclass(frozen=True, slots=True)
class Row:
    """What a disturbance did to the prober's calls.

    Attributes:
        what: What it came to.
        calls: Of the prober, those that failed included.
        turns: Sampled turns of the loop, by the upper bound of their length in seconds.
        busy: Share of its core that the server used.
        others: CPU that others used meanwhile, in cores: this process, and the one that compiles rules, included.
    """

    name: str
    what: str
    calls: int
    failed: dict[str, int]
    p50_ms: float
    p99_ms: float
    worst_ms: float
    turns: dict[str, int]
    busy: float
    others: float


def nothing(_: Served) -> str:
    """For comparison."""
    time.sleep(SECONDS)
    return "–"


def busy_neighbour(_: Served) -> str:
    """For comparison: where the load is on the prober's core, that core is busy."""
    command = [*on_core(LOAD_CORE), sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(command) as process:
        time.sleep(SECONDS)
        process.kill()
    return "a program that does nothing else uses it"


def overload(served: Served) -> str:
    """More than can be answered, by clients that give up as Envoy does."""
    got = served.load(Phase(SECONDS, rate=3 * served.peak), 32)
    return f"{_each(got)} calls a second on 32 connections; {got.answered / got.sent:.0%} answered in time"


def many_connections(served: Served) -> str:
    """At a rate that can be answered."""
    got = served.load(Phase(SECONDS, rate=_BESIDE * served.peak), 1_000)
    return f"{_each(got)} calls a second; {got.answered / got.sent:.1%} answered in time"


def greedy_connection(served: Served) -> str:
    """As many calls as a connection may have."""
    got = served.load(Phase(SECONDS, in_flight=1_000), 1, timeout_ms=0)
    return f"1,000 calls in flight; {got.goodput:,.0f} a second answered"


def lost_patience(served: Served) -> str:
    """Clients that give up before they can be answered, and end their calls by a reset."""
    got = served.load(Phase(SECONDS, rate=served.peak), 32, timeout_ms=_IMPATIENT_MS)
    lost = (got.timed_out + got.late) / got.sent
    return f"{_each(got)} calls a second; clients gave up {lost:.0%} of them after {_IMPATIENT_MS} ms"


def handshakes(served: Served) -> str:
    """New TLS connections, each with one call, as fast as one core makes them."""
    command = [*on_core(LOAD_CORE), "h2load", "-c", str(_NEW_CONNECTIONS), "-n", str(_NEW_CONNECTIONS)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"https://{served.process.address}{PATH}"]
    made, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        made += _NEW_CONNECTIONS
    return f"{made / (time.monotonic() - began):,.0f} new connections a second, {_NEW_CONNECTIONS} at a time"


def scrapes(served: Served) -> str:
    """One after the other, of a series for each rule and more."""
    pages, series, began = 0, 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        page = ask(served.http, "/metrics").body
        pages, series = pages + 1, sum(not line.startswith(b"#") for line in page.splitlines())
    return f"{pages} scrapes of {series:,} series"


def rules_loaded(served: Served) -> str:
    """Beside the rules that are there."""
    loads, began = rule_files.times_loaded(served.log), time.monotonic()
    rule_files.replace(served.rules / "many.yaml", rule_files.many(1))
    while rule_files.times_loaded(served.log) == loads:
        if time.monotonic() - began > _LONGEST_SECONDS:
            raise TimeoutError(f"no load of rules within {_LONGEST_SECONDS:g} s")
        time.sleep(0.02)
    return f"{rule_files.MANY:,} rules in force after {time.monotonic() - began:.1f} s"


DISTURBANCES: dict[str, tuple[Disturbance, bool]] = {
    "nothing": (nothing, False),
    "nothing, but the prober's core is busy": (busy_neighbour, False),
    "3 times the peak": (overload, False),
    "1,000 connections": (many_connections, False),
    "one greedy connection": (greedy_connection, False),
    "mass timeouts": (lost_patience, False),
    "nothing, with TLS": (nothing, True),
    "handshakes": (handshakes, True),
    "scrapes": (scrapes, False),
    "a load of rules": (rules_loaded, False),
}
"""What happens, by name, and whether it takes TLS."""


def _each(got: Result) -> str:
    return f"{got.sent / got.seconds:,.0f}"


def row(name: str, disturbance: Disturbance, *, secure: bool) -> Row:
    """Let it happen once."""
    with (
        serve(secure=secure) as served,
        Prober(served.process.address, served.certificate, on_core(LOAD_CORE)) as prober,
    ):
        turns, server, pids = loop_turns(served.http), [served.process.pid], [served.process.pid, served.redis.pid]
        cpu, others, began = cpu_seconds(server), others_seconds(pids), time.monotonic()
        what = disturbance(served)
        seconds = time.monotonic() - began
        busy = (cpu_seconds(server) - cpu) / seconds
        probed = prober.stop()
        others = (others_seconds(pids) - others) / seconds
        after = loop_turns(served.http)
        return Row(
            name=name,
            what=what,
            calls=len(probed.took_ms),
            failed=probed.failed,
            p50_ms=probed.quantile_ms(0.5),
            p99_ms=probed.quantile_ms(0.99),
            worst_ms=probed.quantile_ms(1.0),
            turns={bound: number - turns.get(bound, 0) for bound, number in after.items()},
            busy=busy,
            others=max(0.0, others),
        )


def report(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["# Calls beside disturbances", "", *(f"- {key}: {value}" for key, value in describe().items()), ""]
    lines += [
        f"A prober makes {CALLS_PER_SECOND} calls a second by grpcio's client, on ten connections, and waits a second for each answer. The",
        "server is on core 0; the prober, Redis and what disturbs are on core 1. *Turns* of the loop are sampled 100 times a second",
        "(`rls_loop_turn_seconds`). *CPU* is the share of its core that the server used, *others* that of other programs, this one included, in cores.",
        "",
        (
            "| disturbance | what it came to | calls | failed | p50 ms | p99 ms | worst ms | turns | over 1 ms | over 2.5 ms"
            " | over 5 ms | over 10 ms | CPU | others |"
        ),
        "| --- | --- |" + " ---: |" * 12,
    ]
    for one in rows:
        failed = ", ".join(f"{number} {code}" for code, number in one.failed.items()) or "0"
        longer = " | ".join(str(longer_than(one.turns, bound)) for bound in TURNS)
        lines.append(
            f"| {one.name} | {one.what} | {one.calls:,} | {failed} | {one.p50_ms:.1f} | {one.p99_ms:.1f} | {one.worst_ms:.1f} |"
            f" {sum(one.turns.values())} | {longer} | {one.busy:.2f} | {one.others:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    options = arguments.parser("benches.disturbances", __doc__).parse_args()
    pin(LOAD_CORE)
    try:
        for program, package in (("h2load", "nghttp2-client"), ("openssl", "openssl"), ("taskset", "util-linux")):
            processes.need(program, package)
        rows = []
        for name, (disturbance, secure) in DISTURBANCES.items():
            rows.append(row(name, disturbance, secure=secure))
            print(f"{name}: {rows[-1].what}; worst {rows[-1].worst_ms} ms", file=sys.stderr, flush=True)
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    text = report(rows)
    (options.into / "disturbances.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
