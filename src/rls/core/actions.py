"""Envoy's rate limit actions: an HTTP request → the descriptors that Envoy would send for it, and why it sends no others.

What an action holds is config.route.v3.RateLimit.Action, with its names. See `rls.config.envoyfilter` for where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from rls.core.model import Descriptor, Entry

JWT_METADATA = "envoy.filters.http.jwt_authn"
_SPLIT_CLAIMS = ("scope", "permission")
"""Claims that Istio has Envoy split into lists, so that no action can read them as a text."""

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class HttpRequest:
    """A request as a proxy sees it.

    Attributes:
        headers: Their values by their names in lower case, in the order of the request.
        claims: Payload of a valid token; None without one.
        address: IP address of the client; "" where it is not given.
        clusters: Names for `source_cluster` and `destination_cluster`, where they are given.
    """

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    claims: Mapping[str, Any] | None = None
    address: str = ""
    clusters: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> Sequence[str]:
        """The values of the header or pseudo-header (RFC 9113, 8.3.1) *name*; empty without one."""
        name = name.lower()
        pseudo = {":method": [self.method], ":path": [self.path], ":authority": self.headers.get("host", ())}
        return pseudo[name] if name in pseudo else self.headers.get(name, ())

    def query(self, name: str) -> str | None:
        """The first value of the query parameter *name*; None without one."""
        _, _, query = self.path.partition("?")
        return next((value for key, value in parse_qsl(query, keep_blank_values=True) if key == name), None)


class NotKnown(Exception):
    """An action depends on what is not given or cannot be evaluated here; its text says on what."""


class NotSent(Exception):
    """An action yields nothing, so Envoy leaves the whole descriptor out; its text says why."""


class Outcome(NamedTuple):
    """What Envoy makes of one `rate_limits` item.

    Attributes:
        place: Where the item stands, as `file:line`.
        descriptor: What it sends; None for nothing.
        why: Why it sends nothing; "" where it does.
        known: Whether that is certain.
    """

    place: str
    descriptor: Descriptor | None
    why: str = ""
    known: bool = True


def outcome(place: str, policy: Fields, request: HttpRequest) -> Outcome:
    """What Envoy makes of *request* by one item of `rate_limits`, which stands at *place*."""
    try:
        return Outcome(place, _descriptor(policy, request))
    except NotKnown as error:
        return Outcome(place, None, f"cannot be evaluated: {error}", known=False)
    except NotSent as error:
        return Outcome(place, None, f"not sent: {error}")


def _descriptor(policy: Fields, request: HttpRequest) -> Descriptor:
    if "limit" in policy:
        raise NotKnown("`limit` takes a limit from dynamic metadata")
    if policy.get("apply_on_stream_done"):
        raise NotSent("`apply_on_stream_done`: it is sent when the response ends")
    entries = [entry for action in policy.get("actions") or () if (entry := _entry(action, request)) is not None]
    return Descriptor(tuple(entries), hits_addend=_addend(policy))


def _addend(policy: Fields) -> int | None:
    addend = policy.get("hits_addend")
    if addend is None:
        return None
    if "format" in addend:
        raise NotKnown("`hits_addend` has a format")
    return int(addend.get("number", 0))


def _entry(action: Fields, request: HttpRequest) -> Entry | None:
    """The entry of one action; None where `skip_if_absent` leaves it out.

    Raises:
        NotKnown: It cannot be evaluated.
        NotSent: It yields nothing.
    """
    kind, fields = next(iter(action.items()), ("", {}))
    handler = _ACTIONS.get(kind)
    if handler is None:
        raise NotKnown(f"the action `{kind}`")
    return handler(fields or {}, request)


def _absent(fields: Fields, what: str) -> Entry | None:
    if not fields.get("skip_if_absent"):
        raise NotSent(f"{what} is absent")
    return None


def _request_header(fields: Fields, request: HttpRequest) -> Entry | None:
    name = fields["header_name"]
    values = request.header(name)
    if not values:
        return _absent(fields, f"the header {name}")
    return Entry(fields["descriptor_key"], values[0])  # Envoy takes the first of several


def _query_parameter(fields: Fields, request: HttpRequest) -> Entry | None:
    name = fields["query_parameter_name"]
    value = request.query(name)
    if value is None:
        return _absent(fields, f"the query parameter {name}")
    return Entry(fields["descriptor_key"], value)


def _address(request: HttpRequest) -> str:
    if not request.address:
        raise NotKnown("it needs the client's address (--address)")
    return str(ip_address(request.address))


def _remote_address(_: Fields, request: HttpRequest) -> Entry:
    return Entry("remote_address", _address(request))


def _masked_remote_address(fields: Fields, request: HttpRequest) -> Entry:
    address = _address(request)
    length = fields.get("v6_prefix_mask_len", 128) if ":" in address else fields.get("v4_prefix_mask_len", 32)
    return Entry("masked_remote_address", str(ip_network(f"{address}/{length}", strict=False)))


def _generic_key(fields: Fields, _: HttpRequest) -> Entry:
    return Entry(fields.get("descriptor_key") or "generic_key", fields["descriptor_value"])


def _metadata(fields: Fields, request: HttpRequest) -> Entry | None:
    key = fields["metadata_key"]
    path = [segment["key"] for segment in key.get("path") or ()]
    if fields.get("source", "DYNAMIC") != "DYNAMIC" or key["key"] != JWT_METADATA or path[:1] != ["payload"]:
        raise NotKnown(f"metadata of {key['key']} at {'.'.join(path)}")
    value: Any = request.claims
    for segment in path[1:]:
        value = value.get(segment) if isinstance(value, Mapping) else None
    found = value if isinstance(value, str) and path[-1] not in _SPLIT_CLAIMS else ""
    found = found or fields.get("default_value", "")
    if found:
        return Entry(fields["descriptor_key"], found)
    claim = ".".join(path[1:])
    if request.claims is None:
        return _absent(fields, f"there is no valid token: the claim {claim}")
    if value not in (None, ""):
        return _absent(fields, f"the claim {claim} is no text, so for Envoy it")
    return _absent(fields, f"the claim {claim}")


def _cluster(name: str) -> Callable[[Fields, HttpRequest], Entry]:
    def entry(_: Fields, request: HttpRequest) -> Entry:
        if name not in request.clusters:
            raise NotKnown(f"it needs --cluster {name.removesuffix('_cluster')}=NAME")
        return Entry(name, request.clusters[name])

    return entry


def _matched(fields: Fields, default_key: str, found: bool, what: str) -> Entry:
    expected = fields.get("expect_match", True)
    if found is not expected:
        raise NotSent(f"the {what} {'do not match' if expected else 'match'}")
    return Entry(fields.get("descriptor_key") or default_key, fields["descriptor_value"])


def _header_value_match(fields: Fields, request: HttpRequest) -> Entry:
    found = all(_matches(one, _joined(request.header(one["name"]))) for one in fields.get("headers") or ())
    return _matched(fields, "header_match", found, "headers")


def _joined(values: Sequence[str]) -> str | None:
    return ",".join(values) if values else None


def _query_parameter_value_match(fields: Fields, request: HttpRequest) -> Entry:
    found = all(_matches(one, request.query(one["name"])) for one in fields.get("query_parameters") or ())
    return _matched(fields, "query_match", found, "query parameters")


_ACTIONS: Mapping[str, Callable[[Fields, HttpRequest], Entry | None]] = {
    "request_headers": _request_header,
    "query_parameters": _query_parameter,
    "remote_address": _remote_address,
    "masked_remote_address": _masked_remote_address,
    "generic_key": _generic_key,
    "metadata": _metadata,
    "header_value_match": _header_value_match,
    "query_parameter_value_match": _query_parameter_value_match,
    "source_cluster": _cluster("source_cluster"),
    "destination_cluster": _cluster("destination_cluster"),
}
KNOWN_ACTIONS = frozenset(_ACTIONS)
"""Actions that can be evaluated."""


def _matches(matcher: Fields, value: str | None) -> bool:
    """HeaderMatcher or QueryParameterMatcher (config.route.v3)."""
    if value is None and matcher.get("treat_missing_header_as_empty"):
        value = ""
    if "present_match" in matcher:
        found = (value is not None) is matcher["present_match"]
    elif value is None:
        return False  # config.route.v3.HeaderMatcher: an absent header matches nothing, inverted or not
    else:
        found = _value_matches(matcher, value)
    return found is not matcher.get("invert_match", False)


def _value_matches(matcher: Fields, value: str) -> bool:
    if "range_match" in matcher:
        numbers = matcher["range_match"]
        return re.fullmatch(r"[+-]?\d+", value) is not None and numbers["start"] <= int(value) < numbers["end"]
    if "string_match" in matcher:
        return _text_matches(matcher["string_match"], value)
    plain = {name.removesuffix("_match"): wanted for name, wanted in matcher.items() if name.endswith("_match")}
    old = {name: wanted for name, wanted in plain.items() if name in _TEXTS or name == "safe_regex"}
    return _text_matches(old, value) if old else True


_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


def _text_matches(matcher: Fields, value: str) -> bool:
    """StringMatcher (type.matcher.v3)."""
    regex = matcher.get("safe_regex")
    if regex is not None:
        try:
            return re.fullmatch(regex["regex"], value) is not None
        except re.error as error:
            raise NotKnown(f"the regular expression {regex['regex']}: {error}") from None
    ignores = matcher.get("ignore_case", False)
    for name, compare in _TEXTS.items():
        if name in matcher:
            wanted = matcher[name]
            return compare(value.lower(), wanted.lower()) if ignores else compare(value, wanted)
    raise NotKnown(f"the matcher {', '.join(matcher) or 'without a pattern'}")


def outcomes(policies: Sequence[tuple[str, Fields]], request: HttpRequest) -> list[Outcome]:
    """What Envoy makes of *request* by all items of `rate_limits`, each with its place, in their order."""
    return [outcome(place, policy, request) for place, policy in policies]
