"""Descriptors that differ in their last value only: what one of them comes to says what all of them come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rls.core.check import Check
from rls.core.keys import is_plain
from rls.core.model import Descriptor, Entry

_new = tuple.__new__
_blank = object.__new__


class Siblings:
    """Makes checks of descriptors that differ in their last value only, at a third of what it costs to match and name each.

    Args:
        check: That of one of them. Its rule must hold for any last value, with a counter for each.
        around: What stands before and after the last value in a counter's key.
        exact: Last entries that other rules hold for.
    """

    __slots__ = ("_after", "_before", "_check", "_exact", "_key", "_leading")

    def __init__(self, check: Check, around: tuple[bytes, bytes], exact: Mapping[tuple[str, str], Any]) -> None:
        *self._leading, last = check.descriptor.entries
        self._key = last.key
        self._check = check
        self._before, self._after = around
        self._exact = exact

    def check(self, sent: bytes, amount: int, index: int) -> Check | None:
        """The check of the one whose last value is *sent*; None where the value may lead elsewhere, or needs another key."""
        value = sent.decode("utf-8", "surrogateescape")
        entry = _new(Entry, (self._key, value))
        if not is_plain(value) or (self._exact and entry in self._exact):
            return None
        like = self._check
        # A constructor would cost as much as all of this.
        check = _blank(Check)
        check.descriptor = _new(Descriptor, ((*self._leading, entry), None, None, False))
        check.rule = like.rule
        check.limit = like.limit
        check.requests_per_unit = like.requests_per_unit
        check.amount = amount
        check.key = self._before + sent + self._after
        check.window_seconds = like.window_seconds
        check.near_limit = like.near_limit
        check.value = ""
        check.algorithm = like.algorithm
        check.index = index
        check.rule_id = like.rule_id
        check.cache_over = like.cache_over
        check.replaced = False
        return check
