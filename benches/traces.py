"""`python -m benches.traces`: what traces and the decision log add to a check, and to the turns of the loop.

One process, pinned by `taskset -c 1`. The observers' methods alone are timed, with requests that were really decided, in
batches as Redis completes them. Other programs only add, so the least of many rounds counts. Turns of the loop are measured in
CPU, as in `benches.reload_turns`, while spans go to the process that exports them, and from there to a collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvloop
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from benches import arguments
from benches.machine import describe
from benches.messages import DOMAIN
from examples.mesh.processes import free_port
from rls.app.interpreter import switch_threads_often
from rls.config.compile import compile_file
from rls.core.model import Descriptor, Entry, Request
from rls.core.rules import Domain, RuleSet
from rls.engine.events import Observer, RequestContext
from rls.engine.limiter import Limiter
from rls.observe.decision_log import DecisionLog
from rls.observe.line_writer import LineWriter
from rls.observe.otel import TraceVariables
from rls.observe.span_export import SpanExport
from rls.observe.spans import Span
from rls.observe.traces import Traces
from rls.stores.base import StoreBatch
from rls.stores.memory import MemoryStore
from rls.transport.http2 import Request as Http2Request
from rls.transport.http2.request import Head

BATCH = 64
_ROUNDS = 300
_SECONDS = 3.0
_RATES = (0, 2_000, 10_000)
"""Calls a second that are recorded, of five spans each."""
_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_RULES = f"""\
domain: {DOMAIN}
descriptors:
  - key: company_id
    rate_limit: {{name: company, unit: hour, requests_per_unit: 2}}
