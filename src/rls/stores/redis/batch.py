"""Many hits → few commands, and their replies → the count after each hit. No I/O.

Equal counters are added together: hits of 1, 2 and 1 on a counter become one INCRBY 4, and of its reply 14 they get 11, 13
and 14. Giving back must stop at 0, so it is a command of its own, and what comes after it on that counter is not merged
with what came before.

A counter must never be without a TTL, even if this process dies between two writes. So the first time that this process
sees a counter it sends SET key 0 EX ttl NX before the INCRBY; the INCRBY keeps that TTL. Where Redis loses such a counter
(a restart, an eviction), the INCRBY makes it anew without one: the count that starts over gives that away.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from rls.core.update import CounterUpdate

# Redis: SET … KEEPTTL needs 6.0. The counter is compared as a double, which is exact up to 2⁵³.
_GIVE_BACK = (
    b"local count = tonumber(redis.call('GET', KEYS[1]) or '0') "
    b"if count > tonumber(ARGV[1]) then return redis.call('DECRBY', KEYS[1], ARGV[1]) end "
    b"if count > 0 then redis.call('SET', KEYS[1], '0', 'KEEPTTL') end "
    b"return 0"
)
_SET = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\n0\r\n$2\r\nEX\r\n%b$2\r\nNX\r\n"
_INCRBY = b"*3\r\n$6\r\nINCRBY\r\n$%d\r\n%b\r\n%b"
_ASKING = b"*1\r\n$6\r\nASKING\r\n"
_NONE = CounterUpdate(b"", 0, 0, 0, 1)
_GIVE_BACK_HEAD = b"*5\r\n$4\r\nEVAL\r\n$%d\r\n%b\r\n$1\r\n1\r\n" % (len(_GIVE_BACK), _GIVE_BACK)


class Batch:
    """Hits that go to a node in one write, in the order in which they were added.

    Attributes:
        bases: After `settle`, for each command what is added to its hits' `added` to get the counts after them.
        errors: After `settle`, what Redis answered to the commands that failed. They were not executed.
        fresh: After `settle`, hits on whose counters this batch made sure of a TTL.
        orphans: After `settle`, hits whose counters had been lost by Redis since this process gave them a TTL; they
            were counted from 0 again, and need a new TTL.
        replies: After `settle`, what was answered to commands that are no hits.
        ttl: After `settle`, what was answered last to each command that gives TTLs, by its name: None where it was
            executed, else the error, although the hit that went with it was counted.
    """

    __slots__ = (
        "_announced",
        "_asking",
        "_hits",
        "_open",
        "_others",
        "_totals",
        "bases",
        "errors",
        "fresh",
        "orphans",
        "replies",
        "ttl",
    )

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}
        self._hits: list[CounterUpdate] = []
        self._totals: list[int] = []
        self._announced: set[int] = set()
        self._asking: set[int] = set()
        self._others: dict[int, bytes | None] = {}  # None: an EXPIRE
        self.bases: list[int] = []
        self.errors: dict[int, Exception] = {}
        self.fresh: list[CounterUpdate] = []
        self.orphans: list[CounterUpdate] = []
        self.replies: dict[int, Any] = {}
        self.ttl: dict[str, Exception | None] = {}

    def __len__(self) -> int:
        return len(self._hits)

    def add(self, hit: CounterUpdate) -> tuple[int, int]:
        """Take *hit* in.

        Returns:
            Where its count will be found: the number of its command, and what the hits up to it `added` to that command.
        """
        key, amount = hit.key, hit.amount
        if amount >= 0:
            command = self._open.get(key)
            if command is not None:
                total = self._totals[command] + amount
                self._totals[command] = total
                return command, total
            self._open[key] = len(self._hits)
        else:
            self._open.pop(key, None)
        self._hits.append(hit)
        self._totals.append(amount)
        return len(self._hits) - 1, amount

    def ask(self, command: bytes) -> int:
        """Take in a *command* that is no hit; after `settle`, its reply is at the number returned in `replies`."""
        self._others[len(self._hits)] = command
        return self._append(_NONE, 0)

    def expire(self, hit: CounterUpdate) -> None:
        """Give the counter of *hit* a TTL, whatever it has."""
        self._others[len(self._hits)] = None
        self._append(hit, 0)

    def again(self, other: Batch, command: int, *, asking: bool = False) -> int:
        """Take in a *command* of another batch, which was refused; unmerged, so that its `base` is the same here.

        Args:
            asking: Redis Cluster: the slot is on its way to this node, which takes it only behind ASKING.
        """
        if asking:
            self._asking.add(len(self._hits))
        if command in other._others:
            self._others[len(self._hits)] = other._others[command]
        return self._append(other._hits[command], other._totals[command])

    def hit(self, command: int) -> CounterUpdate:
        """What *command* is about."""
        return self._hits[command]

    @property
    def has_written(self) -> bool:
        """After `settle`, whether a hit was counted."""
        return any(total > 0 and command not in self.errors for command, total in enumerate(self._totals))

    def is_hit(self, command: int) -> bool:
        """Whether *command* is a hit."""
        return command not in self._others

    def is_expire(self, command: int) -> bool:
        """Whether *command* gives a TTL, and nobody waits for it."""
        return self._others.get(command, b"") is None

    def ttls(self) -> list[CounterUpdate]:
        """Hits to whose counters it gives a TTL for their own sake."""
        return [self._hits[command] for command in self._others if self.is_expire(command)]

    def unsure(self) -> list[CounterUpdate]:
        """Hits whose counters may be without a TTL if the replies are lost: Redis may have made them anew."""
        made = [hit for hit, total in zip(self._hits, self._totals, strict=True) if total > 0]
        return self.ttls() + made

    def _append(self, hit: CounterUpdate, total: int) -> int:
        self._hits.append(hit)
        self._totals.append(total)
        return len(self._hits) - 1

    def pack(self, with_ttl: Mapping[int, Container[bytes]], seconds_to_live: Callable[[CounterUpdate], int]) -> bytes:
        """The commands as RESP.

        Args:
            with_ttl: The counters that this process has given a TTL, by the second in which their window ends.
            seconds_to_live: The TTL to give to the hit's counter.
        """
        asking = self._asking
        parts = []
        for command, (hit, total) in enumerate(zip(self._hits, self._totals, strict=True)):
            key = hit.key
            if asking and command in asking:
                parts.append(_ASKING)
            if total > 0:
                known = with_ttl.get(hit.expires_at)
                if known is None or key not in known:
                    self._announced.add(command)
                    parts.append(_SET % (len(key), key, _bulk(seconds_to_live(hit))))
                    if command in asking:
                        parts.append(_ASKING)
                parts.append(_INCRBY % (len(key), key, _SMALL[total] if total < _MANY else _bulk(total)))
            elif total < 0:
                parts.append(b"%b$%d\r\n%b\r\n%b" % (_GIVE_BACK_HEAD, len(key), key, _bulk(-total)))
            elif command not in self._others:
                parts.append(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
            else:
                other = self._others[command]
                parts.append(_expire(key, seconds_to_live(hit)) if other is None else other)
        return b"".join(parts)

    @property
    def expected(self) -> int:
        """How many replies Redis will send; known once the batch is packed."""
        asking = len(self._asking) + len(self._asking & self._announced)
        return len(self._hits) + len(self._announced) + asking

    def settle(self, replies: Sequence[Any]) -> None:
        """Take the replies in, which are in the order of the commands."""
        if not self._settle_counts(replies):
            self._settle_each(replies)

    def _settle_counts(self, replies: Sequence[Any]) -> bool:
        """The usual: counts of counters that had their TTL, and nothing else; False where there is something else."""
        if self._announced or self._others or self._asking:
            return False
        try:
            self.bases = [count - total for count, total in zip(replies, self._totals, strict=True)]
        except TypeError:  # an error, or what a GET found
            return False
        if 0 in self.bases:
            found = zip(self._hits, self._totals, self.bases, strict=True)
            self.orphans = [hit for hit, total, base in found if base == 0 < total]
        return True

    def _settle_each(self, replies: Sequence[Any]) -> None:
        rest = self._without_asking(replies) if self._asking else iter(replies)
        for command, (hit, total) in enumerate(zip(self._hits, self._totals, strict=True)):
            announced = command in self._announced
            announcement = next(rest) if announced else None
            reply = next(rest)
            if isinstance(reply, Exception):
                self.bases.append(0)
                self.errors[command] = reply
                if self.is_expire(command):
                    self.ttl["EXPIRE"] = reply
                continue
            if command in self._others:
                self.bases.append(0)
                self.replies[command] = reply
                if self.is_expire(command):
                    self.ttl["EXPIRE"] = None
                    self.fresh.append(hit)
                continue
            try:
                count = int(reply or 0)
            except ValueError as error:  # a GET of what is no counter
                self.bases.append(0)
                self.errors[command] = error
                continue
            self.bases.append(count - total)
            if isinstance(announcement, Exception):  # the SET was refused, but what followed was counted
                self.orphans.append(hit)
                self.ttl["SET"] = announcement
            elif announced:
                self.fresh.append(hit)
                self.ttl["SET"] = None
            elif 0 < total == count:
                self.orphans.append(hit)

    def _without_asking(self, replies: Sequence[Any]) -> Iterator[Any]:
        rest = iter(replies)
        for command in range(len(self._hits)):
            for _ in range(1 + (command in self._announced)):
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
