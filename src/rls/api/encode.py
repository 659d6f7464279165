"""Decision → RateLimitResponse, as bytes.

Written from parts rather than through message objects, which would cost more than the rest of a check; a test holds the
result equal to protobuf's own bytes. Field numbers are those of rls.proto and struct.proto.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct

from rls.api.clock_cache import ClockCache
from rls.core.check import Check, Status
from rls.core.decide import Decision, Modes, tightest
from rls.core.headers import Header, HeaderNames, ietf_headers, tightest_headers
from rls.core.metadata import request_metadata
from rls.core.model import UINT32_MAX, Code, Descriptor, RateLimit
from rls.core.plan import Plan
from rls.core.rules import Metadata, MetadataValue, RuleId
from rls.printable import percent_encoded, printable
from rls.transport.grpc_framing import SHORT

_DOUBLE = Struct("<d")
_VARINTS = tuple(bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(1 << 14))
_CONTINUED = tuple(bytes([n & 0x7F | 0x80, n >> 7 | 0x80]) for n in range(1 << 14))
# Bounded in bytes: how long descriptors are is up to clients.
_REFUSALS = ClockCache[tuple[RuleId, Descriptor], bytes](8 << 20)
_OVERALL = {code: bytes([0x08, code]) for code in Code}

ALLOW_ALL = _OVERALL[Code.OK]
"""OK, without any status."""
DENY_ALL = _OVERALL[Code.OVER_LIMIT]
"""OVER_LIMIT, without any status. Envoy refuses the request, as it does when a status says so."""


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What an answer holds beside codes and statuses; on every answer unless said otherwise.

    Attributes:
        limit_headers: Names of the reference's three headers; None for none of them.
        ietf_headers: Add `RateLimit-Policy` and `RateLimit` for every limit that applied, and on a refusal `Retry-After`.
        limited_by_header: On a refusal, name of a header for the path of the rule that refused; "" for none.
        problem_json: On a refusal, an RFC 9457 body.
        dynamic_metadata: The reference's dynamic metadata: the request, and the metadata of the rules that it passed.
    """

    limit_headers: HeaderNames | None = None
    ietf_headers: bool = False
    limited_by_header: str = ""
    problem_json: bool = False
    dynamic_metadata: bool = False
    plain: bool = field(init=False)

    def __post_init__(self) -> None:
        adds = self.limit_headers or self.ietf_headers or self.limited_by_header or self.problem_json
        object.__setattr__(self, "plain", not adds and not self.dynamic_metadata)


def status_prefixes(plan: Plan) -> tuple[bytes, ...]:
    """How the DescriptorStatus of each check begins while it has hits left: `encode` needs it, and it is kept with the plan.

    That is all but limit_remaining and duration_until_reset; b"" where no limit holds.
    """
    return tuple(status_prefix(check) for check in plan.checks)


def status_prefix(check: Check) -> bytes:
    """As `status_prefixes`, for one check."""
    return b"" if check.limit is None else _prefix(check.limit)


def encode(decision: Decision, prefixes: Sequence[bytes], answers: ResponseOptions, modes: Modes) -> bytes:
    """RateLimitResponse for *decision*, whose plan has these status *prefixes*.

    A refusal says in its dynamic metadata which rule refused: `domain`, `rule`, `name` and `place` (see `RuleId`),
    `descriptor` and `seconds_until_reset`. An answer without all counts says which policies decided: `on_backend_error`.
    """
    statuses = decision.statuses
    if decision.well_within and len(statuses) == 1 and answers.plain and (remaining := statuses[0].limit_remaining):
        # The usual, as `_add_statuses` has it.
        left = _VARINTS[remaining] if remaining < 1 << 14 else varint(remaining)
        encoded = prefixes[0] + left + _duration(statuses[0].seconds_until_reset)
        if len(encoded) < SHORT:
            return ALLOW_ALL + _STATUS[len(encoded)] + encoded
    parts = [_OVERALL[decision.code]]
    if decision.plan.several:
        statuses, prefixes = _one_each(statuses)
    _add_statuses(parts, statuses, prefixes)
    if decision.limited_by is None and answers.plain and not decision.policies:
        return b"".join(parts)
    return b"".join(parts) + _rest(decision, answers, modes)