"""
_COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class _Call(RequestContext):
    """A request as the native transport has it: its fields are decoded when asked for."""

    __slots__ = ("_request",)

    def __init__(self, request: Http2Request) -> None:
        self._request = request

    def metadata(self, name: str) -> str | None:
        value = self._request.value(name.encode())
        return None if value is None else value.decode()

    @property
    def may_be_sampled(self) -> bool:
        return self._request.may_be_sampled

    @property
    def arrived(self) -> float:
        return time.monotonic()


class _Sink:
    """Takes spans, and keeps some."""

    is_full = False

    def __init__(self) -> None:
        self.last: deque[Span] = deque(maxlen=5 * BATCH)

    def add(self, spans: Sequence[Span]) -> None:
        self.last.extend(spans)

    def drop(self) -> None: ...


def _http2_request(random: Random, flags: int) -> Http2Request:
    """With the fields that Envoy sends; two of them differ, in a Huffman code."""
    names = (b":method", b":scheme", b":path", b":authority", b"te", b"content-type", b"traceparent", b"x-request-id")
    head = Head([(name, b"x") for name in names])
    values = [
        b"00-%032x-%016x-%02x" % (random.getrandbits(128), random.getrandbits(64), flags),
        b"%032x" % random.getrandbits(128),
    ]
    coded = [_HUFFMAN.encode(value) for value in values]
    return Http2Request(head, (6, 7), [bytes([0x80 | len(value)]) + value for value in coded])


def _calls(flags: int, *, refused: bool = False) -> list[_Call]:
    """A batch of calls that were decided."""
    random = Random(1)
    document = compile_file("rules.yaml", _RULES.encode()).documents[0]
    limiter = Limiter(MemoryStore())
    limiter.load(RuleSet({document.domain: Domain(document.domain, document.root)}))

    async def decide() -> list[_Call]:
        found = []
        for number in range(BATCH):
            request = Request(
                DOMAIN, (Descriptor((Entry("company_id", f"company-{number:05}"),)),), 3 if refused else 1
            )
            call = _Call(_http2_request(random, flags))
            await limiter.run(limiter.prepare(request), call)
            call.at_once = False
            found.append(call)
        return found

    return asyncio.run(decide())


def _microseconds(observer: Observer, calls: Sequence[RequestContext], *, in_redis: bool = True) -> float:
    """What *observer* takes for each of *calls*, which one batch carried if they are *in_redis*."""
    batch = StoreBatch("redis://redis:6379", time.time(), 0.0002, (), (), calls)
    hears_batches = in_redis and type(observer).batch_done is not Observer.batch_done
    least = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        if hears_batches:
            observer.batch_done(batch)
        decided = observer.decided
        for call in calls:
            decided(call)
        least = min(least, time.perf_counter() - began)
    return least / len(calls) * 1e6


def _drop(_: bytes) -> None: ...


def costs() -> Iterator[tuple[str, float]]:
    """Microseconds of a check, by what is observed."""
    variables, sink = TraceVariables(exporter="otlp"), _Sink()
    traces = Traces(sink, variables)
    sampled, unsampled = _calls(1), _calls(0)
    yield "traces on, not sampled, counted in Redis", _microseconds(traces, unsampled)
    at_once = _calls(0)
    for call in at_once:
        call.at_once = True
    yield "traces on, not sampled, answered from memory", _microseconds(traces, at_once, in_redis=False)
    yield "traces on, sampled: five spans drawn", _microseconds(traces, sampled)
    spans = list(sink.last)
    yield "the same, handed to the process that exports", _least(lambda: marshal.dumps(spans)) / BATCH * 1e6
    refused = _calls(1, refused=True)
    far = 10**9
    yield "decision log at its default rates, request passes", _microseconds(DecisionLog(_drop), unsampled)
    yield "decision log, limited request beyond the rate", _microseconds(DecisionLog(_drop, refusals=0), refused)
    yield "decision log, a line", _microseconds(DecisionLog(_drop, refusals=far), refused)


def _least(work: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least


@dataclass(frozen=True, slots=True)
class Turns:
    """Turns of the loop while so many calls a second are recorded: the most CPU of one, and how many spans got out."""

    rate: int
    longest_ms: float
    longer: int
    exported: int
    dropped: int


@contextlib.contextmanager
def _collector() -> Iterator[int]:
    """The port of a collector that takes everything."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _COLLECTOR, str(port)])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def _turns(rate: int, folder: Path) -> Turns:
    """Record *rate* calls a second, and log a tenth of them, for some seconds."""
    export = SpanExport("otlp")
    traces = Traces(export, TraceVariables(exporter="otlp"))
    writer = LineWriter(folder / "decisions")
    log = DecisionLog(writer.add, refusals=rate // 10)
    running = asyncio.create_task(export.run())
    calls = _refused_and_sampled
    await asyncio.sleep(2)  # until the process has started
    turns: list[float] = []
    probe = asyncio.create_task(_probe(turns))
    began, done = time.monotonic(), 0
    while (now := time.monotonic() - began) < _SECONDS:
        due = min(int(now * rate) - done, BATCH)
        if due > 0:
            some = calls[:due]
            traces.batch_done(StoreBatch("redis://redis:6379", time.time(), 0.0002, (), (), some))
            for call in some:
                traces.decided(call)
                log.decided(call)
            done += due
            turns.append(0.0)  # what this draws is not the export's: the probe leaves this turn out
        await asyncio.sleep(0.002)
    probe.cancel()
    await export.aclose(running, 10)
    await writer.aclose(10)
    seen = [turn for turn in turns if turn]
    longer = sum(turn > 0.001 for turn in seen)
    return Turns(rate, max(seen) * 1e3, longer, export.exported, sum(export.dropped.values()))


async def _probe(turns: list[float]) -> None:
    """Note the CPU of each turn but those in which calls were recorded."""
    while True:
        known, began = len(turns), time.thread_time()
        await asyncio.sleep(0)
        if len(turns) == known:
            turns.append(time.thread_time() - began)


_refused_and_sampled = _calls(1, refused=True)


def turns(folder: Path) -> list[Turns]:
    """For each of the rates."""
    switch_threads_often()
    with _collector() as port:
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        found = []
        for rate in _RATES:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found.append(runner.run(_turns(rate, folder)))
        return found


def report(measured: Sequence[tuple[str, float]], found: Sequence[Turns]) -> str:
    """Markdown."""
    lines = [
        "# What traces and the decision log cost",
        "",
        *(f"- {key}: {value}" for key, value in describe().items()),
        "",
    ]
    lines += ["CPU that an observer takes for a check of one descriptor, in microseconds, in batches of 64.", ""]
    lines += ["| what | µs |", "| --- | ---: |", "| traces off, decision log off | 0 |"]
    lines += [f"| {name} | {cost:.2f} |" for name, cost in measured]
    lines += [
        "",
        f"Turns of the loop that export spans and write lines, over {_SECONDS:g} s: five spans for each recorded call, a line for",
        "each tenth one. The turns in which calls are recorded are left out: the table above has their cost.",
        "",
        "| recorded calls a second | longest turn, ms of CPU | turns over 1 ms | spans exported | spans dropped |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.rate:,} | {one.longest_ms:.2f} | {one.longer} | {one.exported:,} | {one.dropped:,} |" for one in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = arguments.parser("benches.traces", __doc__).parse_args()
    text = report(list(costs()), turns(options.into))
    (options.into / "decisions").unlink(missing_ok=True)
    (options.into / "traces.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
