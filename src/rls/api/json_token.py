"""Who may give hits back over `/json`."""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path

from rls.errors import SettingsError
from rls.secret_files import read_secret

_LOG = logging.getLogger(__name__)
_BEARER = "bearer"


class JsonToken:
    """The token in the file *path*, read again for each request that shows one, so that it can be changed.

    Raises:
        SettingsError: It cannot be read, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = ""
        try:
            token = read_secret(path)
        except OSError as error:
            raise SettingsError(f"cannot read the token for /json in {path}: {error.strerror or error}") from error
        if not token:
            raise SettingsError(f"the token for /json in {path} is empty")

    async def allows(self, authorization: str) -> bool:
        """Whether *authorization* is `Bearer` and the token."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != _BEARER:
            return False
        try:
            token = await asyncio.to_thread(read_secret, self._path)
        except OSError as error:
            if str(error) != self._said:
                self._said = str(error)
                _LOG.error("the token of /json cannot be read, so nobody has it: %s", error)
            return False
        self._said = ""
        return bool(token) and hmac.compare_digest(token, shown.strip().encode("latin-1", "replace"))
