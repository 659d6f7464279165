"""A password in a file, as secrets are that rotate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rls.errors import BackendError
from rls.stores.redis.handshake import packed

_POLL_SECONDS = 1.0


class PasswordFile:
    """Credentials whose password is read whenever a connection is opened.

    Args:
        path: Of a file that holds the password, and at most an end of line behind it.
        username: An ACL user; None for the default user.
    """

    def __init__(self, path: str, username: str | None) -> None:
        self._path = path
        self._username = username

    def read(self) -> str:
        """The password as it is now.

        Raises:
            OSError: The file cannot be read.
        """
        with open(self._path, encoding="utf-8") as file:  # noqa: PTH123 - opened for each connection, so kept cheap
            return file.read().rstrip("\r\n")

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password, or the password alone.

        Raises:
            OSError: The file cannot be read.
        """
        password = self.read()
        return (self._username, password) if self._username else (password,)

    def auth(self) -> bytes:
        """The packed command that authenticates with the password as it is now.

        Raises:
            OSError: The file cannot be read.
        """
        return packed("AUTH", *self.get_credentials())


class PasswordRotation:
    """Authenticates again, over the open connection, whenever the password in *file* changes.

    If Redis refuses the new password, the connection stays authenticated by the old one, and the new one is tried again:
    Redis may learn of it later than this process.

    Args:
        file: None where there is nothing to do.
        query: Sends a packed command, and returns its reply.
    """

    def __init__(self, file: PasswordFile | None, query: Callable[[bytes], Awaitable[Any]]) -> None:
        self._file = file
        self._query = query
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a connection that has authenticated."""
        self.stop()
        if self._file is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._file))

    def stop(self) -> None:
        """End, since the connection is gone."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, file: PasswordFile) -> None:
        known = b""
        while True:
            try:
                auth = file.auth()
                if auth != known:
                    if known:
                        await self._query(auth)
                    known = auth
            except (BackendError, OSError, UnicodeError):
                pass
            await asyncio.sleep(_POLL_SECONDS)
