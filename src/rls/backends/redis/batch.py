"""Many hits → few commands, and their replies → the count after each hit. No I/O.

Equal counters are added together: hits of 1, 2 and 1 on a counter become one INCRBY 4, and of its reply 14 they get 11, 13
and 14. Giving back must stop at 0, so it is a command of its own, and what comes after it on that counter is not merged
with what came before.

A counter must never be without a TTL, even if this process dies between two writes. So the first time that this process
sees a counter it sends SET key 0 EX ttl NX before the INCRBY; the INCRBY keeps that TTL. Where Redis loses such a counter
(a restart, an eviction), the INCRBY makes it anew without one: the count that starts over gives that away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rls.backends.base import Hit

# Redis: SET … KEEPTTL needs 6.0. The counter is compared as a double, which is exact up to 2⁵³.
_GIVE_BACK = (
    b"local count = tonumber(redis.call('GET', KEYS[1]) or '0') "
    b"if count > tonumber(ARGV[1]) then return redis.call('DECRBY', KEYS[1], ARGV[1]) end "
    b"if count > 0 then redis.call('SET', KEYS[1], '0', 'KEEPTTL') end "
    b"return 0"
)
_SET = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\n0\r\n$2\r\nEX\r\n%b$2\r\nNX\r\n"
_GIVE_BACK_HEAD = b"*5\r\n$4\r\nEVAL\r\n$%d\r\n%b\r\n$1\r\n1\r\n" % (len(_GIVE_BACK), _GIVE_BACK)


class Batch:
    """Hits that go to Redis in one write, in the order in which they were added.

    Attributes:
        bases: After `settle`, for each command what is added to its hits' `added` to get the counts after them.
        errors: After `settle`, what Redis answered to the commands that failed.
        fresh: After `settle`, hits on whose counters this batch made sure of a TTL.
        orphans: After `settle`, hits whose counters had been lost by Redis since this process gave them a TTL; they
            were counted from 0 again, and need a new TTL.
    """

    __slots__ = ("_announced", "_hits", "_open", "_totals", "bases", "errors", "fresh", "orphans")

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}
        self._hits: list[Hit] = []
        self._totals: list[int] = []
        self._announced: set[int] = set()
        self.bases: list[int] = []
        self.errors: dict[int, Exception] = {}
        self.fresh: list[Hit] = []
        self.orphans: list[Hit] = []

    def __len__(self) -> int:
        return len(self._hits)

    def add(self, hit: Hit) -> tuple[int, int]:
        """Take *hit* in.

        Returns:
            Where its count will be found: the number of its command, and what the hits up to it `added` to that command.
        """
        key, amount, _, _, _ = hit
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

    def pack(self, has_ttl: Callable[[Hit], bool], seconds_to_live: Callable[[Hit], int]) -> bytes:
        """The commands as RESP.

        Args:
            has_ttl: Whether this process has given the hit's counter a TTL.
            seconds_to_live: The TTL to give to the hit's counter.
        """
        parts = []
        for command, (hit, total) in enumerate(zip(self._hits, self._totals, strict=True)):
            key = hit.key
            if total > 0:
                if not has_ttl(hit):
                    self._announced.add(command)
                    parts.append(_SET % (len(key), key, _bulk(seconds_to_live(hit))))
                parts.append(b"*3\r\n$6\r\nINCRBY\r\n$%d\r\n%b\r\n%b" % (len(key), key, _bulk(total)))
            elif total == 0:
                parts.append(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
            else:
                parts.append(b"%b$%d\r\n%b\r\n%b" % (_GIVE_BACK_HEAD, len(key), key, _bulk(-total)))
        return b"".join(parts)

    @property
    def replies(self) -> int:
        """How many replies Redis will send; known once the batch is packed."""
        return len(self._hits) + len(self._announced)

    def settle(self, replies: Sequence[Any]) -> None:
        """Take the replies in, which are in the order of the commands."""
        rest = iter(replies)
        for command, (hit, total) in enumerate(zip(self._hits, self._totals, strict=True)):
            announced = command in self._announced
            announcement = next(rest) if announced else None
            reply = next(rest)
            if isinstance(announcement, Exception):
                reply = announcement
            if isinstance(reply, Exception):
                self.bases.append(0)
                self.errors[command] = reply
                continue
            try:
                count = int(reply or 0)
            except ValueError as error:  # a GET of what is no counter
                self.bases.append(0)
                self.errors[command] = error
                continue
            self.bases.append(count - total)
            if announced:
                self.fresh.append(hit)
            elif 0 < total == count:
                self.orphans.append(hit)


def expire(hit: Hit, seconds: int) -> bytes:
    """The command that gives the counter of *hit* a TTL."""
    return b"*3\r\n$6\r\nEXPIRE\r\n$%d\r\n%b\r\n%b" % (len(hit.key), hit.key, _bulk(seconds))


def _bulk(n: int) -> bytes:
    digits = b"%d" % n
    return b"$%d\r\n%b\r\n" % (len(digits), digits)
