"""Which fields of an access log make which descriptors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rls.core.model import Descriptor, Entry
from rls.core.rules import Wildcard

COMPANY = "DYNAMIC_METADATA(ENVOY.FILTERS.HTTP.JWT_AUTHN:PAYLOAD:COMPANY_ID)"
ADDRESS = "remote_address"
GUESSES = {
    "time": ("time", "start_time", "timestamp", "@timestamp", "ts", "START_TIME"),
    "flags": ("flags", "response_flags", "RESPONSE_FLAGS"),
    "company_id": ("company_id", COMPANY),
    ADDRESS: (
        "address",
        "remote_address",
        "downstream_remote_address",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_ADDRESS",
    ),
}
"""Names of fields: of istio/values-istiod.yaml, of what Istio and Envoy write by default, and of others."""
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>\d+\.\d+\.\d+\.\d+):\d+")

_new = tuple.__new__


class Part(NamedTuple):
    """One entry of a descriptor.

    Attributes:
        key: Its key.
        fields: Names of the field that has its value; the first that a log has counts. Empty where *text* is the value.
        text: A value that all requests have.
    """

    key: str
    fields: tuple[str, ...]
    text: str = ""


class Condition(NamedTuple):
    """What a field must be, or with *negated* must not be."""

    field: str
    pattern: Wildcard | str
    negated: bool = False

    def holds(self, value: str) -> bool:
        """Whether it holds for *value*, which is "" where it is missing."""
        matches = value == self.pattern if isinstance(self.pattern, str) else self.pattern.matches(value)
        return matches is not self.negated


class RequestMapping(NamedTuple):
    """How the requests of an access log are made.

    Attributes:
        domain: Of all of them.
        descriptors: One is left out of a request that lacks one of its values, as Envoy leaves it out.
        time: Names of the field with the time.
        conditions: All must hold for a line to be played.
    """

    domain: str
    descriptors: tuple[tuple[Part, ...], ...]
    time: tuple[str, ...] = GUESSES["time"]
    conditions: tuple[Condition, ...] = ()

    def built(self, values: Sequence[str]) -> tuple[Descriptor, ...]:
        """The descriptors of a request whose parts with a field have *values*, "" for a missing one."""
        left = iter(values)
        found = []
        for parts in self.descriptors:
            entries = []
            for part in parts:
                value = next(left) if part.fields else part.text
                if part.key == ADDRESS and ":" in value:
                    value = _without_port(value)
                if value:
                    entries.append(_new(Entry, (part.key, value)))
            if len(entries) == len(parts):
                found.append(_new(Descriptor, (tuple(entries), None, None, False)))
        return tuple(found)


def as_in_istio() -> tuple[tuple[Part, ...], ...]:
    """The descriptors that istio/envoyfilter.yaml makes: the company, and the address."""
    return ((Part("company_id", GUESSES["company_id"]),), (Part(ADDRESS, GUESSES[ADDRESS]),))


def read_descriptor(text: str) -> tuple[Part, ...]:
    r"""`company_id=FIELD`, or `path=FIELD,method=FIELD`; `\,` is a comma. A value in single quotes stands for itself.

    Raises:
        ValueError: It is something else.
    """
    return tuple(map(_part, (one.replace(r"\,", ",") for one in re.split(r"(?<!\\),", text))))


def read_condition(text: str) -> Condition:
    """`FIELD=VALUE` or `FIELD!=VALUE`, where `*` in the value is any text.

    Raises:
        ValueError: It is something else.
    """
    field, equals, value = text.partition("=")
    negated = field.endswith("!")
    field = field.removesuffix("!")
    if not field or not equals:
        raise ValueError("expected FIELD=VALUE or FIELD!=VALUE, such as code!=401 or 'upstream=inbound*'")
    return Condition(field, Wildcard.parse(value) if "*" in value else value, negated)


def _part(text: str) -> Part:
    key, equals, value = text.partition("=")
    if not key or not equals or not value:
        raise ValueError("expected KEY=FIELD, such as company_id=company_id")
    if len(value) > 2 and value[0] == value[-1] == "'":
        return Part(key, (), value[1:-1])
    return Part(key, (value,))


def _without_port(address: str) -> str:
    """As Envoy's action `remote_address` has it."""
    found = _WITH_PORT.fullmatch(address)
    return address if found is None else found["six"] or found["four"]
