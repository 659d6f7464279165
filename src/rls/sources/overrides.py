"""Overrides, kept in the store of the counters for all servers that use it.

They are one record of JSON, with a version that grows with each change. Each server polls it once a second. What it knew
last stays in force while the store fails, and overrides end by the server's own clock.

A store may lose the record (a restart without its data, a failover), or go back to an older one. A server that knows a newer
version puts it back.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rls.core.overrides import Override, from_members, to_members
from rls.errors import BackendError, RlsError, origin
from rls.stores.base import KeepsRecords
from rls.utc import utc

NAME = b"overrides"
POLL_SECONDS = 1.0
_KEPT_SECONDS = 3600
"""How long the record is kept after its last override has ended."""
_MOST_BYTES = 1 << 20
_ATTEMPTS = 40
_AGAIN_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
"""How long a store that does not answer is asked again: more than a stall, and less than a client waits."""
_UNCLEAR = "; it may have taken the change all the same, so list the overrides once it answers"
_REPORTED_FROM = 3
"""Failures in a row from which on they are reported."""

Publish = Callable[[Sequence[Override]], Awaitable[None]]


class OverrideRefused(RlsError):
    """An override that cannot be set or ended; the text says why."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What the store holds.

    Attributes:
        raw: Its bytes; None for no record.
        version: Counts changes.
        members: The overrides, with members that a newer version may have added.
        overrides: Those that this version understands.
    """

    raw: bytes | None = None
    version: int = 0
    members: tuple[Mapping[str, Any], ...] = ()
    overrides: tuple[Override, ...] = field(default=())

    def lives(self, now: float) -> bool:
        """Whether an override has not ended at the Unix second *now*."""
        return any(one.until > now for one in self.overrides)


class OverrideSource:
    """Reads, sets and ends overrides.

    Args:
        records: The store; None where it keeps no records, so that there are no overrides.
        publish: Puts overrides in force, in place of those before.
        report: Called with the reason while overrides cannot be read, with "" when they can.
        is_down: Whether the store is known to fail. Then only overrides in force are worth a reason of their own.
        most: How many there may be at one time.
        patience: Seconds for which a change is tried again while the store does not answer.
        clock: Unix seconds.

    Attributes:
        read_at: When they were read last, in Unix seconds; 0 before.
        error: Why they cannot be read; "" while they can.
    """

    def __init__(
        self,
        records: KeepsRecords | None,
        publish: Publish,
        report: Callable[[str], None] = lambda _: None,
        *,
        is_down: Callable[[], bool] = lambda: False,
        most: int = 100,
        patience: float = _PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.read_at = 0.0
        self.error = ""
        self._records = records
        self._publish = publish
        self._report = report
        self._is_down = is_down
        self._failures = 0
        self.most = most
        self._patience = patience
        self._clock = clock
        self._record = _Record()
        self._in_force: tuple[Override, ...] = ()
        self._one_at_a_time = asyncio.Lock()

    @property
    def in_force(self) -> Sequence[Override]:
        """Those that hold, in the order in which they were set."""
        return self._in_force

    @property
    def can_keep(self) -> bool:
        """Whether the store keeps overrides."""
        return self._records is not None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                await self.poll()
            except Exception as bug:  # noqa: BLE001 - the server goes on with the overrides that it has
                self._failed(f"internal error (please report): {bug!r} in {origin(bug)}")
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """Read them once, put in force what changed, end those whose time has come."""
        if self._records is None:
            return
        async with self._one_at_a_time:
            try:
                await self._read(self._records)
            except (BackendError, ValueError) as error:
                self._failed(str(error))
            await self._apply()

    async def set(self, override: Override) -> Override | None:
        """Put *override* in force, in the place of one for the same entries, which is returned.

        Raises:
            OverrideRefused: There are too many.
            BackendError: The store did not take it.
        """
        replaced: list[Override] = []

        def change(record: _Record) -> list[Mapping[str, Any]]:
            now = self._clock()
            same = (override.domain, override.entries)
            live = [(one, members) for one, members in _known(record) if one is None or one.until > now]
            replaced[:] = [one for one, _ in live if one is not None and (one.domain, one.entries) == same]
            others = [members for one, members in live if one is None or one not in replaced]
            if len(others) >= self.most:
                raise OverrideRefused(f"{len(others)} overrides hold, and at most {self.most} may (--max-overrides)")
            return [*others, to_members(override)]

        await self._write(change, override.until, lambda record: any(one.id == override.id for one in record.overrides))
        return replaced[0] if replaced else None

    async def end(self, name: str) -> Override:
        """End the override whose id is *name*, and return it.

        Raises:
            OverrideRefused: No override has it.
            BackendError: The store did not take it.
        """
        ended: list[Override] = []

        def change(record: _Record) -> list[Mapping[str, Any]]:
            now = self._clock()
            live = [(one, members) for one, members in _known(record) if one is None or one.until > now]
            ended[:] = [one for one, _ in live if one is not None and one.id == name]
            if not ended:
                raise OverrideRefused(f"no override in force has the id {name}")
            return [members for one, members in live if one is None or one.id != name]

        await self._write(change, 0.0, lambda record: all(one.id != name for one in record.overrides))
        return ended[0]

    async def _write(
        self, change: Callable[[_Record], list[Mapping[str, Any]]], until: float, is_done: Callable[[_Record], bool]
    ) -> None:
        """Put what *change* makes of the record in its place.

        A store that stalls for a moment is asked again: somebody waits for this. Its last answer may be lost although it
        took the change, so *is_done* says of a record whether it has it.

        Raises:
            OverrideRefused: From *change*.
            BackendError: The store did not take it, or did not say so.
        """
        if self._records is None:
            raise OverrideRefused("this store keeps no overrides")
        unclear = False
        gives_up = time.monotonic() + self._patience
        for _ in range(_ATTEMPTS):
            is_sent = False
            try:
                async with self._one_at_a_time:
                    await self._read(self._records)
                    record = self._record
                    if unclear and is_done(record):
                        await self._apply()
                        return
                    ends = max([until, *(one.until for one in record.overrides)])
                    after = _encoded(record.version + 1, change(record))
                    is_sent = True
                    if await self._replace(self._records, record.raw, after, ends):
                        self._record = _decoded(after)
                        await self._apply()
                        return
            except ValueError as error:
                raise BackendError(str(error)) from error
            except BackendError as error:
                unclear = unclear or is_sent
                if time.monotonic() >= gives_up:
                    raise BackendError(f"{error}{_UNCLEAR if unclear else ''}") from error
                await asyncio.sleep(_AGAIN_SECONDS)
        raise BackendError("others change overrides all the time")

    async def _read(self, records: KeepsRecords) -> None:
        """Take over the record, or put ours back where the store has lost it.

        Raises:
            BackendError: The store does not say.
            ValueError: It holds something else.
        """
        raw = await records.load_record(NAME)
        if raw != self._record.raw:
            found, known, now = _decoded(raw), self._record, self._clock()
            if known.raw is not None and found.version < known.version and known.lives(now):
                ends = max(one.until for one in known.overrides)
                if not await self._replace(records, raw, known.raw, ends):
                    raise BackendError("another server changes overrides")
            else:
                self._record = found
        self.read_at = self._clock()
        self._failures = 0
        if self.error:
            self.error = ""
            self._report("")

    async def _replace(self, records: KeepsRecords, before: bytes | None, after: bytes, ends: float) -> bool:
        seconds = max(0, math.ceil(ends - self._clock())) + _KEPT_SECONDS
        return await records.replace_record(NAME, before, after, seconds)

    async def _apply(self) -> None:
        now = self._clock()
        # At most as many as may be, whoever wrote them: each costs memory.
        found = tuple(one for one in self._record.overrides if one.until > now)[: self.most]
        if found != self._in_force:
            self._in_force = found
            await self._publish(found)

    def _failed(self, why: str) -> None:
        since = f"since {utc(self.read_at)}" if self.read_at else "yet"
        self.error = why
        self._failures += 1
        if self._failures < _REPORTED_FROM or (self._is_down() and not self._in_force):
            return
        stay = f"; the {len(self._in_force)} known ones stay in force until they end" if self._in_force else ""
        self._report(f"overrides could not be read {since}: later changes are not in force{stay}: {why}")


def _known(record: _Record) -> list[tuple[Override | None, Mapping[str, Any]]]:
    """The overrides of *record* with their members; None for what this version does not understand."""
    found: list[tuple[Override | None, Mapping[str, Any]]] = []
    for members in record.members:
        try:
            found.append((from_members(members), members))
        except ValueError:
            found.append((None, members))
    return found


def _encoded(version: int, members: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"version": version, "overrides": members}).encode()


def _decoded(raw: bytes | None) -> _Record:
    """The record that *raw* is.

    Raises:
        ValueError: It is something else.
    """
    if raw is None:
        return _Record()
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"the record of overrides has more than {_MOST_BYTES} bytes")
    try:
        found = json.loads(raw)
        record = _Record(raw, int(found["version"]), tuple(one for one in found["overrides"] if isinstance(one, dict)))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the record of overrides is malformed: {error!r}") from error
    overrides = tuple(one for one, _ in _known(record) if one is not None)
    return _Record(record.raw, record.version, record.members, overrides)
