"""RateLimitRequest from JSON, and RateLimitResponse to JSON, in slices: protobuf does both in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from rls.errors import RequestError
from rls.proto import ratelimit_pb2, rls_pb2
from rls.slices import Slices

M = TypeVar("M", bound=Message)

_ENTRIES = 64
"""Entries that are converted without a look at the clock."""

_HALF_PAIR = re.compile(r"\\u(?:d[89ab]..)\\u(?:d[c-f]..)|(\\u(?:d[89a-f]..))|\\.", re.IGNORECASE | re.DOTALL)
"""Escapes in JSON; its group is half of a surrogate pair that stands alone."""


async def read_request(body: bytes) -> rls_pb2.RateLimitRequest:
    """The request that *body* is.

    Raises:
        RequestError: It is none.
    """
    try:
        document = json.loads(_text(body), object_pairs_hook=_object)
    except RecursionError:
        raise _wrong("it is nested too deeply") from None
    except ValueError as error:
        raise _wrong(error) from error
    if not isinstance(document, dict):
        raise _wrong("expected an object")
    descriptors = document.pop("descriptors", None)
    request = _parsed("", document, rls_pb2.RateLimitRequest())
    if not isinstance(descriptors, list | None):
        raise _wrong("descriptors: expected a list")
    slices = Slices()
    for i, descriptor in enumerate(descriptors or ()):
        await _add(f"descriptors[{i}]", descriptor, request.descriptors.add(), slices)
    return request


def _text(body: bytes) -> str:
    """*body* as text. JSON is UTF-8 (RFC 8259, section 8.1), so it cannot hold any byte, as a message of gRPC can.

    Raises:
        ValueError: It is not; the error names the byte.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is 0x{body[error.start]:02X}, expected UTF-8") from None
    for found in _HALF_PAIR.finditer(text):
        if found[1]:
            byte = len(text[: found.start()].encode())
            raise ValueError(f"byte {byte} begins {found[1]}, half of a surrogate pair, expected both halves")
    return text.removeprefix("\ufeff")


async def _add(place: str, descriptor: Any, target: ratelimit_pb2.RateLimitDescriptor, slices: Slices) -> None:
    if not isinstance(descriptor, dict):
        raise _wrong(f"{place}: expected an object")
    entries = descriptor.get("entries")
    many = entries if isinstance(entries, list) and len(entries) > _ENTRIES else []
    if many:
        del descriptor["entries"]
    _parsed(place, descriptor, target)
    for at in range(0, len(many), _ENTRIES):
        await slices.next()
        part = _parsed(place, {"entries": many[at : at + _ENTRIES]}, ratelimit_pb2.RateLimitDescriptor())
        target.entries.extend(part.entries)
    await slices.next()


async def write_response(response: rls_pb2.RateLimitResponse) -> bytes:
    """*response* as JSON; its statuses are taken out of it."""
    statuses: Sequence[Any] = list(response.statuses)
    del response.statuses[:]
    shown = json_format.MessageToDict(response)
    slices = Slices()
    listed = []
    for status in statuses:
        listed.append(json_format.MessageToDict(status))
        await slices.next()
    first = {"overallCode": shown.pop("overallCode")} if "overallCode" in shown else {}
    return json.dumps(first | ({"statuses": listed} if listed else {}) | shown).encode()


def _parsed(place: str, document: dict[str, Any], message: M) -> M:
    try:
        json_format.ParseDict(document, message)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise _wrong(f"{place}: {error}" if place else error) from error
    return message


def _wrong(why: object) -> RequestError:
    return RequestError(f"the body is not a RateLimitRequest in JSON: {why}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found
