"""One measurement: a load on a server, and what it cost."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benches.client import Phase, measure
from benches.frames import PATH
from benches.machine import cpu_seconds, family, on_core, others_seconds
from benches.messages import message
from benches.processes import LOAD_CORE, Running

# Connections for so many calls in flight.
_CONNECTIONS = {1: 1, 16: 4, 64: 4, 256: 16}


@dataclass(frozen=True, slots=True)
class Case:
    """A load: calls in flight, descriptors of each, and companies that they are about."""

    in_flight: int
    descriptors: int
    keys: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The results of a load.

    Attributes:
        rate: Checks answered per second.
        failed: Checks that were refused or lost.
        p50_ms: Of all checks.
        p99_ms: Of all checks.
        cpu_us: CPU of the server for each check, user and system, in microseconds.
        redis_us: CPU of Redis for each check, in microseconds.
        commands: Commands that Redis ran for each check.
        reads: Times that the busiest node of Redis read from a connection for each check: with one call in flight, how
            many round trips deep it is.
        others: CPU that anything else on the machine used meanwhile, in cores.
    """

    rate: float
    failed: int
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_us: float
    commands: float
    reads: float
    others: float


def cost(server: Running, stores: Sequence[Running], case: Case, seconds: float, folder: Path) -> Cost:
    """Put *case* on *server*, which counts in *stores*, for *seconds*."""
    run = h2load if case.keys == 1 else _client
    pids = family(server.pid)
    redis = [store.pid for store in stores]
    mine = [*pids, *redis]
    begin, others, used = time.monotonic(), others_seconds(mine), cpu_seconds(pids)
    redis_used = cpu_seconds(redis)
    commands, reads = _commands(stores), _reads(stores)
    answered, failed, rate, p50, p99 = run(server, case, seconds, folder)
    commands = _commands(stores) - commands
    deepest = max((after - before for after, before in zip(_reads(stores), reads, strict=True)), default=0)
    others = others_seconds(mine) - others
    calls = max(1, answered + failed)
    return Cost(
        rate=rate,
        failed=failed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=(cpu_seconds(pids) - used) / calls * 1e6,
        redis_us=(cpu_seconds(redis) - redis_used) / calls * 1e6,
        commands=commands / calls,
        reads=deepest / calls,
        others=max(0.0, others / (time.monotonic() - begin)),
    )


def h2load(server: Running, case: Case, seconds: float, folder: Path) -> tuple[int, int, float, float, float]:
    """Calls answered and failed, the rate per second, and p50 and p99 in milliseconds, of one hot key."""
    connections = _CONNECTIONS[case.in_flight]
    body, log = folder / "body", folder / "times"
    payload = message(case.descriptors)
    body.write_bytes(b"\0" + len(payload).to_bytes(4, "big") + payload)
    log.unlink(missing_ok=True)
    command = [*on_core(LOAD_CORE), "h2load", "-D", f"{seconds * 1000:.0f}ms", "-c", str(connections), "-t", "1"]
    command += ["-m", str(case.in_flight // connections), "-d", str(body), "--log-file", str(log)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{server.address}{PATH}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"h2load failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    # start, status, microseconds; as it is: what was not answered has status -1
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    answered = int(found[1])
    p50, p99 = (times[min(len(times) - 1, int(q * len(times)))] / 1000 if times else 0.0 for q in (0.5, 0.99))
    return answered, max(0, len(times) - answered), answered / seconds, p50, p99


def _client(server: Running, case: Case, seconds: float, folder: Path) -> tuple[int, int, float, float, float]:
    del folder
    (result,) = measure(
        server.address,
        [Phase(seconds, in_flight=case.in_flight)],
        connections=_CONNECTIONS[case.in_flight],
        descriptors=case.descriptors,
        keys=case.keys,
        prefix=on_core(LOAD_CORE),
    )
    failed = result.sent - result.answered
    return result.answered, failed, result.goodput, result.p50_ms, result.p99_ms


def _commands(stores: Sequence[Running]) -> int:
    """Commands that Redis has run, except for those of this measurement."""
    asked = ("cmdstat_info", "cmdstat_hello", "cmdstat_client", "cmdstat_ping", "cmdstat_auth", "cmdstat_cluster")
    return sum(
        stat["calls"]
        for store in stores
        for name, stat in _info(store, "commandstats").items()
        if not name.startswith(asked)
    )


def _reads(stores: Sequence[Running]) -> list[int]:
    """How often each has read from connections."""
    return [_info(store, "stats")["total_reads_processed"] for store in stores]


def _info(store: Running, section: str) -> dict[str, Any]:
    with Redis.from_url(f"redis://{store.address}") as client:
        found: dict[str, Any] = client.info(section)
        return found
