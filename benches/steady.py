"""`make steady`: ten minutes of 9,000 calls a second, and what goes on in any mesh meanwhile.

Calls come when they are due, each millisecond or sooner, over four TLS connections. Prometheus scrapes every 15 s, a tenth of
10,000 rules changes every minute, and two new TLS connections come a second. What counts is how many calls take more than 10 ms.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benches import arguments, pauses, processes, rule_files, speed
from benches.client import BUCKET_SECONDS, Phase, Result, http2_context, measure
from benches.loop_turns import TURNS, longer_than, loop_turns
from benches.machine import cpu_seconds, describe, on_core, pin, stolen_seconds
from benches.moments import HOST, PAUSED, SLOW, SLOW_SHARE, Moment, Moments
from benches.processes import LOAD_CORE, SERVER_CORE, Missing
from benches.served import Served, serve
from examples.mesh.http import ask

CALLS_PER_SECOND = 9_000
SECONDS = 600.0
SCRAPE_SECONDS, RELOAD_SECONDS, CONNECTION_SECONDS = 15.0, 60.0, 0.5
FLOOR, GOAL = 500, 100
_CONNECTIONS = 4
_LOADS, _SCRAPES, _NEW_CONNECTIONS = _LONGEST_FIRST = ("loads of rules", "scrapes", "new connections")


@dataclass(frozen=True, slots=True)
class Steady:
    """What a run came to.

    Attributes:
        rate: Calls that were due in a second.
        busy: Share of its core that the server used.
        stolen: Seconds of CPU that the host of this machine took.
        pauses: Seconds of each pause of a core; None where they cannot be measured.
        speed: Of the server's core in the mean, as a share of the fastest that it was.
        beside: How often went on what, by name.
        moments: Late calls by what went on meanwhile.
        turns: Sampled turns of the loop, by the upper bound of their length in seconds.
    """

    rate: float
    got: Result
    busy: float
    stolen: float
    pauses: list[float] | None
    speed: float
    beside: dict[str, int]
    moments: dict[str, Moment]
    turns: dict[str, int]

    @property
    def late_of_a_million(self) -> float:
        """Calls that took more than 10 ms, got no answer, or could not be sent when they were due."""
        due = self.got.sent + self.got.unsent
        return 1e6 * (due - self.got.soon) / due


def run(rate: float, seconds: float) -> Steady:
    """Ten minutes, or so many *seconds*."""
    with (
        serve(secure=True) as served,
        pauses.watched((SERVER_CORE, LOAD_CORE)) as paused,
        speed.watched(SERVER_CORE) as core_speed,
    ):
        turns, cpu, stolen = loop_turns(served.http), cpu_seconds([served.process.pid]), stolen_seconds()
        with _beside(served) as (counts, moments):
            address, core = served.process.address, on_core(LOAD_CORE)
            phase = Phase(seconds, rate=rate)
            got = measure(address, [phase], connections=_CONNECTIONS, trust=served.certificate, prefix=core)[0]
        ended = got.began + got.seconds
        moments.note_speed(core_speed, got)
        moments.note_pauses(paused)
        return Steady(
            rate=rate,
            got=got,
            busy=(cpu_seconds([served.process.pid]) - cpu) / seconds,
            stolen=stolen_seconds() - stolen,
            pauses=paused.between(got.began, ended) if paused.are_measured else None,
            speed=core_speed.least_piece_seconds() / core_speed.piece_seconds(got.began, ended),
            beside=dict(counts),
            moments=moments.of(got, (PAUSED, HOST, SLOW, *_LONGEST_FIRST)),
            turns={bound: number - turns.get(bound, 0) for bound, number in loop_turns(served.http).items()},
        )


@contextlib.contextmanager
def _beside(served: Served) -> Iterator[tuple[Counter[str], Moments]]:
    """What goes on meanwhile: how often, and when."""
    assert served.certificate is not None
    counts, moments, ended = Counter[str](), Moments(), threading.Event()
    context = http2_context(served.certificate)
    host, _, port = served.process.address.rpartition(":")
    texts = [_changed(number) for number in range(2)]

    def scrape() -> None:
        ask(served.http, "/metrics")

    def reload() -> None:
        loaded = rule_files.times_loaded(served.log)
        rule_files.replace(served.rules / "mesh.yaml", texts[counts[_LOADS] % 2])
        while rule_files.times_loaded(served.log) == loaded and not ended.wait(0.05):
            pass

    def connect() -> None:
        _connect(host, int(port), context)

    def look_at_host() -> None:
        while not ended.wait(BUCKET_SECONDS):
            moments.look_at_host()

    def repeat(name: str, seconds: float, act: Callable[[], None]) -> None:
        due = time.monotonic() + seconds
        while not ended.wait(max(0.0, due - time.monotonic())):
            try:
                with moments.during(name):
                    act()
                counts[name] += 1
            except OSError as error:
                counts[f"{name} failed ({error})"] += 1
            due += seconds

    jobs = (
        (_SCRAPES, SCRAPE_SECONDS, scrape),
        (_LOADS, RELOAD_SECONDS, reload),
        (_NEW_CONNECTIONS, CONNECTION_SECONDS, connect),
    )
    threads = [threading.Thread(target=repeat, args=job) for job in jobs] + [threading.Thread(target=look_at_host)]
    for thread in threads:
        thread.start()
    try:
        yield counts, moments
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _connect(host: str, port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection((host, port), 5) as plain, context.wrap_socket(plain, server_hostname=host):
        pass


def _changed(number: int) -> str:
    """The rules with other limits for each tenth company, for each *number*."""
    lines = rule_files.of_companies().splitlines(keepends=True)
    changed = f"requests_per_unit: {4_000_000_000 - 1 - number}"
    first = len(lines) - rule_files.COMPANIES
    lines[first::10] = [line.replace("requests_per_unit: 4000000000", changed) for line in lines[first::10]]
    return "".join(lines)


def report(one: Steady) -> str:
    """Markdown."""
    got = one.got
    refused = ", ".join(f"{number:,} {code}" for code, number in got.refused.items()) or "none"
    turns = ", ".join(f"{longer_than(one.turns, bound)} over {bound * 1000:g} ms" for bound in TURNS)
    found = "not measured" if one.pauses is None else f"{len(one.pauses):,}, {sum(one.pauses):.1f} s in all"
    rows = {
        "calls": f"{got.sent:,} in {got.seconds:g} s",
        "over 10 ms, of a million": f"{one.late_of_a_million:,.0f}; floor {FLOOR}, goal {GOAL}",
        "due, but not sent, as the server took nothing or the client was late": f"{got.unsent:,}",
        "refused": refused,
        "lost": f"{got.lost:,}",
        "p50, p99": f"{got.p50_ms:.2f} ms, {got.p99_ms:.2f} ms",
        "CPU of the server": f"{one.busy:.0%} of its core",
        "CPU that the host took, as it says": f"{one.stolen:.1f} s",
        f"pauses of a core over {pauses.PAUSE_SECONDS * 1000:g} ms": found,
        "speed of the server's core": f"{one.speed:.0%} of its fastest, in the mean",
        "beside": ", ".join(f"{number:,} {name}" for name, number in one.beside.items()),
        f"turns of the loop, of {sum(one.turns.values()):,} sampled": turns,
        "client": f"{got.client_cpu:.0%} of its core; between two looks at its sockets at most {got.client_lag_ms:.1f} ms, but for 1 %",
    }
    lines = ["# Steady state", "", *(f"- {key}: {value}" for key, value in describe().items()), ""]
    lines += [
        f"{one.rate:,.0f} calls a second over {_CONNECTIONS} TLS connections, to a server on core 0 that counts in Redis. They are sent when",
        "they are due, each millisecond or sooner. The load, Redis and what goes on beside are on core 1. A tenth of 10,000 rules",
        "changes with each load.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {value} |" for key, value in rows.items()),
        "",
        "Each tenth of a second counts once, with the first of these that went on in it. The host of the machine has other guests. It",
        "pauses a core: a task with real-time priority did not run when it was due. Or it makes the core slow, with less than",
        f"{SLOW_SHARE:.0%} of its fastest speed, as the same little piece of work shows, again and again.",
        "",
        "| in a tenth of a second with | tenths | calls | late | of a million |",
        "| --- |" + " ---: |" * 4,
    ]
    lines += [
        f"| {name} | {moment.tenths:,} | {moment.sent:,} | {moment.late:,} | {1e6 * moment.late / max(1, moment.sent):,.0f} |"
        for name, moment in one.moments.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments.parser("benches.steady", __doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long it lasts [%(default)g]")
    parser.add_argument("--rate", type=float, default=CALLS_PER_SECOND, help="calls a second [%(default)g]")
    options = parser.parse_args()
    pin(LOAD_CORE)
    try:
        for program, package in (("openssl", "openssl"), ("taskset", "util-linux")):
            processes.need(program, package)
        found = run(options.rate, options.seconds)
    except Missing as missing:
        sys.exit(f"benches: {missing}")
    text = report(found)
    (options.into / "steady.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
