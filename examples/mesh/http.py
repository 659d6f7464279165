"""One HTTP request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """Header names are in lower case; of equal ones, the values are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    timeout: float = 20,
    source: str = "",
) -> Answer:
    """The answer of the server on *port* of this machine, asked from the address *source*, which is one of 127.0.0.0/8.

    Raises:
        OSError: The server gave no answer.
    """
    address = (source, 0) if source else None
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=address)) as connection:
        return ask_on(connection, path, headers, method=method, body=body)


def ask_on(
    connection: http.client.HTTPConnection,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> Answer:
    """As `ask`, on a connection that stays open."""
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{path}: {error!r}") from error
    joined: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return Answer(response.status, joined, content)
