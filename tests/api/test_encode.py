import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from rls.api.encode import ResponseOptions, encode, message, status_prefixes, varint
from rls.core.check import Check
from rls.core.decide import Decision, Modes, decide
from rls.core.headers import Header, HeaderNames, ietf_headers, tightest_headers
from rls.core.metadata import request_metadata
from rls.core.model import UINT32_MAX, Descriptor, Entry, RateLimit, Unit
from rls.core.plan import Plan
from rls.core.rules import Rule
from rls.errors import SourceLocation
from rls.printable import percent_encoded, printable
from rls.proto import rls_pb2

NOW = 1_700_000_000
ENFORCED = Modes()
NO_ENTRIES = Descriptor(())
NOTHING = ResponseOptions()
EVERYTHING = ResponseOptions(
    HeaderNames(), ietf_headers=True, limited_by_header="x-refused", problem_json=True, dynamic_metadata=True
)


def encoded_of(decision: Decision, answers: ResponseOptions, modes: Modes = ENFORCED) -> bytes:
    return encode(decision, status_prefixes(decision.plan), answers, modes)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
uint32 = st.integers(0, UINT32_MAX)
limits = st.builds(
    RateLimit, st.integers(0, 5) | uint32, st.sampled_from(Unit), st.integers(1, 100), st.text(max_size=200)
)
rules = st.builds(
    Rule,
    st.just("domain"),
    st.text(min_size=1, max_size=20),
    st.none() | limits,
    st.text(max_size=5),
    shadow_mode=st.booleans(),
    quota_mode=st.booleans(),
    metadata=st.none() | st.dictionaries(st.text(max_size=3), values, max_size=3),
)
descriptors = st.builds(
    Descriptor,
    st.lists(st.builds(Entry, st.text(max_size=5), st.text(max_size=150)), max_size=2).map(tuple),
    hits_addend=st.none() | uint32,
)
answers = st.builds(
    ResponseOptions,
    st.none() | st.just(HeaderNames()),
    st.booleans(),
    st.sampled_from(["", "x-refused"]),
    st.booleans(),
    st.booleans(),
)
modes = st.builds(Modes, st.booleans(), st.booleans())


def check(rule: Rule | None, descriptor: Descriptor = NO_ENTRIES, override: RateLimit | None = None) -> Check:
    limit = override or (rule.limit if rule else None)
    if limit is None:
        return Check(descriptor, rule)
    return Check(
        descriptor._replace(limit=override),
        rule if override is None else None,
        limit,
        requests_per_unit=limit.requests_per_unit,
        amount=1,
        window_seconds=limit.window_seconds,
    )


def decision_on(*asked: tuple[Check, int], modes: Modes = ENFORCED, hits_addend: int = 0) -> Decision:
    checks = tuple(replace(check, index=index) for index, (check, _) in enumerate(asked))
    counted = tuple(check for check in checks if check.limit is not None)
    counts = [count for check, count in asked if check.limit is not None]
    return decide(Plan("domain", True, checks, counted, hits_addend), counts, NOW, modes)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Decision, Modes]:
    chosen = draw(modes)
    asked = []
    for _ in range(draw(st.integers(1, 4))):
        one = check(draw(st.none() | rules), draw(descriptors), draw(st.none() | limits))
        around = one.requests_per_unit
        asked.append((one, max(0, draw(st.integers(around - 3, around + 3) | uint32))))
    return decision_on(*asked, modes=chosen, hits_addend=draw(st.just(0) | uint32)), chosen


def expected(decision: Decision, answers: ResponseOptions, modes: Modes) -> rls_pb2.RateLimitResponse:
    """The answer as protobuf's own objects."""
    response = rls_pb2.RateLimitResponse(overall_code=decision.code.name)
    for status in decision.statuses:
        encoded = response.statuses.add(code=status.code.name, limit_remaining=status.limit_remaining)
        if status.limit is not None:
            encoded.current_limit.requests_per_unit = status.limit.requests_per_unit
            encoded.current_limit.unit = int(status.limit.unit)  # type: ignore[assignment]
            encoded.current_limit.name = status.limit.name
            if status.limit.unit_multiplier > 1:
                encoded.current_limit.unit_multiplier.value = status.limit.unit_multiplier
            encoded.duration_until_reset.seconds = status.seconds_until_reset
    headers = tightest_headers(decision, answers.limit_headers, modes) if answers.limit_headers else []
    headers += ietf_headers(decision.statuses) if answers.ietf_headers else []
    metadata = dict(request_metadata(decision)) if answers.dynamic_metadata else {}
    limited_by = decision.limited_by
    if limited_by is not None:
        rule = limited_by.check.id("domain")
        if answers.ietf_headers:
            headers.append(Header("Retry-After", str(limited_by.seconds_until_reset)))
        if answers.limited_by_header:
            headers.append(Header(answers.limited_by_header, percent_encoded(rule.path)))
        if answers.problem_json:
            headers.append(Header("Content-Type", "application/problem+json"))
        descriptor = limited_by.check.descriptor.text
        metadata |= {
            **{name: printable(text) for name, text in rule.fields.items()},
            "descriptor": printable(descriptor),
            "seconds_until_reset": limited_by.seconds_until_reset,
        }
    for name, value in headers:
        response.response_headers_to_add.add(key=name, value=value)
    if metadata:
        json_format.ParseDict(metadata, response.dynamic_metadata)
    return response


