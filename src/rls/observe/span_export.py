"""Spans on their way out: a bounded queue, and the process that exports them.

The loop only appends to a list, and writes it to a socket in pieces of less than half a millisecond. What comes too fast for
the process, or while the collector is away, is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from rls.observe.seldom import Seldom
from rls.observe.spans import Span
from rls.slices import Slices

FULL, FAILED, ENDED = "queue_full", "export_failed", "exporter_ended"
_LENGTH_BYTES = 4
_FRAME = 32
"""Spans that are written at once."""
_AT_ONCE = 512
"""Spans that do not wait for more."""
_BUFFER_BYTES = 256 * 1024
_RETRY_SECONDS, _LONGEST_RETRY = 1.0, 60.0
_LOG_SECONDS = 60.0
_REAP_SECONDS = 1.0


class SpanExport:
    """Exports what it is given, while it runs.

    Args:
        exporter: Its name, as in OTEL_TRACES_EXPORTER.
        most: Spans that wait at most.
        delay: The longest that a span waits for others, in seconds.
        on_problem: Called with a reason when spans are lost, once a minute at most.
        program: What exports; see `span_process`.

    Attributes:
        exported: Spans so far that the collector has.
        dropped: Spans so far that it has not, by reason.
    """

    def __init__(
        self,
        exporter: str,
        *,
        most: int = 8_192,
        delay: float = 1.0,
        on_problem: Callable[[str], None] = lambda _: None,
        program: Sequence[str] = (sys.executable, "-P", "-m", "rls.observe.span_process"),
    ) -> None:
        self.exported = 0
        self.dropped = dict.fromkeys((FULL, FAILED, ENDED), 0)
        self._command = [*program, exporter]
        self._most = most
        self._delay = delay
        self._on_problem = on_problem
        self._waiting: deque[Span] = deque()
        self._many = asyncio.Event()
        self._closing = asyncio.Event()
        self._sent = 0  # to the process, which has not said what became of them
        self._seldom = Seldom(_LOG_SECONDS)
        self._reason = ""

    @property
    def is_full(self) -> bool:
        """See `traces.Sink`."""
        return len(self._waiting) >= self._most

    def add(self, spans: Sequence[Span]) -> None:
        """See `traces.Sink`."""
        waiting = self._waiting
        if len(waiting) + len(spans) > self._most:
            self.dropped[FULL] += len(spans)
            return
        waiting.extend(spans)
        if len(waiting) >= _AT_ONCE:
            self._many.set()

    def drop(self) -> None:
        """See `traces.Sink`."""
        self.dropped[FULL] += 1

    async def run(self) -> None:
        """Export until `aclose`. Where the process ends, another one follows, a little later each time."""
        wait = _RETRY_SECONDS
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                await self._run_once()
            except (OSError, ValueError) as error:  # there is no process, or what it reports is no report
                self._lost(f"the process that exports spans cannot be used: {error}")
            if time.monotonic() - began > _LONGEST_RETRY:
                wait = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), wait)
            wait = min(2 * wait, _LONGEST_RETRY)

    async def aclose(self, running: asyncio.Task[None], seconds: float) -> None:
        """Export what waits, for at most *seconds*. What is lost all the same is counted.

        Args:
            running: The task of `run`.
            seconds: How long.
        """
        self._closing.set()
        self._many.set()
        await asyncio.wait([running], timeout=seconds)
        if not running.done():
            running.cancel()
            await asyncio.wait([running])
        self.dropped[ENDED] += len(self._waiting)
        self._waiting.clear()

    async def _run_once(self) -> None:
        """Start the process, and give it spans until it ends, or until `aclose`."""
        self._sent, self._reason = 0, ""
        # Two, since what it reports must be read even where it has not read what it was sent.
        spans, its_input = socket.socketpair()
        reports, its_output = socket.socketpair()
        with spans, reports:
            with its_input, its_output:
                # Not asyncio's: see `sources.compiling`.
                process = subprocess.Popen(  # noqa: ASYNC220, S603
                    self._command, stdin=its_input.fileno(), stdout=its_output.fileno(), start_new_session=True
                )
            try:
                await self._exchange(spans, reports)
            finally:
                process.kill()
                _reap(process)
                self.dropped[ENDED] += self._sent
                self._sent = 0
        if not self._closing.is_set():
            self._lost(self._reason or "the process that exports spans has ended")

    async def _exchange(self, spans: socket.socket, reports: socket.socket) -> None:
        """Write to *spans* and read *reports* until the process ends."""
        _, writer = await asyncio.open_connection(sock=spans)
        reader, unused = await asyncio.open_connection(sock=reports)
        writer.transport.set_write_buffer_limits(_BUFFER_BYTES)
        sending = asyncio.create_task(self._send(writer))
        try:
            await self._read(reader)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            for one in (writer, unused):
                one.transport.abort()  # `close` would wait for a process that reads no more
            await asyncio.sleep(0)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        """Write what waits: when there is much, and else from time to time."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._many.wait(), self._delay)
            slices, has_sent = Slices(), bool(self._waiting)
            while self._waiting:
                spans = list(islice(self._waiting, _FRAME))
                for _ in spans:
                    self._waiting.popleft()
                try:
                    frame = marshal.dumps(spans)
                except ValueError as error:  # a bug: an attribute is no plain value
                    self.dropped[FAILED] += len(spans)
                    self._lost(f"internal error (please report): {error}")
                    continue
                self._sent += len(spans)
                writer.write(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)
                await writer.drain()
                await asyncio.sleep(0)
                await slices.next()
            self._many.clear()
            if has_sent:
                writer.write(bytes(_LENGTH_BYTES))
                await writer.drain()
            if self._closing.is_set():
                writer.write_eof()
                return

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hear what became of the spans, until the process ends."""
        while line := await reader.readline():
            said = json.loads(line)
            if "exported" in said:
                self.exported += said["exported"]
                self._sent -= said["exported"]
            else:
                self.dropped[FAILED] += said["failed"]
                self._sent -= said["failed"]
                self._reason = said["reason"] or "the exporter does not say why"
                if said["failed"]:
                    self._lost(self._reason)

    def _lost(self, reason: str) -> None:
        if self._seldom.due("lost") is not None:
            self._on_problem(reason)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of *process*, which takes a moment, and not in the loop."""
    try:
        threading.Thread(target=process.wait, name="exported", daemon=True).start()
    except RuntimeError:  # the system gives no thread
        asyncio.get_running_loop().call_later(_REAP_SECONDS, process.poll)
