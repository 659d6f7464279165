"""Where a node is, and the options of all nodes of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rls.errors import BackendError
from rls.stores.base import OnBatch
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.password import PasswordFile


class Endpoint(Protocol):
    """Where a node is."""

    @property
    def address(self) -> str:
        """For messages: without user and password."""

    @property
    def host(self) -> str:
        """Its host; empty if it has none."""

    @property
    def password_file(self) -> PasswordFile | None:
        """The file with its password, if there is one."""

    async def connect(self, timeout_seconds: float, on_disconnect: Callable[[BackendError], None]) -> NodeConnection:
        """Open a connection; *on_disconnect* is called once when it is gone.

        Raises:
            BackendError: It could not be opened within *timeout_seconds*.
        """


class NodeOptions(NamedTuple):
    """The options of all nodes of a store.

    Attributes:
        timeout_seconds: The longest that a call waits, the time to connect included.
        connect_timeout_seconds: An attempt to connect fails after this; a connection that does not answer is closed.
        jitter_seconds: Counters live up to this long after their window, and at most one window longer; at random, so that
            Redis does not expire all at once.
        known_counters: How many counters with a TTL to remember. A counter that is forgotten costs another SET.
        clock: Unix seconds.
        on_ttl_refused: Called with a node's address and a text when the node refuses commands that set TTLs; with "" as the
            text when it refuses none any more.
        on_batch: Called with each batch whose replies came, or that failed; None for nobody.
    """

    timeout_seconds: float = 0.01
    connect_timeout_seconds: float = 0.5
    jitter_seconds: int = 300
    known_counters: int = 200_000
    clock: Callable[[], float] = time.time
    on_ttl_refused: Callable[[str, str], None] = lambda _, __: None
    on_batch: OnBatch | None = None