@given(decisions(), answers)
def test_answers_are_protobufs_own_bytes(decided: tuple[Decision, Modes], answers: ResponseOptions) -> None:
    """Every byte is protobuf's, whatever is decided and whatever options are on; a map's order is free."""
    decision, modes = decided
    encoded = encoded_of(decision, answers, modes)
    response = rls_pb2.RateLimitResponse.FromString(encoded)
    wanted = expected(decision, answers, modes)
    wanted.raw_body = response.raw_body  # a test of its own
    assert response == wanted
    wanted.ClearField("dynamic_metadata")  # the last field that is ever set
    plain = wanted.SerializeToString(deterministic=True)
    assert encoded[: len(plain)] == plain
    assert (len(encoded) == len(plain)) == (not response.HasField("dynamic_metadata"))


@given(st.dictionaries(st.text(max_size=3), values, min_size=1, max_size=1))
def test_metadata_of_rules_is_a_struct(metadata: dict[str, object]) -> None:
    """Any value that YAML can hold, in protobuf's own bytes where its maps have at most one entry."""
    rule = Rule("domain", "path", RateLimit(1, Unit.DAY), metadata=metadata)  # type: ignore[arg-type]
    encoded = encoded_of(decision_on((check(rule), 1)), ResponseOptions(dynamic_metadata=True))
    found = rls_pb2.RateLimitResponse.FromString(encoded).dynamic_metadata
    wanted = Struct()
    json_format.ParseDict({"metadata": metadata}, wanted)
    assert found.fields["metadata"] == wanted.fields["metadata"]


@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**29))
def test_varints_are_protobufs(n: int) -> None:
    assert (b"\x08" + varint(n) if n else b"") == UInt64Value(value=n).SerializeToString()


@given(st.integers(0, 2**15))
def test_lengths_are_protobufs(length: int) -> None:
    header = rls_pb2.RateLimitResponse(raw_body=b"x" * length).SerializeToString()
    assert (message(5, b"x" * length) if length else b"") == header


MINUTE = Rule(
    "domain", "company_acme", RateLimit(10, Unit.MINUTE), name="acme", place=SourceLocation("mesh.yaml", 12, 5)
)
QUARTER = Rule("domain", "company", RateLimit(10, Unit.MINUTE, 15))
ACME = Descriptor((Entry("company", "acme"), Entry("path", "/")))


def response(decision: Decision, answers: ResponseOptions) -> rls_pb2.RateLimitResponse:
    return rls_pb2.RateLimitResponse.FromString(encoded_of(decision, answers))


def test_a_refusal_always_says_which_rule_refused() -> None:
    """In the dynamic metadata, where Envoy's access log can print it, with no option on."""
    metadata = response(decision_on((check(MINUTE, ACME), 11)), NOTHING).dynamic_metadata
    assert dict(metadata) == {
        "domain": "domain",
        "rule": "company_acme",
        "name": "acme",
        "place": "mesh.yaml:12",
        "descriptor": "company=acme,path=/",
        "seconds_until_reset": 40.0,
    }


@pytest.mark.parametrize("answers", [NOTHING, EVERYTHING])
def test_the_code_is_never_unknown(answers: ResponseOptions) -> None:
    """Envoy lets an unknown code pass: neither overall nor for a descriptor is it ever answered."""
    for asked in ([(check(MINUTE), 11)], [(check(MINUTE), 1)], [(check(None), 0)]):
        answered = response(decision_on(*asked), answers)
        assert {answered.overall_code, *(status.code for status in answered.statuses)} <= {1, 2}


def test_nothing_is_added_to_what_passes_unless_asked_for() -> None:
    answered = response(
        decision_on((check(MINUTE), 1)), ResponseOptions(limited_by_header="x-refused", problem_json=True)
    )
    assert not answered.response_headers_to_add
    assert not answered.raw_body
    assert not answered.HasField("dynamic_metadata")


@pytest.mark.parametrize(
    ("asked", "detail", "label"),
    [
        (check(MINUTE), "The limit of 10 requests per minute is used up; it is reset in 40 s.", "acme"),
        (check(QUARTER), "The limit of 10 requests per 15 minutes is used up; it is reset in 100 s.", "company"),
        (
            check(None, override=RateLimit(1, Unit.SECOND, 30)),
            "The limit of 1 requests per 30 seconds is used up; it is reset in 10 s.",
            "(override)",
        ),
    ],
)
def test_a_refusal_can_have_a_body(asked: Check, detail: str, label: str) -> None:
    """RFC 9457, of the type that draft-ietf-httpapi-ratelimit-headers registers."""
    answered = response(decision_on((asked, 11)), ResponseOptions(problem_json=True))
    assert [(header.key, header.value) for header in answered.response_headers_to_add] == [
        ("Content-Type", "application/problem+json")
    ]
    assert json.loads(answered.raw_body) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": detail,
        "violated-policies": [label],
        "domain": "domain",
        "rule": asked.path,
    }


def names(headers: Sequence[object]) -> list[str]:
    return [header.key for header in headers]  # type: ignore[attr-defined]


def test_headers_come_in_one_order() -> None:
    refused = response(decision_on((check(MINUTE), 11)), EVERYTHING)
    assert names(refused.response_headers_to_add) == [
        *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
        *("RateLimit-Policy", "RateLimit", "Retry-After", "x-refused", "Content-Type"),
    ]
    passed = response(decision_on((check(MINUTE), 1)), EVERYTHING)
    assert names(passed.response_headers_to_add) == names(refused.response_headers_to_add)[:5]


def test_what_is_kept_of_refusals_is_bounded() -> None:
    """However large the descriptors that clients are refused with."""
    huge = [check(MINUTE, Descriptor((Entry("k", f"{i}" + "x" * 60_000),))) for i in range(400)]
    encoded_of(decision_on((huge[0], 11)), NOTHING)
    tracemalloc.start()
    try:
        for one in huge:
            encoded_of(decision_on((one, 11)), NOTHING)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 16 << 20
