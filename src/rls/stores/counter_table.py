"""A bounded table of counters that shares its room out fairly, and never forgets a refusal for something lesser.

Each rule that holds counters has a fair share of the room: the capacity, divided by these rules and one more, which is still
to come. Room that is not used may be borrowed. When the table is full, counters that are not near their limit go, oldest
first, of the rules furthest over their share. Counters that are near or over their limit (`kept`) stay until their window
ends. So a client that sends a million values takes room from its own rule's other values, and no refused key passes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

Value = TypeVar("Value")
# Counters of ended windows that are freed with each new counter, and each second: all at once would take too long.
_FREED, _FREED_EACH_SECOND = 4, 1_000
# The part of the capacity that rules over their share leave to others.
_RESERVE = 8
# Counters evicted at once: a part of the capacity, and of the victim's counters. A dict finds its first entry by passing the
# places of all that were deleted before it.
_EVICTED_OF_CAPACITY, _EVICTED_OF_VICTIM = 256, 16
_MOST_VICTIMS_TRIED = 256


class Window(Generic[Value]):
    """The counters of one rule in one window.

    Attributes:
        rule: The rule.
        end: The second in which it ends.
        open: Counters that may be evicted, oldest first.
        kept: Counters that are near or over their limit.
    """

    __slots__ = ("end", "kept", "open", "rule")

    def __init__(self, rule: str, end: int) -> None:
        self.rule = rule
        self.end = end
        self.open: dict[bytes, Value] = {}
        self.kept: dict[bytes, Value] = {}


class Holder(Generic[Value]):
    """A rule that holds counters: its windows by the second in which they end, and how many counters it has.

    Attributes:
        evictable: How many of them are open.
    """

    __slots__ = ("evictable", "size", "windows")

    def __init__(self) -> None:
        self.windows: dict[int, Window[Value]] = {}
        self.size = 0
        self.evictable = 0


class CounterTable(Generic[Value]):
    """A bounded mapping from the key of a counter to a value.

    Args:
        capacity: Counters that it holds.

    Attributes:
        windows: Where each counter is, by its key. Callers in a hurry may read it, and change a value that is there.
        holders: The rules that hold counters.
        swept_at: The second of the last sweep, as a float: callers in a hurry compare it with the time.
        evicted: Counters that have made room for others so far.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted = 0
        self.windows: dict[bytes, Window[Value]] = {}
        self.holders: dict[str, Holder[Value]] = {}
        self.swept_at = 0.0
        self._size = 0
        self._ends: dict[int, list[Window[Value]]] = {}
        self._ended: list[Window[Value]] = []
        # Holders by the bit length of their size, so that the largest are found without a look at all of them.
        self._by_size: list[dict[str, Holder[Value]]] = [{} for _ in range(capacity.bit_length() + 1)]

    def __len__(self) -> int:
        return self._size

    def find(self, key: bytes) -> Value | None:
        """The value of a counter; None where the table does not hold it."""
        window = self.windows.get(key)
        if window is None:
            return None
        value = window.open.get(key)
        return window.kept.get(key) if value is None else value

    def values(self) -> Iterator[Value]:
        """All values."""
        for holder in self.holders.values():
            for window in holder.windows.values():
                yield from window.kept.values()
                yield from window.open.values()

    def put(self, rule: str, expires_at: int, key: bytes, value: Value, *, keep: bool) -> bool:
        """Set the value of a counter.

        Args:
            rule: The rule that a new counter takes room of. One that is there stays with its own.
            expires_at: The second in which a new counter's window ends.
            key: The counter's key.
            value: Its value.
            keep: Whether it must stay until its window ends.

        Returns:
            Whether there was room for it; there always is for a counter that is there.
        """
        window = self.windows.get(key)
        if window is None:
            if not self._has_room(rule):
                return False
            window = self._add(rule, expires_at, key)
            self.holders[rule].evictable += not keep
        elif (key in window.kept) is not keep:
            del (window.open if keep else window.kept)[key]
            self.holders[window.rule].evictable += -1 if keep else 1
        (window.kept if keep else window.open)[key] = value
        return True

    def discard(self, key: bytes) -> None:
        """Forget a counter."""
        window = self.windows.pop(key, None)
        if window is None:
            return
        holder = self.holders[window.rule]
        if window.open.pop(key, None) is not None:
            holder.evictable -= 1
        else:
            del window.kept[key]
        self._resize(window.rule, holder, -1)

    def sweep(self, now: float) -> None:
        """Forget the windows that ended before or at *now*, in Unix seconds; nothing happens twice in a second."""
        if 0.0 <= now - self.swept_at < 1.0:
            return
        self.swept_at = float(int(now))
        for end in [end for end in self._ends if end <= now]:
            self._ended += self._ends.pop(end)
        self._free(_FREED_EACH_SECOND)

    def _add(self, rule: str, expires_at: int, key: bytes) -> Window[Value]:
        """The window of one more counter of *rule*."""
        self._free(_FREED)
        holder = self.holders.get(rule)
        if holder is None:
            holder = self.holders[rule] = Holder()
        window = holder.windows.get(expires_at)
        if window is None:
            window = holder.windows[expires_at] = Window(rule, expires_at)
            self._ends.setdefault(expires_at, []).append(window)
        self.windows[key] = window
        self._resize(rule, holder, 1)
        return window

    def _resize(self, rule: str, holder: Holder[Value], by: int) -> None:
        before = holder.size
        holder.size = after = before + by
        self._size += by
        if before.bit_length() != after.bit_length():
            self._by_size[before.bit_length()].pop(rule, None)
            if after:
                self._by_size[after.bit_length()][rule] = holder

    def _free(self, count: int) -> None:
        """Forget some counters of windows that have ended."""
        while self._ended and count > 0:
            window = self._ended[-1]
            holder = self.holders[window.rule]
            freed = self._forget(window.open, count)
            holder.evictable -= freed
            freed += self._forget(window.kept, count - freed)
            self._resize(window.rule, holder, -freed)
            count -= max(freed, 1)
            if not window.open and not window.kept:
                self._ended.pop()
                del holder.windows[window.end]
                if not holder.windows:
                    del self.holders[window.rule]

    def _forget(self, counters: dict[bytes, Value], count: int) -> int:
        """Forget up to *count* of *counters*; returns how many."""
        count = min(count, len(counters))
        for _ in range(count):
            del self.windows[counters.popitem()[0]]
        return count

    def _has_room(self, rule: str) -> bool:
        """Whether there is room for one more counter of *rule*, made by evicting others where there is a right to it."""
        holder = self.holders.get(rule)
        size = 0 if holder is None else holder.size
        share = self.capacity // (len(self.holders) + 1)
        room = self.capacity if size < share else self.capacity - self.capacity // _RESERVE
        if self._size < room:
            return True
        if self._ended:
            self._free(_FREED_EACH_SECOND)
            return self._has_room(rule)
        victim = self._largest_over(share)
        if victim is None and holder is not None and holder.evictable:
            victim = rule
        if victim is None:
            return False
        self._evict(victim)
        return True

    def _largest_over(self, share: int) -> str | None:
        """The rule that has the most counters, of those over their *share* from which some may be evicted."""
        tried = 0
        for holders in reversed(self._by_size[share.bit_length() :]):
            best = None
            for rule, holder in holders.items():
                tried += 1
                if holder.evictable and holder.size > share and (best is None or holder.size > best[1].size):
                    best = rule, holder
                if tried > _MOST_VICTIMS_TRIED:
                    break
            if best is not None:
                return best[0]
            if tried > _MOST_VICTIMS_TRIED:
                break
        return None

    def _evict(self, rule: str) -> None:
        """Forget the oldest counters of *rule*, of the window that ends first."""
        holder = self.holders[rule]
        end = min(end for end, window in holder.windows.items() if window.open)
        window = holder.windows[end]
        count = max(1, min(self.capacity // _EVICTED_OF_CAPACITY, holder.size // _EVICTED_OF_VICTIM))
        oldest = list(islice(window.open, count))
        for key in oldest:
            del window.open[key], self.windows[key]
        holder.evictable -= len(oldest)
        self.evicted += len(oldest)
        self._resize(rule, holder, -len(oldest))
