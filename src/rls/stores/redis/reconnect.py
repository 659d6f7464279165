"""Connecting in the background, again and again until it succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rls.errors import BackendError
from rls.stores.redis.connection import NodeConnection
from rls.stores.redis.endpoint import Endpoint, NodeOptions

RECONNECT_SECONDS = (0.05, 0.1, 0.2)
"""Pauses between attempts to connect; the last one stays."""


class Reconnect:
    """Attempts to connect to *endpoint*, one at a time.

    Args:
        endpoint: Where to connect to.
        options: Of its node.
        on_open: Called with each connection that is open.
        on_disconnect: Called with the reason when a connection is gone that was open.
        on_failed: Called with the reason when an attempt has failed; the next one follows.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: NodeOptions,
        *,
        on_open: Callable[[NodeConnection], None],
        on_disconnect: Callable[[BackendError], None],
        on_failed: Callable[[BackendError], None],
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._on_open = on_open
        self._on_disconnect = on_disconnect
        self._on_failed = on_failed
        self._attempts = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether there is an attempt, or a pause before one."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Connect in the background, unless that is under way."""
        if not self.is_under_way:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def reset(self) -> None:
        """The node is well: the next attempt needs no pause before it."""
        self._attempts = 0

    def stop(self) -> None:
        """Give up; `wait_stopped` waits until that is done."""
        if self._task is not None:
            self._task.cancel()

    async def wait_stopped(self) -> None:
        """Return when no attempt is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            if self._attempts:
                await asyncio.sleep(RECONNECT_SECONDS[min(self._attempts, len(RECONNECT_SECONDS)) - 1])
            self._attempts += 1
            try:
                connection = await self._endpoint.connect(self._options.connect_timeout_seconds, self._on_disconnect)
            except BackendError as error:
                self._on_failed(error.with_traceback(None))  # it is kept for long
            else:
                self._task = None
                self._on_open(connection)
                return
