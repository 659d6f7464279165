"""Many updates → few commands, and their replies → the count after each update. No I/O.

Updates of one counter are added together: hits of 1, 2 and 1 become one INCRBY 4, and from its reply 14 they get the counts
11, 13 and 14. A refund must stop at 0, so it is a command of its own, and updates after it are not merged with those before.

A counter must never be without a TTL, even if this process dies between two writes. So the first time that this process
sees a counter, it sends SET key 0 EX ttl NX before the INCRBY, which keeps that TTL. If Redis loses such a counter (by a
restart or an eviction), the INCRBY creates it anew without a TTL. The count shows that: it starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from rls.core.update import CounterUpdate

# SET … KEEPTTL needs Redis 6.0. The counter is compared as a double, which is exact up to 2⁵³.
_REFUND = (
    b"local count = tonumber(redis.call('GET', KEYS[1]) or '0') "
    b"if count > tonumber(ARGV[1]) then return redis.call('DECRBY', KEYS[1], ARGV[1]) end "
    b"if count > 0 then redis.call('SET', KEYS[1], '0', 'KEEPTTL') end "
    b"return 0"
)
_SET = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\n0\r\n$2\r\nEX\r\n%b$2\r\nNX\r\n"
_INCRBY = b"*3\r\n$6\r\nINCRBY\r\n$%d\r\n%b\r\n%b"
_ASKING = b"*1\r\n$6\r\nASKING\r\n"
_NO_UPDATE = CounterUpdate(b"", 0, 0, 0, 1)
_REFUND_HEAD = b"*5\r\n$4\r\nEVAL\r\n$%d\r\n%b\r\n$1\r\n1\r\n" % (len(_REFUND), _REFUND)


class Batch:
    """Updates that go to a node in one write, in the order in which they were added.

    A command is known by its number in the batch, from 0. All attributes are filled by `parse_replies`.

    Attributes:
        offsets: By command, what to add to an update's `added` to get the count after the update.
        errors: By command, the error reply. Redis did not execute these commands.
        ttl_set: Updates whose counters surely have a TTL now, set by this batch.
        missing_ttl: Updates whose counters need a TTL: Redis had lost them since this process set their TTL, and they were
            counted from 0 again; or the SET was refused, and the INCRBY was not.
        replies: By command, the reply to what is not an update.
        ttl: The last reply to each command that sets TTLs, by its name: None if it was executed, else the error.
    """

    __slots__ = (
        "_asking",
        "_open",
        "_other",
        "_totals",
        "_updates",
        "_with_set",
        "errors",
        "missing_ttl",
        "offsets",
        "replies",
        "ttl",
        "ttl_set",
    )

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}  # commands that take further hits, by key
        self._updates: list[CounterUpdate] = []
        self._totals: list[int] = []
        self._with_set: set[int] = set()  # commands that a SET goes before
        self._asking: set[int] = set()  # commands that ASKING goes before
        self._other: dict[int, bytes | None] = {}  # commands that are no updates; None stands for an EXPIRE
        self.offsets: list[int] = []
        self.errors: dict[int, Exception] = {}
        self.ttl_set: list[CounterUpdate] = []
        self.missing_ttl: list[CounterUpdate] = []
        self.replies: dict[int, Any] = {}
        self.ttl: dict[str, Exception | None] = {}

    def __len__(self) -> int:
        return len(self._updates)

    def add(self, update: CounterUpdate) -> tuple[int, int]:
        """Add *update*.

        Returns:
            A ticket for its count: the number of its command, and what the updates up to it `added` to that command.
        """
        key, amount = update.key, update.amount
        if amount >= 0:
            command = self._open.get(key)
            if command is not None:
                total = self._totals[command] + amount
                self._totals[command] = total
                return command, total
            self._open[key] = len(self._updates)
        else:
            self._open.pop(key, None)
        self._updates.append(update)
        self._totals.append(amount)
        return len(self._updates) - 1, amount

    def add_command(self, command: bytes) -> int:
        """Add a packed *command* that is not an update; its reply will be in `replies`, at the number returned."""
        self._other[len(self._updates)] = command
        return self._append(_NO_UPDATE, 0)

    def add_expire(self, update: CounterUpdate) -> None:
        """Set the TTL of the counter of *update*, whether or not it has one."""
        self._other[len(self._updates)] = None
        self._append(update, 0)

    def resend(self, other: Batch, command: int, *, asking: bool = False) -> int:
        """Add a *command* of another batch that was refused; unmerged, so that its tickets stay valid here.

        Args:
            asking: Send ASKING first. A node of Redis Cluster that imports a slot takes commands only behind it.
        """
        if asking:
            self._asking.add(len(self._updates))
        if command in other._other:
            self._other[len(self._updates)] = other._other[command]
        return self._append(other._updates[command], other._totals[command])

    def update(self, command: int) -> CounterUpdate:
        """The first update of *command*."""
        return self._updates[command]

    def counted(self) -> Iterator[tuple[CounterUpdate, int | None]]:
        """Its updates, those of one counter as one, and the count after each; known after `parse_replies`."""
        for command, (update, total) in enumerate(zip(self._updates, self._totals, strict=True)):
            if command not in self._other:
                has_count = command < len(self.offsets) and command not in self.errors
                count = self.offsets[command] + total if has_count else None
                yield update if update.amount == total else update.with_amount(total), count

    @property
    def has_written(self) -> bool:
        """Whether a hit was counted; known after `parse_replies`."""
        return any(total > 0 and command not in self.errors for command, total in enumerate(self._totals))

    def is_update(self, command: int) -> bool:
        """Whether *command* is an update."""
        return command not in self._other

    def is_expire(self, command: int) -> bool:
        """Whether *command* is an EXPIRE, which no call waits for."""
        return self._other.get(command, b"") is None

    def expires(self) -> list[CounterUpdate]:
        """The updates of `add_expire`."""
        return [self._updates[command] for command in self._other if self.is_expire(command)]

    def maybe_without_ttl(self) -> list[CounterUpdate]:
        """Updates whose counters may have no TTL if the replies are lost: Redis may have created them anew."""
        hits = [update for update, total in zip(self._updates, self._totals, strict=True) if total > 0]
        return self.expires() + hits

    def _append(self, update: CounterUpdate, total: int) -> int:
        self._updates.append(update)
        self._totals.append(total)
        return len(self._updates) - 1

    def pack(self, with_ttl: Mapping[int, Container[bytes]], seconds_to_live: Callable[[CounterUpdate], int]) -> bytes:
        """The commands as RESP.

        Args:
            with_ttl: Keys of counters whose TTL this process has set, by the second in which their window ends.
            seconds_to_live: The TTL for an update's counter.
        """
        asking = self._asking
        parts = []
        for command, (update, total) in enumerate(zip(self._updates, self._totals, strict=True)):
            key = update.key
            if asking and command in asking:
                parts.append(_ASKING)
            if total > 0:
                known = with_ttl.get(update.expires_at)
                if known is None or key not in known:
                    self._with_set.add(command)
                    parts.append(_SET % (len(key), key, _bulk(seconds_to_live(update))))
                    if command in asking:
                        parts.append(_ASKING)
                parts.append(_INCRBY % (len(key), key, _SMALL[total] if total < _MANY else _bulk(total)))
            elif total < 0:
                parts.append(b"%b$%d\r\n%b\r\n%b" % (_REFUND_HEAD, len(key), key, _bulk(-total)))
            elif command not in self._other:
                parts.append(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
            else:
                other = self._other[command]
                parts.append(_expire(key, seconds_to_live(update)) if other is None else other)
        return b"".join(parts)

    @property
    def expected(self) -> int:
        """How many replies Redis will send; known after `pack`."""
        asking = len(self._asking) + len(self._asking & self._with_set)
        return len(self._updates) + len(self._with_set) + asking

    def parse_replies(self, replies: Sequence[Any]) -> None:
        """Read the *replies*, which come in the order of the commands; fills the attributes."""
        if not self._parse_counts(replies):
            self._parse_each(replies)

    def _parse_counts(self, replies: Sequence[Any]) -> bool:
        """The usual case: only counts, of counters that had their TTL. Returns False, and changes nothing, in any other."""
        if self._with_set or self._other or self._asking:
            return False
        try:
            self.offsets = [count - total for count, total in zip(replies, self._totals, strict=True)]
        except TypeError:  # an error, or the reply to a GET
            return False
        if 0 in self.offsets:
            found = zip(self._updates, self._totals, self.offsets, strict=True)
            self.missing_ttl = [update for update, total, offset in found if offset == 0 < total]
        return True

    def _parse_each(self, replies: Sequence[Any]) -> None:
        rest = self._without_asking(replies) if self._asking else iter(replies)
        for command, (update, total) in enumerate(zip(self._updates, self._totals, strict=True)):
            with_set = command in self._with_set
            set_reply = next(rest) if with_set else None
            reply = next(rest)
            if isinstance(reply, Exception):
                self.offsets.append(0)
                self.errors[command] = reply
                if self.is_expire(command):
                    self.ttl["EXPIRE"] = reply
                continue
            if command in self._other:
                self.offsets.append(0)
                self.replies[command] = reply
                if self.is_expire(command):
                    self.ttl["EXPIRE"] = None
                    self.ttl_set.append(update)
                continue
            try:
                count = int(reply or 0)
            except ValueError as error:  # the reply to a GET, and not a number
                self.offsets.append(0)
                self.errors[command] = error
                continue
            self.offsets.append(count - total)
            if isinstance(set_reply, Exception):
                self.missing_ttl.append(update)
                self.ttl["SET"] = set_reply
            elif with_set:
                self.ttl_set.append(update)
                self.ttl["SET"] = None
            elif 0 < total == count:
                self.missing_ttl.append(update)

    def _without_asking(self, replies: Sequence[Any]) -> Iterator[Any]:
        """*replies* without those to ASKING."""
        rest = iter(replies)
        for command in range(len(self._updates)):
            for _ in range(1 + (command in self._with_set)):
                if command in self._asking:
                    next(rest)
                yield next(rest)


def _expire(key: bytes, seconds: int) -> bytes:
    return b"*3\r\n$6\r\nEXPIRE\r\n$%d\r\n%b\r\n%b" % (len(key), key, _bulk(seconds))


def _bulk(n: int) -> bytes:
    digits = b"%d" % n
    return b"$%d\r\n%b\r\n" % (len(digits), digits)


_MANY = 256
_SMALL = tuple(map(_bulk, range(_MANY)))
