"""One GET, of our own HTTP and admin addresses and of Envoy's."""

from __future__ import annotations

import json
from typing import Any

from rls.http_client import Answer, NoHttp, ask

TIMEOUT_SECONDS = 3.0
_MOST_BYTES = 64 * 1024 * 1024


class WebError(Exception):
    """No answer; the text says why."""


def get(address: str, path: str, token: str = "") -> Answer:
    """What the server at *address*, `HOST:PORT` or `unix:/path`, answers to who shows *token*, if any.

    Raises:
        WebError: Nothing.
    """
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(address, path, seconds=TIMEOUT_SECONDS, most=_MOST_BYTES, headers=headers)
    except NoHttp as error:
        raise WebError(f"what answers there speaks no HTTP ({type(error).__name__})") from None
    except TimeoutError:
        raise WebError(f"no answer in {TIMEOUT_SECONDS:g} s") from None
    except OSError as error:
        raise WebError(f"no connection: {error.strerror or error}") from None


def read_json(answer: Answer) -> dict[str, Any]:
    """The body of *answer*, an object.

    Raises:
        WebError: It is none.
    """
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise WebError("the answer is no JSON object: is this the right address?")
    return found
