"""One GET, of our own HTTP and admin addresses and of Envoy's."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any, NamedTuple

from rls.addresses import split_address, unix_path

TIMEOUT_SECONDS = 3.0
_MOST_BYTES = 64 * 1024 * 1024


class WebError(Exception):
    """No answer; the text says why."""


class Answer(NamedTuple):
    """An answer of HTTP."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Its body, an object.

        Raises:
            WebError: It is none.
        """
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise WebError("the answer is no JSON object: is this the right address?")
        return found


def get(address: str, path: str, token: str = "") -> Answer:
    """What the server at *address*, `HOST:PORT` or `unix:/path`, answers to who shows *token*, if any.

    Raises:
        WebError: Nothing.
    """
    try:
        with closing(_connection(address)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return Answer(response.status, response.read(_MOST_BYTES))
    except http.client.HTTPException as error:
        raise WebError(f"what answers there speaks no HTTP ({type(error).__name__})") from None
    except TimeoutError:
        raise WebError(f"no answer in {TIMEOUT_SECONDS:g} s") from None
    except OSError as error:
        raise WebError(f"no connection: {error.strerror or error}") from None


def _connection(address: str) -> http.client.HTTPConnection:
    path = unix_path(address)
    if path is None:
        return http.client.HTTPConnection(*split_address(address), timeout=TIMEOUT_SECONDS)
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(TIMEOUT_SECONDS)
    connection.sock.connect(path)
    return connection