def encode_slices(decision: Decision, slices: Iterable[bytes], answers: ResponseOptions, modes: Modes) -> bytes:
    """As `encode`, where the statuses are encoded already, in *slices*; headers tell of those in *decision* only."""
    return _OVERALL[decision.code] + b"".join(slices) + _rest(decision, answers, modes)


def encode_statuses(plan: Plan, statuses: Sequence[Status]) -> bytes:
    """RateLimitResponse.statuses for *statuses*, which *plan* came to: one for each descriptor."""
    prefixes: Sequence[bytes] = status_prefixes(plan)
    if plan.several:
        statuses, prefixes = _one_each(statuses)
    parts: list[bytes] = []
    _add_statuses(parts, statuses, prefixes)
    return b"".join(parts)


def _one_each(statuses: Sequence[Status]) -> tuple[list[Status], list[bytes]]:
    """The tightest status of each descriptor (rls.proto has one for each), and its prefix."""
    found = tightest(statuses)
    return found, [status_prefix(status.check) for status in found]


def _add_statuses(parts: list[bytes], statuses: Sequence[Status], prefixes: Sequence[bytes]) -> None:
    # Flat, since it runs for every check: a call costs as much as all that is done here to a status.
    for status, unspent in zip(statuses, prefixes):  # noqa: B905 - strict costs half as much again
        limit, remaining = status.limit, status.limit_remaining
        if limit is None:
            encoded = _UNCOUNTED[remaining]
            parts += (_STATUS[len(encoded)], encoded)
            continue
        reset = _duration(status.seconds_until_reset)
        if remaining:
            prefix, left = unspent, _VARINTS[remaining] if remaining < 1 << 14 else varint(remaining)
        else:
            prefix, left = _used_up(status.code, limit), b""
        length = len(prefix) + len(left) + len(reset)
        parts += (_STATUS[length] if length < SHORT else b"\x12" + varint(length), prefix, left, reset)


def _rest(decision: Decision, answers: ResponseOptions, modes: Modes) -> bytes:
    """RateLimitResponse after its statuses: headers, body, dynamic metadata."""
    limited_by = decision.limited_by
    domain = decision.plan.domain
    parts: list[bytes] = []
    if not answers.plain:
        parts += [message(3, _header(header)) for header in _headers(decision, answers, modes)]
        if limited_by is not None and answers.problem_json:
            parts.append(message(5, _denied(limited_by, domain) if decision.denied else _problem(limited_by, domain)))
    metadata = b""
    if answers.dynamic_metadata:
        asked = dict(request_metadata(decision))
        if limited_by is not None:
            del asked["domain"]  # it follows
        metadata = _struct_fields(asked)
    if limited_by is not None:
        metadata += _refusal(limited_by.check, domain) + _reset_metadata(limited_by.seconds_until_reset)
    if decision.policies:
        metadata += _struct_fields({"on_backend_error": ",".join(sorted(decision.policies))})
    if metadata:
        parts.append(message(6, metadata))
    return b"".join(parts)


def varint(n: int) -> bytes:
    """*n* ≥ 0 in base-128, as protobuf writes it."""
    return _VARINTS[n] if n < 1 << 14 else _CONTINUED[n & 0x3FFF] + _high_varint(n >> 14)


# What is left of a large limit changes in its low bits.
_high_varint = lru_cache(maxsize=4096)(varint)
# DescriptorStatus where no limit holds, by limit_remaining: no rule, or one without a limit.
_UNCOUNTED = {0: b"\x08\x01", UINT32_MAX: b"\x08\x01\x18" + varint(UINT32_MAX)}
# RateLimitResponse.statuses: tag and length, by length.
_STATUS = tuple(b"\x12" + varint(length) for length in range(SHORT))


