"""What a call ends with (grpc/status.h)."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from rls.errors import BackendError, NotLoaded, RequestError


class StatusCode(IntEnum):
    """What a call can end with. UNKNOWN (2) is missing on purpose: whatever fails here has a cause with a name."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Aborted(Exception):
    """Ends a call with a status other than OK; *text* is told to the caller."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


_CODES = {
    RequestError: StatusCode.INVALID_ARGUMENT,
    BackendError: StatusCode.UNAVAILABLE,
    NotLoaded: StatusCode.UNAVAILABLE,
}


def status_of(error: BaseException) -> tuple[StatusCode, str]:
    """Code and message for a call whose handler raised *error*. The text of a bug stays in the log."""
    if isinstance(error, Aborted):
        return error.code, error.text
    if isinstance(error, asyncio.CancelledError):
        return StatusCode.UNAVAILABLE, "the call was cancelled"
    for kind in type(error).__mro__:
        if code := _CODES.get(kind):
            return code, str(error)
    return StatusCode.INTERNAL, "internal error"
