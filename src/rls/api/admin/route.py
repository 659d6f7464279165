"""What a part of the admin API adds to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]


class AdminRoute(NamedTuple):
    """One route.

    Attributes:
        path: Below the prefix of the API.
        purpose: For the list of routes.
        endpoint: Answers.
        method: Of HTTP.
        changes: Whether it changes something, so that a token is needed; see `Access`.
    """

    path: str
    purpose: str
    endpoint: Endpoint
    method: str = "GET"
    changes: bool = False
