"""Access logs of Envoy, in JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from rls.core.model import Request
from rls.tools.replay.descriptors import GUESSES, RequestMapping
from rls.tools.replay.formats import TextFormat, operator
from rls.tools.replay.records import Line, Reader
from rls.tools.replay.times import unix_seconds

_NOTHING = frozenset({"", "-"})
"""What Envoy writes in place of a value that is missing."""
_new = tuple.__new__


class AccessReader(Reader):
    """Reads an access log.

    Args:
        mapping: How its requests are made.
        zone: Holds for times that name none.
        record: A line → its fields.
        named: What a field that the user names is called in records.
    """

    def __init__(
        self,
        mapping: RequestMapping,
        zone: tzinfo,
        record: Callable[[bytes], Mapping[str, Any]],
        named: Callable[[str], str] = str,
    ) -> None:
        super().__init__()
        self._mapping = mapping
        self._zone = zone
        self._record = record
        wanted = [mapping.time, GUESSES["flags"]]
        wanted += [(condition.field,) for condition in mapping.conditions]
        wanted += [part.fields for parts in mapping.descriptors for part in parts if part.fields]
        self._wanted = [tuple(map(named, names)) for names in wanted]
        self._names: list[str] = []
        self._inner: list[str] = []
        self._unsettled = True

    def read(self, line: bytes) -> Line | None:
        """See `Reader`."""
        record = self._record(line)
        if self._unsettled:
            self._settle(record)
        if self._inner:
            record = {**record, **{name: _inside(record, name) for name in self._inner}}
        time, flags, *values = map(record.get, self._names)
        if time is None and self._names[0] not in record:
            raise ValueError(
                f"no field with the time: expected --time FIELD, one of {', '.join(map(str, record))}"[:300]
            )
        at = unix_seconds(time, self._zone)
        texts = [value if value.__class__ is str else _text(value) for value in values]
        if conditions := self._mapping.conditions:
            for condition, text in zip(conditions, texts, strict=False):
                if not condition.holds("" if text in _NOTHING else text):
                    self.skipped += 1
                    return None
            del texts[: len(conditions)]
        key = tuple(texts)
        asked = self._known.get(key)
        if asked is None:
            asked = self._learn(key, "".join(texts), lambda: self._request(texts))
        if asked.request is None:
            self.bare += 1
            return None
        refused = None if flags is None else "RL" in flags and is_rate_limited(flags)
        line_: Line = _new(Line, (at, asked, refused))
        return line_

    def _request(self, texts: Sequence[str]) -> Request | None:
        descriptors = self._mapping.built(["" if text in _NOTHING else text for text in texts])
        return Request(self._mapping.domain, descriptors) if descriptors else None

    def _settle(self, record: Mapping[str, Any]) -> None:
        """Choose, of the names that a field may have, the one that *record* has."""
        found = [next((name for name in names if _has(record, name)), None) for names in self._wanted]
        self._names = [name or names[0] for name, names in zip(found, self._wanted, strict=True)]
        self._unsettled = any(name is None and len(names) > 1 for name, names in zip(found, self._wanted, strict=True))
        self._inner += [name for name in found if name is not None and name not in record and name not in self._inner]


def text_reader(form: str, mapping: RequestMapping, zone: tzinfo) -> AccessReader:
    """A reader for lines that the format string *form* makes.

    Raises:
        ValueError: It is none, or lacks a field of *mapping*.
    """
    found = TextFormat(form)
    for name in (condition.field for condition in mapping.conditions):
        _demand((name,), found.fields)
    for part in (part for parts in mapping.descriptors for part in parts):
        if len(part.fields) == 1:
            _demand(part.fields, found.fields)
    _demand(mapping.time, found.fields)

    def record(line: bytes) -> Mapping[str, Any]:
        fields = found.read(line.decode("utf-8", "surrogateescape").rstrip("\r"))
        if fields is None:
            raise ValueError("the line is not as the format has it")
        return fields

    return AccessReader(mapping, zone, record, operator)


def is_rate_limited(flags: Any) -> bool:
    """Whether Envoy's response flags say that a rule limited the request; RLSE says that the service failed."""
    return isinstance(flags, str) and not {"RL", "RateLimited"}.isdisjoint(flags.split(","))


def _demand(names: Sequence[str], fields: Sequence[str]) -> None:
    if not any(operator(name) in fields for name in names):
        raise ValueError(f"the format has no {names[-1]}, expected one of: {', '.join(fields)}")


def _text(value: Any) -> str:
    """As Envoy's actions have a value of metadata: whole numbers without a fraction."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else json.dumps(value)


def _has(record: Mapping[str, Any], name: str) -> bool:
    return name in record or _inside(record, name) is not None


def _inside(record: Any, name: str) -> Any:
    """The field at the path *name*, as `labels.company`."""
    for key in name.split("."):
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record
