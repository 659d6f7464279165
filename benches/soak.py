"""`make soak`: mixed traffic for an hour, while memory, file descriptors and series of the server are watched.

What a mesh sends, and what goes wrong in one: many keys, refusals, callers that give up, connections that come and go,
half-sent calls, garbage, large requests, scrapes, new rules every minute, and a Redis that hangs for two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import grpc.aio

from benches import arguments, processes, rule_files
from benches.machine import describe, resident_mib
from benches.messages import DOMAIN, messages
from benches.processes import Missing, Running
from benches.soak_chart import Sample, draw
from examples.mesh.http import ask
from examples.mesh.processes import free_port

Call: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

CHECKS_PER_SECOND = 150
SAMPLE_SECONDS = 10.0
_KEYS = 3_000
_RULES = 1_000
_METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_WATCH = "/grpc.health.v1.Health/Watch"
_HALF_SENT = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5) + b"\x00\x00\x08\x01\x04\x00\x00\x00\x01"
)


@dataclass(frozen=True, slots=True)
class Server:
    """What is watched, and what it needs."""

    process: Running
    http: int
    rules: Path
    redis: Running

    def sample(self, seconds: float) -> Sample:
        page = ask(self.http, "/metrics").body.decode()
        series = sum(1 for line in page.splitlines() if line and line[0] != "#")
        files = len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        return Sample(round(seconds, 1), round(resident_mib(self.process.pid), 2), files, series)


class Traffic:
    """All that the server gets; *outcomes* counts the results of the calls."""

    def __init__(self, server: Server) -> None:
        self.outcomes = Counter[str]()
        self._server = server
        self._messages = messages(1, _KEYS)
        self._weights = [1 / (rank + 1) for rank in range(_KEYS)]
        self._large = messages(150, 20)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(self._checks(CHECKS_PER_SECOND / 4))
            for seconds, act in (
                (0.5, self._new_connection),
                (5.0, self._large_request),
                (5.0, self._garbage),
                (2.0, self._half_sent),
                (10.0, self._watch),
                (15.0, self._json),
                (60.0, self._new_rules),
                (300.0, self._hang_redis),
            ):
                group.create_task(self._every(seconds, act))

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await act()
            except (OSError, grpc.RpcError) as error:
                self.outcomes[f"{act.__name__.strip('_')}: {type(error).__name__}"] += 1

    async def _checks(self, rate: float) -> None:
        async with grpc.aio.insecure_channel(self._server.process.address) as channel:
            call: Call = channel.unary_unary(_METHOD)
            while True:
                await asyncio.sleep(random.expovariate(rate))
                (message,) = random.choices(self._messages, self._weights)
                await self._check(call, message, timeout=0.0005 if random.random() < 0.01 else 1.0)

    async def _check(self, call: Call, message: bytes, timeout: float) -> None:
        trace = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"
        try:
            answer = await call(message, timeout=timeout, metadata=(("traceparent", trace),))
            self.outcomes["over limit" if answer.startswith(b"\x08\x02") else "ok"] += 1
        except grpc.aio.AioRpcError as error:
            self.outcomes[error.code().name] += 1

    async def _new_connection(self) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(self._server.process.address, options) as channel:
            await self._check(channel.unary_unary(_METHOD), random.choice(self._messages), timeout=1.0)

    async def _large_request(self) -> None:
        async with grpc.aio.insecure_channel(self._server.process.address) as channel:
            await self._check(channel.unary_unary(_METHOD), random.choice(self._large), timeout=1.0)

    async def _watch(self) -> None:
        async with grpc.aio.insecure_channel(self._server.process.address) as channel:
            method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_WATCH)
            watch = method(b"")
            await watch.read()
            await asyncio.sleep(5)
            watch.cancel()

    async def _garbage(self) -> None:
        await self._raw(random.randbytes(2_000), 1.0)

    async def _half_sent(self) -> None:
        await self._raw(_HALF_SENT, 6.0)

    async def _raw(self, data: bytes, seconds: float) -> None:
        host, _, port = self._server.process.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        await asyncio.sleep(seconds)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _json(self) -> None:
        entries = [{"key": "company_id", "value": f"company-{random.randrange(_KEYS):05}"}]
        body = json.dumps({"domain": DOMAIN, "descriptors": [{"entries": entries}]}).encode()
        answer = await asyncio.to_thread(ask, self._server.http, "/json", method="POST", body=body)
        self.outcomes[f"/json {answer.status}"] += 1

    async def _new_rules(self) -> None:
        write_rules(self._server.rules, random.randrange(1_000, 2_000))

    async def _hang_redis(self) -> None:
        os.kill(self._server.redis.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(2)
        finally:
            os.kill(self._server.redis.pid, signal.SIGCONT)


def write_rules(path: Path, limit: int) -> None:
    """Many rules, of which the first is for all companies."""
    rules = [f"domain: {DOMAIN}", "descriptors:"]
    rules.append("  - {key: company_id, rate_limit: {name: company, unit: minute, requests_per_unit: 200}}")
    rules += [
        f"  - {{key: path, value: /{number}, rate_limit: {{unit: hour, requests_per_unit: {limit + number}}}}}"
        for number in range(_RULES)
    ]
    rule_files.replace(path, "\n".join(rules))


async def watch(server: Server, seconds: float) -> tuple[list[Sample], Counter[str]]:
    """Send for so many *seconds*; a sample every `SAMPLE_SECONDS`."""
    traffic = Traffic(server)
    sending = asyncio.create_task(traffic.run())
    samples: list[Sample] = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds and not sending.done():
        samples.append(await asyncio.to_thread(server.sample, passed))
        _progress(f"{passed:.0f} of {seconds:.0f} s: {samples[-1]}")
        await asyncio.sleep(SAMPLE_SECONDS)
    _progress("")
    if sending.done():
        sending.result()
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    return samples, traffic.outcomes


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def grown(samples: list[Sample]) -> float:
    """Memory at the end over memory after a sixth of the time, when all caches had been used: medians of a sixth."""
    sixth = max(1, len(samples) // 6)
    after, end = samples[sixth : 2 * sixth] or samples, samples[-sixth:]
    return statistics.median(s.resident_mib for s in end) / statistics.median(s.resident_mib for s in after)


def main() -> None:
    parser = arguments.parser("benches.soak", __doc__)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="how long")
    parser.add_argument("--transport", default="", help="what speaks gRPC; the default of rls serve if left out")
    options = parser.parse_args()
    try:
        about = describe()
        with tempfile.TemporaryDirectory(prefix="rls-soak-") as path, processes.redis(Path(path)) as redis:
            rules, http = Path(path) / "rules" / "rules.yaml", free_port()
            rules.parent.mkdir()
            write_rules(rules, 1_000)
            transport = ["--transport", options.transport] if options.transport else []
            with processes.serve(Path(path), rules, f"redis://{redis.address}", http, transport) as process:
                server = Server(process, http, rules, redis)
                samples, outcomes = asyncio.run(watch(server, options.seconds))
    except Missing as missing:
        sys.exit(f"soak: {missing}")
    except KeyboardInterrupt:
        sys.exit("\nsoak: interrupted; everything that was started is stopped")
    found = {"about": about, "outcomes": dict(outcomes.most_common()), "grown": round(grown(samples), 4)}
    (options.into / "soak.json").write_text(json.dumps({**found, "samples": [asdict(s) for s in samples]}) + "\n")
    draw(options.into / "soak.svg", samples, about)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
