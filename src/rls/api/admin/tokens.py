"""Who may change something over the admin address: whoever has a token of the file."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from rls.errors import SettingsError
from rls.file_kinds import binary_kind
from rls.secret_files import read_secret

SHORTEST = 16
"""Characters of a token: a shorter one can be found by trying all of them."""
UNNAMED = "admin"
"""The name of a token without one."""
_LINE = re.compile(rb"(?:([A-Za-z0-9][A-Za-z0-9._@-]{0,63}):)?([!-~]{1,512})")
_FRESH_SECONDS = 1.0
LONGEST_FILE = 65_536
"""Bytes."""
_BEARER = "bearer"
_LOG = logging.getLogger(__name__)


class AdminTokens:
    """The tokens in the file *path*: a line for each, `NAME:TOKEN` or a token alone.

    The file is read again once a second at most, when a token is shown; so tokens can be changed. While it cannot be read,
    nobody has a token.

    Args:
        path: Of the file; None for no tokens.
        timer: Seconds that never step back.

    Raises:
        SettingsError: It cannot be read, has no token, or one that is too short or malformed.
    """

    def __init__(self, path: Path | None, timer: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._timer = timer
        self._tokens: list[tuple[str, bytes]] = []
        self._read_at = timer()
        self._said = ""
        self._reading = asyncio.Lock()
        if path is not None:
            try:
                self._tokens = tokens_of(read_secret(path, LONGEST_FILE))
            except (OSError, ValueError) as error:
                raise SettingsError(f"cannot use {path}: {_reason(error)}") from error

    @property
    def exist(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    async def name_of(self, authorization: str) -> str | None:
        """The name of the token that *authorization* shows as `Bearer TOKEN`; None where it is none of them.

        It takes as long for every token: it says nothing about how much of one is right.
        """
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != _BEARER or self._path is None:
            return None
        await self._refresh(self._path)
        given = shown.strip().encode("latin-1", "replace")
        found = None
        for name, token in self._tokens:
            if hmac.compare_digest(token, given):
                found = name
        return found

    async def own(self) -> str:
        """A token for servers that share the file to ask each other; "" without a file."""
        if self._path is not None:
            await self._refresh(self._path)
        return self._tokens[0][1].decode() if self._tokens else ""

    async def _refresh(self, path: Path) -> None:
        async with self._reading:
            if self._timer() - self._read_at < _FRESH_SECONDS:
                return
            try:
                self._tokens = tokens_of(await asyncio.to_thread(read_secret, path, LONGEST_FILE))
                self._said = ""
            except (OSError, ValueError) as error:
                self._tokens = []
                if str(error) != self._said:
                    self._said = str(error)
                    _LOG.error("the tokens of the admin address cannot be used, so nobody has one: %s", error)
            self._read_at = self._timer()


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def tokens_of(text: bytes) -> list[tuple[str, bytes]]:
    """Names and tokens in the *text* of a file.

    Raises:
        ValueError: There are none, or a line is no token. The text does not hold it.
    """
    if kind := binary_kind(text):
        raise ValueError(f"it is {kind}, expected a line of ASCII for each token")
    found: list[tuple[str, bytes]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = _LINE.fullmatch(line.strip())
        if parts is None:
            raise ValueError(f"line {number} is neither NAME:TOKEN nor a token of printable ASCII")
        if len(parts[2]) < SHORTEST:
            raise ValueError(f"the token in line {number} is shorter than {SHORTEST} characters")
        found.append(((parts[1] or UNNAMED.encode()).decode(), parts[2]))
    if not found:
        raise ValueError("it has no token")
    return found
