"""A client for load that h2load cannot make: calls at a rate of its own, that give up in time, over many keys.

It has a process of its own, started by `measure`, so that it can have a core of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import ssl
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path

from benches.connection import Connection, Tally
from benches.frames import Call, Get
from benches.messages import messages

_ROOT = Path(__file__).parent.parent
_TURN_SECONDS = 0.001
# Calls that go to one connection at once: as a proxy that has several to ask would write them.
_BURST = 4
BUCKET_SECONDS = 0.1
_SOON_SECONDS = 0.010
# What could not be sent for longer than this is not caught up with.
_STALE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of load: *rate* calls a second come what may, or else *in_flight* calls at any time."""

    seconds: float
    rate: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The results of a phase; beside those of `Tally`:

    Attributes:
        unsent: Calls that were due, and for which no connection had room.
        soon: Calls answered within 10 ms.
        seconds: How long it took.
        p50_ms: Of the calls answered.
        p99_ms: Of the calls answered.
        client_cpu: Share of a core that this client used; near 1 it, and not the server, was the limit.
        client_lag_ms: 99th percentile of the time between two looks at the sockets.
        began: `time.perf_counter` at its start.
        buckets: Calls sent, answered, and answered within 10 ms, in each tenth of a second, by when they were sent.
    """

    sent: int
    unsent: int
    answered: int
    soon: int
    timed_out: int
    late: int
    lost: int
    refused: dict[str, int]
    goaways: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu: float
    client_lag_ms: float
    began: float
    buckets: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Answers in time per second."""
        return self.answered / self.seconds


def measure(
    address: str,
    phases: Sequence[Phase],
    *,
    connections: int,
    descriptors: int = 1,
    keys: int = 1,
    timeout_ms: int = 0,
    proxy: bool = False,
    trust: Path | None = None,
    prefix: Sequence[str] = (),
) -> list[Result]:
    """Run *phases*, one after the other on the same connections, in a process started by the command *prefix*.

    Args:
        address: `host:port` of the server.
        timeout_ms: After this the client gives up a call; the server gets it as the call's deadline. 0 for never.
        trust: The certificate of a server with TLS; None for plaintext.
        proxy: *address* is that of a proxy: send it GETs of as many paths as there are *keys*; 200 is an answer.
    """
    command = [*prefix, sys.executable, "-m", "benches.client", address]
    job = {"connections": connections, "descriptors": descriptors, "keys": keys, "timeout_ms": timeout_ms}
    job["proxy"] = proxy
    job["trust"] = "" if trust is None else str(trust)  # type: ignore[assignment]
    job["phases"] = [asdict(phase) for phase in phases]  # type: ignore[assignment]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False, cwd=_ROOT)
    if done.returncode:
        raise RuntimeError(f"the load client failed: {done.stderr.strip()[-2000:]}")
    return [Result(**result) for result in json.loads(done.stdout)]


