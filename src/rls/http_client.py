"""One request of HTTP/1.1, by TCP or a Unix socket, for programs that wait for its answer."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from rls.addresses import split_address, unix_path

NoHttp = http.client.HTTPException
"""What answers does not speak HTTP/1.1."""


class Answer(NamedTuple):
    """The status of an answer, and its body."""

    status: int
    body: bytes


def ask(
    address: str,
    target: str,
    *,
    seconds: float,
    most: int,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """What the server at *address* answers, `HOST:PORT` or `unix:/path`.

    Args:
        address: Of the server.
        target: Path and query.
        seconds: How long each step may take: to connect, and to wait for some of the answer.
        most: Bytes of its body that are read.
        method: Of HTTP.
        body: Of the request.
        headers: Of the request.

    Raises:
        OSError: There is no connection, or no answer: TimeoutError is one.
        NoHttp: The answer is no HTTP/1.1.
    """
    with closing(_connection(address, seconds)) as connection:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read(most))


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    path = unix_path(address)
    if path is None:
        return http.client.HTTPConnection(*split_address(address), timeout=seconds)
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(seconds)
    connection.sock.connect(path)
    return connection
