"""What nodes hold for people and for servers, beside counting: lists of counters, and records of ours. Commands and replies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rls.errors import BackendError
from rls.stores.base import Listed
from rls.stores.redis.handshake import packed
from rls.stores.redis.node import Node

KEYS_AT_ONCE = 200
"""Keys that one SCAN looks at: it takes Redis a tenth of a millisecond."""
MOST_SCANS = 500
"""Of one list, over all nodes."""
_SPECIAL = re.compile(rb"([\\*?\[\]])")
# Needs no other rights than counting does. An empty ARGV[1] stands for no record; else `=` goes before the record.
_REPLACE = (
    b"local found = redis.call('GET', KEYS[1]) "
    b"if ARGV[1] == '' then if found then return 0 end elseif found ~= string.sub(ARGV[1], 2) then return 0 end "
    b"redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) "
    b"return 1"
)

Read = Callable[[Sequence[bytes]], Awaitable[Sequence[int]]]
"""Returns the counts of keys."""


async def list_counters(nodes: Sequence[Node], prefix: bytes, most: int, read: Read) -> Listed:
    """See `ListsCounters`: the counters of all *nodes*, whose counts *read* returns."""
    keys: dict[bytes, None] = {}
    pattern = _SPECIAL.sub(rb"\\\1", prefix) + b"*"
    scans = 0
    for node in nodes:
        cursor = b"0"
        while scans < MOST_SCANS and len(keys) <= most:
            scans += 1
            reply = await node.query(packed("SCAN", cursor, "MATCH", pattern, "COUNT", str(KEYS_AT_ONCE)))
            cursor, found = _scanned(reply, node)
            keys |= dict.fromkeys(found)
            if cursor == b"0":
                break
        else:
            listed = list(keys)[:most]
            return Listed(dict(zip(listed, await read(listed), strict=True)), all=False)
    listed = list(keys)
    whole = len(listed) <= most
    listed = listed[:most]
    return Listed(dict(zip(listed, await read(listed), strict=True)), all=whole)


def _scanned(reply: Any, node: Node) -> tuple[bytes, list[bytes]]:
    try:
        cursor, keys = reply
        return bytes(cursor), list(keys)
    except (TypeError, ValueError) as error:
        raise BackendError(f"Redis at {node.endpoint.address}: unexpected reply to SCAN: {reply!r:.100}") from error


def load(key: bytes) -> bytes:
    """The command for `KeepsRecords.load_record`; its reply is the record."""
    return packed("GET", key)


def replace(key: bytes, before: bytes | None, after: bytes, seconds: int) -> bytes:
    """The command for `KeepsRecords.replace_record`; its reply is 1 or 0."""
    was = b"" if before is None else b"=" + before
    return packed("EVAL", _REPLACE, "1", key, was, after, str(seconds))
