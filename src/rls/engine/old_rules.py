"""Tries that are no longer in force, freed without a pause."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

from rls.core.rules import TrieNode
from rls.slices import Slices

_RETRY_SECONDS = 0.5
_OURS = 2
"""References to an object that one local variable holds: the variable, and the argument of `getrefcount`."""


class OldRules:
    """Takes tries apart, some nodes at a time.

    To drop a trie of a hundred thousand nodes at once takes longer than a call may wait. Nodes that others still use stay
    whole: the rules in force share nodes with the rules before them, and a request keeps the rules that it began with.
    The interpreter's own reference counts tell. So all that may free the same tries must share one object: two would each wait
    until the other lets go.
    """

    def __init__(self) -> None:
        self._roots: list[TrieNode] = []
        self._caches: list[dict[Any, Any]] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Tries that wait to be freed."""
        return len(self._roots)

    def free(self, roots: Iterable[TrieNode], caches: Iterable[dict[Any, Any]] = ()) -> None:
        """Free tries that are replaced, once nobody uses them any more, and empty *caches*; a trie may be named twice."""
        waiting = {id(root) for root in self._roots}
        self._roots += {id(root): root for root in roots if id(root) not in waiting}.values()
        self._caches += caches
        if (self._roots or self._caches) and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        slices = Slices()
        await asyncio.sleep(0)  # whoever called `free` lets go of them
        while self._roots or self._caches:
            while self._caches:
                await _empty(self._caches.pop(), slices)
            for _ in range(len(self._roots)):
                await _take_apart(self._roots, slices)
            if self._roots:
                await asyncio.sleep(_RETRY_SECONDS)


async def _empty(cache: dict[Any, Any], slices: Slices) -> None:
    while cache:
        cache.popitem()
        await slices.next()


async def _take_apart(roots: list[TrieNode], slices: Slices) -> None:
    """Free the first of *roots*; where others use it, it becomes the last."""
    root = roots.pop(0)
    if sys.getrefcount(root) > _OURS:
        roots.append(root)
        return
    nodes = [root]
    del root
    while nodes:
        node = nodes.pop()
        if sys.getrefcount(node) > _OURS:
            continue  # another trie has it, with all below it
        node.wildcards.clear()
        for children in (node.exact, node.defaults):
            left: dict[Any, TrieNode] = children
            while left:
                child = left.popitem()[1]
                if child.exact or child.defaults:
                    nodes.append(child)
                del child  # it would count as a user
                await slices.next()