class Load:
    """Calls over some connections, which are opened again when they are lost."""

    def __init__(
        self,
        address: tuple[str, int],
        connections: int,
        calls: Sequence[Call],
        timeout: float,
        context: ssl.SSLContext | None,
    ) -> None:
        self._address = address
        self._context = context
        self._grpc = not isinstance(calls[0], Get)
        self._calls = cycle(calls)
        self._timeout = timeout
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._buckets: dict[int, list[int]] = {}
        self._tally = Tally()
        self._turn: list[Connection] = []
        for _ in range(connections):
            self._open()
        deadline = time.monotonic() + 5
        while not all(connection.room() for connection in self._connections.values()):
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not acknowledge our SETTINGS within 5 s")
            self._read(0.1)
            for connection in self._connections.values():
                connection.flush()

    def run(self, phase: Phase) -> Result:
        """Make the calls of *phase*, and wait for what is under way at its end."""
        tally = self._tally = Tally()
        self._buckets = {}
        for connection in self._connections.values():
            connection.tally = tally
        lags: list[float] = []
        unsent = 0
        cpu = time.process_time()
        begin = last = time.perf_counter()
        end = begin + phase.seconds
        drained = end + (self._timeout or 5.0) + 0.1
        while last < drained:
            self._read(_TURN_SECONDS)
            now = time.perf_counter()
            lags.append(now - last)
            last = now
            if self._timeout:
                for connection in self._connections.values():
                    connection.give_up(now - self._timeout)
            if now < end:
                unsent += self._offer(phase, now, begin, unsent)
            elif not any(connection.calls for connection in self._connections.values()):
                break
            for connection in self._connections.values():
                connection.flush()
        used = (time.process_time() - cpu) / (last - begin)
        return self._result(phase.seconds, begin, unsent, used, lags)

    def _result(self, seconds: float, begin: float, unsent: int, cpu: float, lags: list[float]) -> Result:
        tally = self._tally
        times = sorted(tally.seconds)
        first = int(begin / BUCKET_SECONDS)
        return Result(
            sent=tally.sent,
            unsent=unsent,
            answered=tally.answered,
            soon=bisect_right(times, _SOON_SECONDS),
            timed_out=tally.timed_out,
            late=tally.late,
            lost=tally.lost,
            refused=dict(tally.refused),
            goaways=dict(tally.goaways),
            seconds=seconds,
            p50_ms=round(_quantile(times, 0.5) * 1000, 3),
            p99_ms=round(_quantile(times, 0.99) * 1000, 3),
            client_cpu=round(cpu, 3),
            client_lag_ms=round(_quantile(sorted(lags), 0.99) * 1000, 3),
            began=begin,
            buckets=[
                (sent, answered, soon)
                for sent, answered, soon in (
                    self._buckets.get(first + i, (0, 0, 0)) for i in range(round(seconds / BUCKET_SECONDS))
                )
            ],
        )

    def _open(self) -> None:
        connection = Connection(self._address, self._tally, self._answered, grpc=self._grpc, context=self._context)
        self._poll.register(connection.socket, select.EPOLLIN)
        self._connections[connection.socket.fileno()] = connection

    def _read(self, timeout: float) -> None:
        for number, _ in self._poll.poll(timeout):
            connection = self._connections[number]
            connection.read()
            if connection.closed:
                # A closed socket has left the poll by itself.
                del self._connections[number]
                self._open()

    def _offer(self, phase: Phase, now: float, begin: float, unsent: int) -> int:
        """Make the calls that are due; those that are due for long and found no connection are returned."""
        bucket = self._buckets.setdefault(int(now / BUCKET_SECONDS), [0, 0, 0])
        before = self._tally.sent
        if not phase.rate:
            share = -(-phase.in_flight // len(self._connections))
            for connection in self._connections.values():
                self._fill(connection, share - len(connection.calls), now)
            bucket[0] += self._tally.sent - before
            return 0
        due = int((now - begin) * phase.rate) - before - unsent
        tries = 2 * len(self._connections)
        while due > 0 and tries:
            tries -= 1
            if not self._turn:
                self._turn = list(self._connections.values())
            due -= self._fill(self._turn.pop(), min(due, _BURST), now)
        bucket[0] += self._tally.sent - before
        return max(0, due - int(phase.rate * _STALE_SECONDS))

    def _fill(self, connection: Connection, wanted: int, now: float) -> int:
        count = max(0, min(wanted, connection.room()))
        for _ in range(count):
            connection.add(next(self._calls), now)
        return count

    def _answered(self, sent: float, took: float) -> None:
        bucket = self._buckets.get(int(sent / BUCKET_SECONDS))
        if bucket is not None:
            bucket[1] += 1
            bucket[2] += took <= _SOON_SECONDS


def http2_context(trust: Path) -> ssl.SSLContext:
    """TLS for HTTP/2 with a server that has the certificate in the file *trust*."""
    context = ssl.create_default_context(cafile=trust)
    context.set_alpn_protocols(["h2"])
    return context


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="load, as a job on stdin says; results go to stdout as JSON")
    parser.add_argument("address", help="host:port")
    host, _, port = parser.parse_args().address.rpartition(":")
    job = json.load(sys.stdin)
    timeout_ms = job["timeout_ms"]
    calls: list[Call]
    if job["proxy"]:
        calls = [Get(f"/company-{number:05}") for number in range(job["keys"])]
    else:
        calls = [Call(message, timeout_ms) for message in messages(job["descriptors"], job["keys"])]
    context = http2_context(Path(job["trust"])) if job["trust"] else None
    load = Load((host, int(port)), job["connections"], calls, timeout_ms / 1000, context)
    # Nothing here is in a cycle, and a collection would stop the clock of every call.
    gc.disable()
    json.dump([asdict(load.run(Phase(**phase))) for phase in job["phases"]], sys.stdout)


if __name__ == "__main__":
    main()
