"""What a node is told: where it is, and what all nodes of a backend have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rls.errors import BackendError
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.password import PasswordFile


class Endpoint(Protocol):
    """Where a node is."""

    @property
    def address(self) -> str:
        """For messages: without user and password."""

    @property
    def host(self) -> str:
        """Its host, where it has one."""

    @property
    def password_file(self) -> PasswordFile | None:
        """The file with its password, where there is one."""

    async def connect(self, timeout_seconds: float, on_lost: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection; *on_lost* is called once when it is gone.

        Raises:
            BackendError: It could not be had within *timeout_seconds*.
        """


class NodeOptions(NamedTuple):
    """What all nodes of a backend have in common.

    Attributes:
        timeout_seconds: A call waits no longer than this, the time to connect included.
        connect_timeout_seconds: An attempt to connect, and a connection that does not answer, is given up after this.
        jitter_seconds: Counters live up to this long after their window, at most one window's length; spread, so that
            Redis does not expire them all at once.
        known_counters: How many counters to remember that have their TTL. One that was forgotten costs a SET again.
        clock: Unix seconds.
        on_ttl_refused: Called with a node's address and what it says, where it refuses commands that give counters their
            TTL; with "" when it refuses none any more.
    """

    timeout_seconds: float = 0.01
    connect_timeout_seconds: float = 0.5
    jitter_seconds: int = 300
    known_counters: int = 200_000
    clock: Callable[[], float] = time.time
    on_ttl_refused: Callable[[str, str], None] = lambda _, __: None
