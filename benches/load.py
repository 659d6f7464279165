"""One measurement: a load on a server, and what it cost."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

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
    """What came of a load.

    Attributes:
        rate: Checks answered per second.
        failed: Checks that were refused or lost.
        p50_ms: Of all checks.
        p99_ms: Of all checks.
        cpu_us: CPU of the server for each check, user and system, in microseconds.
        redis_us: CPU of Redis for each check, in microseconds.
        commands: Commands that Redis ran for each check.
        others: CPU that anything else on the machine used meanwhile, in cores.
    """

    rate: float
    failed: int
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_us: float
    commands: float
    others: float


def cost(server: Running, redis: Running | None, case: Case, seconds: float, folder: Path) -> Cost:
    """Put *case* on *server* for *seconds*."""
    run = h2load if case.keys == 1 else _client
    pids = family(server.pid)
    mine = [*pids, *([redis.pid] if redis else [])]
    begin, others, used = time.monotonic(), others_seconds(mine), cpu_seconds(pids)
    redis_used = cpu_seconds([redis.pid]) if redis else 0.0
    commands = _commands(redis)
    answered, failed, rate, p50, p99 = run(server, case, seconds, folder)
    commands = _commands(redis) - commands
    others = others_seconds(mine) - others
    calls = max(1, answered + failed)
    return Cost(
        rate=rate,
        failed=failed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=(cpu_seconds(pids) - used) / calls * 1e6,
        redis_us=(cpu_seconds([redis.pid]) - redis_used) / calls * 1e6 if redis else 0.0,
        commands=commands / calls,
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


def _commands(redis: Running | None) -> int:
    """Commands that Redis has run, but for those that ask."""
    if redis is None:
        return 0
    with Redis.from_url(f"redis://{redis.address}") as client:
        stats = client.info("commandstats")
    asked = ("cmdstat_info", "cmdstat_hello", "cmdstat_client", "cmdstat_ping", "cmdstat_auth")
    return sum(stat["calls"] for name, stat in stats.items() if not name.startswith(asked))
