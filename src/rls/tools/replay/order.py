"""The lines of several logs → one stream of requests, by time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from operator import itemgetter

from rls.tools.replay.logs import LONGEST_LINE, Log
from rls.tools.replay.records import Line, Reader

MOST_SHOWN = 5
"""Lines that cannot be read of which the reason is kept."""
_SORTED_AT_ONCE = 10_000
_MOST_HELD = 400_000
"""Lines of all logs that wait for earlier ones, at most."""
_at = itemgetter(0)


@dataclass
class Lines:
    """What became of the lines of all logs.

    Attributes:
        read: All lines that are not empty.
        unreadable: Those that could not be read.
        shown: The first of these: their places, and why.
        skipped: Those that a condition left out.
        bare: Those that have no descriptor.
        out_of_order: Those that are earlier than one before them in their log.
        furthest: By how many seconds at most.
        late: Those that came too late to be put in their place: the clock went back for them.
        broken: Logs that ended before their end, and why.
    """

    read: int = 0
    unreadable: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    bare: int = 0
    out_of_order: int = 0
    furthest: float = 0.0
    late: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)

    def note(self, place: str, reason: str) -> None:
        """A line cannot be read."""
        self.unreadable += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append((place, reason))


def by_time(
    logs: Sequence[Log],
    reader_of: Callable[[bytes], Reader | None],
    tolerance: float,
    lines: Lines,
    readers: list[Reader],
) -> Iterator[Line]:
    """The requests of *logs* in the order of their times.

    Args:
        logs: Read at the same time: they may be those of several pods.
        reader_of: A reader for a log that has the given line; None where the line tells nothing.
        tolerance: Seconds that a line may come too late. A log has its lines in the order in which requests ended.
        lines: Counts what becomes of the lines.
        readers: The reader of each log is added.
    """
    each = [_Sorted(log, reader_of, tolerance, lines, readers, max(1, len(logs))).requests() for log in logs]
    return each[0] if len(each) == 1 else merge(*each, key=_at)


class _Sorted:
    """The lines of one log by time, but for those that are too late."""

    def __init__(
        self,
        log: Log,
        reader_of: Callable[[bytes], Reader | None],
        tolerance: float,
        lines: Lines,
        readers: list[Reader],
        logs: int,
    ) -> None:
        self._log = log
        self._reader_of = reader_of
        self._tolerance = tolerance
        self._lines = lines
        self._readers = readers
        self._logs = logs
        self._at_once = max(500, _SORTED_AT_ONCE // logs)
        self._most_held = max(1_000, _MOST_HELD // logs)
        self._number = 0

    def requests(self) -> Iterator[Line]:
        """Them."""
        lines, tolerance = self._lines, self._tolerance
        waiting: list[Line] = []
        newest = gone = float("-inf")
        sort_at = self._at_once
        for block in self._blocks():
            for line in block:
                at = line[0]
                if at >= newest:
                    newest = at
                else:
                    lines.out_of_order += 1
                    lines.furthest = max(lines.furthest, newest - at)
                    lines.late += at < gone
            waiting += block
            if len(waiting) < sort_at:
                continue
            waiting.sort(key=_at)
            ready = bisect_right(waiting, newest - tolerance, key=_at)
            ready = max(ready, len(waiting) - self._most_held)
            if ready:
                gone = waiting[ready - 1][0]
                yield from waiting[:ready]
                del waiting[:ready]
            sort_at = 2 * len(waiting) + self._at_once
        waiting.sort(key=_at)
        yield from waiting

    def _blocks(self) -> Iterator[list[Line]]:
        """The requests in the order of the log, some at a time."""
        log, reader, read = self._log, None, None
        for block in log.blocks():
            found = []
            for text in block:
                self._number += 1
                if not text.strip():
                    continue
                self._lines.read += 1
                if len(text) > LONGEST_LINE:
                    self._lines.note(f"{log.name}:{self._number}", f"it has more than {LONGEST_LINE:,} bytes")
                    continue
                try:
                    if read is None:
                        reader = self._reader_for(text)
                        read = reader.read
                    line = read(text)
                    if line is not None:
                        found.append(line)
                except ValueError as error:
                    self._lines.note(f"{log.name}:{self._number}", str(error))
            yield found
        if log.broken:
            self._lines.broken.append((log.name, log.broken))
        if reader is not None:
            self._lines.skipped += reader.skipped
            self._lines.bare += reader.bare

    def _reader_for(self, text: bytes) -> Reader:
        reader = self._reader_of(text)
        if reader is None:
            raise ValueError("it is neither JSON nor a line of Envoy's or Istio's default format: see --format")
        reader.remembered //= self._logs
        self._readers.append(reader)
        return reader
