"""Asks the admin address of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from rls.addresses import loopback, parse_address
from rls.errors import RlsError
from rls.settings.values import explained

_SECONDS = 10


class AdminError(RlsError):
    """There is no answer, or it is an error; the text says which, and what was expected."""


def ask_admin(address: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """What the server with the admin *address* answers: to GET, or to POST with *body*.

    Raises:
        AdminError: It does not answer, or with an error.
        ValueError: *address* is no address.
    """
    try:
        target = loopback(parse_address(address, "127.0.0.1"))
    except ValueError as error:
        raise ValueError(explained("--server", address, str(error))) from None
    connection = HTTPConnection(target, timeout=_SECONDS)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        status, text = response.status, response.read()
    except (OSError, HTTPException) as error:
        raise AdminError(
            f"no answer from {target}: {str(error) or type(error).__name__}: expected its --admin address"
        ) from None
    finally:
        connection.close()
    try:
        answer = json.loads(text)
    except ValueError:
        raise AdminError(f"{target} answers {status} without JSON: expected an admin address of rls") from None
    if status != 200:
        raise AdminError(f"{target} answers {status}: {answer.get('error')}: expected {answer.get('expected')}")
    return answer
