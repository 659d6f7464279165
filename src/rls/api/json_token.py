"""Who may give hits back over `/json`."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import stat
from pathlib import Path

from rls.errors import SettingsError

_LOG = logging.getLogger(__name__)
_BEARER = "bearer"
_LONGEST = 4096


class JsonToken:
    """The token in the file *path*, read again for each request that shows one, so that it can be changed.

    Raises:
        SettingsError: It cannot be read, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = ""
        try:
            token = _read(path)
        except OSError as error:
            raise SettingsError(f"cannot read the token for /json: {error}") from error
        if not token:
            raise SettingsError(f"the token for /json in {path} is empty")

    async def allows(self, authorization: str) -> bool:
        """Whether *authorization* is `Bearer` and the token."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != _BEARER:
            return False
        try:
            token = await asyncio.to_thread(_read, self._path)
        except OSError as error:
            if str(error) != self._said:
                self._said = str(error)
                _LOG.error("the token of /json cannot be read, so nobody has it: %s", error)
            return False
        self._said = ""
        return bool(token) and hmac.compare_digest(token, shown.strip().encode("latin-1", "replace"))


def _read(path: Path) -> bytes:
    """What is in the file, without the white space around it.

    Raises:
        OSError: It cannot be read, or is not a regular file, where a read could wait without end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        return os.read(descriptor, _LONGEST).strip()
    finally:
        os.close(descriptor)
