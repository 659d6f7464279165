"""What is said first on a connection: who we are, which database, and what Redis may call us."""

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
    alone: bool = False,
) -> None:
    """Authenticate and select, in one round trip; a name is a nicety, and is not missed where it is refused.

    Args:
        connection: Nobody else uses it yet.
        address: For messages.
        credentials: User and password, a password alone, or nothing.
        database: Its number; 0 needs no selecting.
        name: What CLIENT LIST of Redis shows; "" for none, and for no question that is not needed.
        alone: Whether to ask if it is a node of a cluster of several, which is refused.

    Raises:
        BackendError: Redis refuses what is needed, or the connection is gone.
    """
    greeting = []
    if credentials:
        greeting.append(("AUTH", ("AUTH", *credentials)))
    if database:
        greeting.append((f"SELECT {database}", ("SELECT", str(database))))
    if name:
        greeting.append(("", ("CLIENT", "SETNAME", name)))
        if alone:
            greeting.append(("", ("CLUSTER", "SLOTS")))
    if not greeting:
        return None
    replies = await connection.ask(b"".join(packed(*words) for _, words in greeting), len(greeting))
    for (needed, _), reply in zip(greeting, replies, strict=True):
        if not isinstance(reply, Exception):
            continue
        if needed == "AUTH" and len(credentials) > 1 and "wrong number of arguments" in str(reply):
            # Before Redis 6 there are no users.
            return await greet(connection, address, credentials[1:], database, name, alone=alone)
        if needed:
            raise BackendError(cause(address, f"{needed} was refused: {reply}"))
        if ErrorReply.of(reply).kind == "NOAUTH":
            raise BackendError(cause(address, reply))
    if alone and name and _is_one_of_several(replies[-1]):
        raise BackendError(cause(address, IN_A_CLUSTER))
    return None


def _is_one_of_several(reply: Any) -> bool:
    """Whether *reply*, to CLUSTER SLOTS, names several primaries. Where there is no cluster it is an error."""
    try:
        return len({(one.host, one.port) for one in ranges(reply, "")}) > 1
    except BackendError:
        return False


def packed(*words: str) -> bytes:
    """A command as RESP."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