def message(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


@lru_cache(maxsize=4096)
def _prefix(limit: RateLimit) -> bytes:
    """DescriptorStatus up to the value of limit_remaining; what has hits left is OK."""
    return b"\x08\x01" + _limit(limit) + b"\x18"


@lru_cache(maxsize=4096)
def _used_up(code: Code, limit: RateLimit) -> bytes:
    """DescriptorStatus without limit_remaining, which is 0."""
    return bytes([0x08, code]) + _limit(limit)


def _limit(limit: RateLimit) -> bytes:
    """DescriptorStatus.current_limit."""
    body = b"\x08" + varint(limit.requests_per_unit) if limit.requests_per_unit else b""
    body += bytes([0x10, limit.unit])
    if limit.name:
        body += message(3, limit.name.encode())
    if limit.unit_multiplier != 1:
        body += message(4, b"\x08" + varint(limit.unit_multiplier))
    return message(2, body)


@lru_cache(maxsize=4096)
def _duration(seconds: int) -> bytes:
    """DescriptorStatus.duration_until_reset; never 0."""
    return message(4, b"\x08" + varint(seconds))


@lru_cache(maxsize=4096)
def _reset_metadata(seconds: int) -> bytes:
    """The part of a refusal's metadata that says when the window ends."""
    return _map_entry("seconds_until_reset", b"\x11" + _DOUBLE.pack(seconds))


def _headers(decision: Decision, answers: ResponseOptions, modes: Modes) -> Iterable[Header]:
    if answers.limit_headers is not None:
        yield from tightest_headers(decision, answers.limit_headers, modes)
    if answers.ietf_headers:
        yield from ietf_headers(decision.statuses)
    limited_by = decision.limited_by
    if limited_by is None:
        return
    if answers.ietf_headers:
        yield Header("Retry-After", str(limited_by.seconds_until_reset))
    if answers.limited_by_header:
        yield Header(answers.limited_by_header, percent_encoded(limited_by.check.path))
    if answers.problem_json:
        yield Header("Content-Type", "application/problem+json")


def _header(header: Header) -> bytes:
    return message(1, header.name.encode()) + message(2, header.value.encode())


def _refusal(check: Check, domain: str) -> bytes:
    """The part of a refusal's metadata that does not change with time."""
    rule = check.id(domain)
    key = rule, check.descriptor
    encoded = _REFUSALS.get(key)
    if encoded is None:
        texts = rule.fields | {"descriptor": check.descriptor.text}
        encoded = _struct_fields({name: printable(text) for name, text in texts.items()})
        # Beside the bytes, the descriptor is kept, which holds the same text.
        _REFUSALS.put(key, encoded, 3 * len(encoded) + 1000)
    return encoded


def _problem(limited_by: Status, domain: str) -> bytes:
    limit = limited_by.limit
    assert limit is not None
    window = (
        f"{limit.unit_multiplier} {limit.unit.name.lower()}s" if limit.unit_multiplier > 1 else limit.unit.name.lower()
    )
    body = {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": f"The limit of {limit.requests_per_unit} requests per {window} is used up; "
        f"it is reset in {limited_by.seconds_until_reset} s.",
        "violated-policies": [printable(limited_by.check.policy_name)],
        "domain": printable(domain),
        "rule": printable(limited_by.check.path),
    }
    return json.dumps(body).encode()


def _denied(limited_by: Status, domain: str) -> bytes:
    """That a policy refused, since nobody knows whether the limit is used up."""
    body = {
        "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        "title": "Request cannot be satisfied due to temporary server capacity constraints",
        "status": 429,
        "detail": f"Limits cannot be checked at the moment; try again in {limited_by.seconds_until_reset} s.",
        "domain": printable(domain),
        "rule": printable(limited_by.check.path),
    }
    return json.dumps(body).encode()


def _map_entry(key: str, value: bytes) -> bytes:
    """Struct.fields: one entry, whose google.protobuf.Value is *value*."""
    return message(1, message(1, key.encode()) + message(2, value))


def _struct_fields(values: Metadata) -> bytes:
    return b"".join(_map_entry(key, _value(value)) for key, value in values.items())


def _value(value: MetadataValue) -> bytes:
    """google.protobuf.Value."""
    if value is None:
        return b"\x08\x00"
    if isinstance(value, bool):
        return b"\x20" + varint(value)
    if isinstance(value, int | float):
        return b"\x11" + _DOUBLE.pack(value)
    if isinstance(value, str):
        return message(3, value.encode())
    if isinstance(value, Sequence):
        return message(6, b"".join(message(1, _value(item)) for item in value))
    return message(5, _struct_fields(value))
