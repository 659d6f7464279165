"""Hash slots of Redis Cluster: the slot of a key, and the primaries that serve the slots. No I/O."""

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
    """The slot of *key*; of its hash tag, the text in its first braces, where there is one."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) & (SLOTS - 1)


def ranges(reply: Any, asked: str) -> list[Range]:
    """The reply to CLUSTER SLOTS, parsed.

    Args:
        reply: As hiredis reads it.
        asked: The host that replied. Redis Cluster leaves out the host of a node that is this one.

    Raises:
        BackendError: It is something else, or it has no slots.
    """
    try:
        found = list(_ranges(reply, asked))
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise BackendError(f"Redis at {asked}: unexpected reply to CLUSTER SLOTS: {error}") from error
    if not found:
        raise BackendError(f"Redis at {asked}: the cluster has no slots yet")
    return found


def _ranges(reply: Any, asked: str) -> Iterator[Range]:
    for first, last, primary, *_ in reply:
        port = int(primary[1])
        host = primary[0] or b""
        # With cluster-preferred-endpoint-type hostname, "?" stands for none; the address may be in the metadata.
        if host == b"?":
            host = _metadata(primary).get(b"ip", b"")
        yield Range(int(first), int(last), host.decode() or asked, port)


def _metadata(node: Any) -> dict[bytes, bytes]:
    words = node[3] if len(node) > 3 else []
    return dict(zip(words[::2], words[1::2], strict=True))
