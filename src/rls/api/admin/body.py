"""The JSON that a request brings, checked. Keys that are not known are ignored: a newer client may send more."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from rls.api.admin.query import WrongRequest
from rls.core.model import Entry
from rls.printable import printable

MOST_ENTRIES = 16
LONGEST_TEXT = 500
"""Characters of a reason."""
_LONGEST_VALUE = 4_096
_SHOWN = 100
_OBJECT = "an object in JSON"
_WHOLE = "whole characters, not halves of a surrogate pair"


class Body:
    """The members of the object that *request* brings.

    Raises:
        WrongRequest: From each method, where the member is missing or something else than is expected.
    """

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    @classmethod
    async def read(cls, request: Request) -> Body:
        """That of *request*.

        Raises:
            WrongRequest: It brings none.
        """
        try:
            found = json.loads(await request.body())
        except RecursionError:
            raise WrongRequest("the body is nested too deeply", _OBJECT) from None
        except ValueError as error:
            raise WrongRequest(f"the body is no JSON: {printable(str(error))[:_SHOWN]}", _OBJECT) from None
        if not isinstance(found, dict):
            raise WrongRequest(f"the body is {printable(json.dumps(found)[:_SHOWN])}", _OBJECT)
        return cls(found)

    def text(self, name: str, longest: int = LONGEST_TEXT) -> str:
        """A text; "" where it is missing."""
        found = self._members.get(name)
        if found is None:
            return ""
        if not isinstance(found, str) or len(found) > longest:
            raise self._wrong(name, f"a text of at most {longest} characters")
        if not _is_whole(found):
            raise self._wrong(name, _WHOLE)
        return found

    def needed(self, name: str, longest: int = LONGEST_TEXT) -> str:
        """A text that is not empty."""
        found = self.text(name, longest)
        if not found.strip():
            raise self._wrong(name, "a text that is not empty")
        return found

    def number(self, name: str, least: int, most: int) -> int:
        """A whole number from *least* to *most*."""
        found = self._members.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return found

    def entries(self, name: str = "entries") -> tuple[Entry, ...]:
        """Entries of a descriptor, as objects with `key` and `value`."""
        found = self._members.get(name)
        expected = f"1 to {MOST_ENTRIES} objects with the texts key and value"
        if not isinstance(found, list) or not 1 <= len(found) <= MOST_ENTRIES:
            raise self._wrong(name, expected)
        entries = []
        for one in found:
            key, value = (one.get("key"), one.get("value")) if isinstance(one, dict) else (None, None)
            if not isinstance(key, str) or not isinstance(value, str) or not key:
                raise self._wrong(name, expected)
            if len(key) + len(value) > _LONGEST_VALUE:
                raise self._wrong(name, f"keys and values of at most {_LONGEST_VALUE} characters")
            if not _is_whole(key + value):
                raise self._wrong(name, _WHOLE)
            entries.append(Entry(key, value))
        return tuple(entries)

    def _wrong(self, name: str, expected: str) -> WrongRequest:
        found = json.dumps(self._members[name])[:_SHOWN] if name in self._members else "missing"
        return WrongRequest(f"{name} is {printable(found)}", expected)


def _is_whole(text: str) -> bool:
    """Whether *text* has no half of a pair: that is no character, and no request of Envoy has it."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
