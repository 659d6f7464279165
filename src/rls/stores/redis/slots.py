"""Hash slots of Redis Cluster: which one a key belongs to, and who is said to serve them. No I/O."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator
from typing import Any, NamedTuple

from rls.errors import BackendError

SLOTS = 16_384
CLUSTER_SLOTS = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"


class Range(NamedTuple):
    """Slots from *first* to *last* are served by the primary at *host* and *port*."""

    first: int
    last: int
    host: str
    port: int


def slot_of(key: bytes) -> int:
    """The slot of *key*: of what stands in its first braces, where something does."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) & (SLOTS - 1)


def ranges(reply: Any, asked: str) -> list[Range]:
    """What CLUSTER SLOTS replied.

    Args:
        reply: As hiredis reads it.
        asked: The host that replied. It stands for a node whose own host is not told, as Redis Cluster has it.

    Raises:
        BackendError: It is something else, or nobody serves any slot.
    """
    try:
        found = list(_ranges(reply, asked))
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise BackendError(f"Redis at {asked}: CLUSTER SLOTS replied what it should not: {error}") from error
    if not found:
        raise BackendError(f"Redis at {asked}: the cluster has no slots yet")
    return found


def _ranges(reply: Any, asked: str) -> Iterator[Range]:
    for first, last, primary, *_ in reply:
        port = int(primary[1])
        told = primary[0] or b""
        # cluster-preferred-endpoint-type hostname, and there is none: "?", and the address may stand in the metadata.
        if told == b"?":
            told = _metadata(primary).get(b"ip", b"")
        yield Range(int(first), int(last), told.decode() or asked, port)


def _metadata(node: Any) -> dict[bytes, bytes]:
    words = node[3] if len(node) > 3 else []
    return dict(zip(words[::2], words[1::2], strict=True))
