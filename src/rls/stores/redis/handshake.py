"""The first commands on a connection: authenticate, select the database, and name the connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rls.errors import BackendError
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.error_reply import ErrorReply
from rls.stores.redis.error_texts import IN_A_CLUSTER, cause
from rls.stores.redis.slots import ranges


async def greet(
    connection: NodeConnection,
    address: str,
    credentials: Sequence[str],
    database: int,
    name: str,
    *,
    standalone: bool = False,
) -> None:
    """Authenticate, select and name the connection in one round trip; the name is dropped if Redis refuses it.

    Args:
        connection: One that nobody else uses yet.
        address: For messages.
        credentials: User and password, a password alone, or nothing.
        database: Its number; 0 needs no SELECT.
        name: The name in CLIENT LIST; "" for none, and for no command that is not needed.
        standalone: Whether to reject a node of a cluster that has several primaries.

    Raises:
        BackendError: Redis refuses a command that is needed, or the connection is gone.
    """
    greeting = []
    if credentials:
        greeting.append(("AUTH", ("AUTH", *credentials)))
    if database:
        greeting.append((f"SELECT {database}", ("SELECT", str(database))))
    if name:
        greeting.append(("", ("CLIENT", "SETNAME", name)))
        if standalone:
            greeting.append(("", ("CLUSTER", "SLOTS")))
    if not greeting:
        return None
    replies = await connection.query(b"".join(packed(*words) for _, words in greeting), len(greeting))
    for (needed, _), reply in zip(greeting, replies, strict=True):
        if not isinstance(reply, Exception):
            continue
        if needed == "AUTH" and len(credentials) > 1 and "wrong number of arguments" in str(reply):
            # Redis before 6 has no users.
            return await greet(connection, address, credentials[1:], database, name, standalone=standalone)
        if needed:
            raise BackendError(cause(address, f"{needed} was refused: {reply}"))
        if ErrorReply.of(reply).kind == "NOAUTH":
            raise BackendError(cause(address, reply))
    if standalone and name and _is_one_of_several(replies[-1]):
        raise BackendError(cause(address, IN_A_CLUSTER))
    return None


def _is_one_of_several(reply: Any) -> bool:
    """Whether *reply*, to CLUSTER SLOTS, names several primaries. It is an error reply where there is no cluster."""
    try:
        return len({(one.host, one.port) for one in ranges(reply, "")}) > 1
    except BackendError:
        return False


def packed(*words: str | bytes) -> bytes:
    """A command as RESP."""
    encoded = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
