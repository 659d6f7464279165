"""A password that stands in a file, as secrets do that are rotated."""

from __future__ import annotations

from redis.credentials import CredentialProvider


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

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """See `CredentialProvider`. It blocks, for as long as it takes to read a line."""
        return self.get_credentials()
