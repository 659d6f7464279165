"""A password that stands in a file, as secrets do that are rotated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.credentials import CredentialProvider

from rls.errors import BackendError

_LOOK_SECONDS = 1.0


class PasswordFile(CredentialProvider):
    """Credentials whose password is read whenever a connection is opened.

    Args:
        path: Of a file that holds the password, and at most a line's end behind it.
        username: An ACL user; none for the default user.
    """

    def __init__(self, path: str, username: str | None) -> None:
        self._path = path
        self._username = username

    def read(self) -> str:
        """The password as it is now.

        Raises:
            OSError: It cannot be read.
        """
        with open(self._path, encoding="utf-8") as file:  # noqa: PTH123 - opened for each connection, so kept cheap
            return file.read().rstrip("\r\n")

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """See `CredentialProvider`."""
        password = self.read()
        return (self._username, password) if self._username else (password,)

    def auth(self) -> bytes:
        """The command that authenticates with the password as it is now.

        Raises:
            OSError: It cannot be read.
        """
        words = [b"AUTH", *(word.encode() for word in self.get_credentials())]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """See `CredentialProvider`. It blocks, for as long as it takes to read a line."""
        return self.get_credentials()


async def keep_authenticated(file: PasswordFile, ask: Callable[[bytes], Awaitable[Any]]) -> None:
    """Authenticate anew, over the connection that *ask* asks, whenever the password in *file* changes.

    Where the new one is refused the old one goes on to hold, and it is tried again: Redis may learn of it later than we.
    """
    known = b""
    while True:
        try:
            auth = file.auth()
            if auth != known:
                if known:
                    await ask(auth)
                known = auth
        except (BackendError, OSError, UnicodeError):
            pass
        await asyncio.sleep(_LOOK_SECONDS)
