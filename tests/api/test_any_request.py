"""Whatever a client of the mesh can choose is counted: an error would let it pass Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rls.api.decode import SLICE
from rls.api.encode import ResponseOptions
from rls.api.service import Service
from rls.core.headers import HeaderNames
from rls.core.keys import KeyFormat
from rls.core.model import Unit
from rls.core.plan import CountingOptions
from rls.engine.limiter import Limiter
from rls.observe.metrics import Metrics
from rls.proto import raw_pb2, rls_pb2
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.redis import RedisStore
from rls.transport.base import Dropped, Shed
from rls.transport.status import StatusCode
from tests.redis_server import RedisServer, redis_binary, running
from tests.tries import Step, rule, rule_set

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
RULES = rule_set(
    {
        (Step("ip"),): rule("ip", 2, Unit.YEAR),
        (Step("user"),): rule("user", 2, Unit.YEAR, detailed_metric=True),
        (Step("path", "/*", share_threshold=True),): rule("path_/*", 2, Unit.YEAR),
        (Step("path", "*x", value_to_metric=True),): rule("path_*x", 2, Unit.YEAR, replaces=["named"]),
        (Step("company"), Step("ip")): rule("company.ip", 2, Unit.YEAR, name="named", metadata={"a": [1]}),
        (Step("free"),): rule("free", None),
    }
)
EVERYTHING = ResponseOptions(
    HeaderNames(), ietf_headers=True, limited_by_header="x-refused", problem_json=True, dynamic_metadata=True
)

raw = st.binary(max_size=6) | st.sampled_from(
    [b"/*", b"/a", b"*x", b"\xff", b"bob\xff", b"\x00", b"\xed\xb3\xbf", b"\xc3"]
)
keys = st.sampled_from([b"ip", b"user", b"path", b"company", b"free", b"na\xefve"]) | raw
entries = st.lists(st.tuples(keys, raw | raw.map(lambda value: value * 100)), max_size=5)
int32, uint32 = st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)
limits = st.tuples(uint32, st.integers(-1, 9) | int32, st.none() | st.integers(0, 101) | uint32)
descriptors = st.tuples(entries, st.none() | st.integers(0, 2**64 - 1), st.booleans(), st.none() | limits)

Limit: TypeAlias = tuple[int, int, int | None]
Asked: TypeAlias = tuple[list[tuple[bytes, bytes]], int | None, bool, Limit | None]
"""A descriptor: its entries, its addend, whether it gives hits back, and a limit of its own: count, unit, multiplier."""


def message(asked: list[Asked], domain: bytes = b"domain", addend: int = 0) -> bytes:
    request = raw_pb2.RateLimitRequest(domain=domain, hits_addend=addend)
    for pairs, own_addend, refund, limit in asked:
        descriptor = request.descriptors.add(is_negative_hits=refund)
        for key, value in pairs:
            descriptor.entries.add(key=key, value=value)
        if own_addend is not None:
            descriptor.hits_addend.value = own_addend
        if limit is not None:
            descriptor.limit.requests_per_unit, descriptor.limit.unit, multiplier = limit  # type: ignore[assignment]
            if multiplier is not None:
                descriptor.limit.unit_multiplier.value = multiplier
    return request.SerializeToString()


def one(value: bytes, key: bytes = b"ip") -> Asked:
    return [(key, value)], None, False, None


class Served:
    """A service with every kind of rule and answer, and its metrics."""

    def __init__(self, backend: CounterStore | None = None, key_format: KeyFormat = KeyFormat.V1) -> None:
        self.metrics = Metrics()
        counting = CountingOptions(key_format=key_format)
        limiter = Limiter(backend or MemoryStore(), counting=counting, observers=[self.metrics])
        limiter.load(RULES)
        self.service = Service(limiter, answers=EVERYTHING)

    async def ask(self, asked: bytes) -> rls_pb2.RateLimitResponse:
        return rls_pb2.RateLimitResponse.FromString(await self.service.answer(asked))

    def series(self) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        text = b"".join(self.metrics.page()[1]).decode()
        families = text_string_to_metric_families(text)
        return [(sample.name, tuple(sample.labels.items())) for family in families for sample in family.samples]


@settings(max_examples=300)
@given(st.lists(descriptors, min_size=1, max_size=3), raw.filter(len), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_no_key_value_addend_limit_or_number_makes_an_error(asked, domain, addend, times) -> None:
    async def ask_all() -> None:
        served = Served()
        for name in (domain, b"domain"):
            answer = await served.ask(message(asked * times, name, addend))
            assert answer.overall_code in (OK, OVER_LIMIT)
            assert len(answer.statuses) == len(asked) * times
        series = served.series()
        assert len(series) == len(set(series)), "a name and its labels stand in a scrape once"

    asyncio.run(ask_all())


@pytest.mark.parametrize("key_format", KeyFormat)
@pytest.mark.parametrize(
    "value", [b"bob\xff", b"\xff", b"Mu\xf1oz", b"\xc3(", b"\xed\xa0\x80", b"a\x00b", b"\xf8" * 300]
)
async def test_a_value_that_is_not_utf_8_is_counted_like_any(value: bytes, key_format) -> None:
    """Each by itself, beside the other descriptors of its request."""
    served = Served(key_format=key_format)
    asked = message([one(value), one(b"1.2.3.4")])
    assert [(await served.ask(asked)).overall_code for _ in range(3)] == [OK, OK, OVER_LIMIT]
    other = await served.ask(message([one(value + b"\xfe")]))
    assert (other.overall_code, other.statuses[0].limit_remaining) == (OK, 1)
    plain = await served.ask(message([one(b"1.2.3.4")]))
    assert plain.overall_code == OVER_LIMIT


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


async def test_in_redis_too(redis) -> None:
    backend = RedisStore(redis.url, timeout_seconds=10)
    served = Served(backend)
    try:
        for value in (b"\xff", b"\xfe", b"\x00", b"x" * 70_000, b"\xff" * 70_000):
            codes = [(await served.ask(message([one(value)]))).overall_code for _ in range(3)]
            assert codes == [OK, OK, OVER_LIMIT]
        huge: Asked = ([(b"ip", b"huge")], 2**64 - 1, False, None)
        assert [(await served.ask(message([huge]))).overall_code for _ in range(3)] == [OVER_LIMIT] * 3
        many = message([one(b"%d" % n) for n in range(2 * SLICE + 1)])
        assert [(await served.ask(many)).overall_code for _ in range(3)] == [OK, OK, OVER_LIMIT]
    finally:
        await backend.aclose()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"bob\xff", "bob\\xff"),
        (b"Mu\xf1oz", "Mu\\xf1oz"),
        ("Muñoz".encode(), "Muñoz"),
        (b"a\x1b[31m", "a\\x1b[31m"),
        (b"bob\\xff", "bob\\\\xff"),
        (b"C:\\temp", "C:\\\\temp"),
        ("a\u2028b".encode(), "a\\u2028b"),
    ],
)
async def test_it_is_shown_as_valid_text(value: bytes, shown: str) -> None:
    """In one form in dynamic metadata, which Envoy parses, and in metric labels; two values have two."""
    served = Served()
    *_, answer = [await served.ask(message([one(value, b"user")])) for _ in range(3)]
    metadata = json_format.MessageToDict(answer.dynamic_metadata)
    assert metadata["descriptor"] == f"user={shown}"
    assert metadata["descriptors"] == [{"entries": [f"user={shown}"]}]
    assert json.loads(answer.raw_body)["status"] == 429
    assert ("rls_hits_total", (("domain", "domain"), ("rule", "user"), ("value", f"user_{shown}"))) in served.series()


async def test_a_text_that_reads_like_an_escaped_byte_has_its_own_series_and_counter() -> None:
    served = Served()
    for value in (b"bob\xff", b"bob\\xff", b"bob\\\\xff"):
        assert (await served.ask(message([one(value, b"user")]))).statuses[0].limit_remaining == 1
    hits = [dict(labels).get("value") for name, labels in served.series() if name == "rls_hits_total"]
    assert {r"user_bob\xff", r"user_bob\\xff", r"user_bob\\\\xff"} <= set(hits)


@given(st.lists(raw, min_size=2, max_size=2, unique=True))
def test_two_values_never_look_alike(values: list[bytes]) -> None:
    async def shown(value: bytes) -> str:
        answer = await Served().ask(message([one(value, b"user")]))
        return json_format.MessageToJson(answer.dynamic_metadata)

    first, second = (asyncio.run(shown(value)) for value in values)
    assert first != second


async def test_json_shows_a_value_as_metadata_do() -> None:
    body = json.dumps({"domain": "domain", "descriptors": [{"entries": [{"key": "user", "value": "a\x1b\\b"}]}]})
    _, answer = await Served().service.answer_json(body.encode())
    assert json.loads(answer)["dynamicMetadata"]["descriptors"] == [{"entries": [r"user=a\x1b\\b"]}]


@pytest.mark.parametrize("count", [SLICE - 1, SLICE, SLICE + 1, 5 * SLICE])
async def test_many_descriptors_are_answered_like_few(count: int) -> None:
    """Codes, statuses, metrics and `replaces`, which hold for the whole request."""
    served = Served()
    asked: list[Asked] = [([(b"company", b"acme"), (b"ip", b"%d" % n)], None, False, None) for n in range(count - 1)]
    replacing = message([*asked, one(b"zx", b"path")])
    answer = await served.ask(replacing)
    assert [status.HasField("current_limit") for status in answer.statuses] == [False] * (count - 1) + [True]
    for _ in range(2):
        answer = await served.ask(message(asked))
        assert answer.overall_code == OK
    answer = await served.ask(message(asked))
    assert answer.overall_code == OVER_LIMIT
    assert {status.code for status in answer.statuses} == {OVER_LIMIT}
    assert (answer.dynamic_metadata["rule"], answer.dynamic_metadata["name"]) == ("company.ip", "named")
    text = b"".join(served.metrics.page()[1]).decode()
    assert f'rls_hits_total{{domain="domain",rule="company.ip"}} {3 * (count - 1)}\n' in text
    assert 'rls_requests_total{code="OK"} 3.0' in text


async def test_other_calls_have_their_turn_while_many_descriptors_are_judged() -> None:
    served = Served()
    long = asyncio.create_task(served.ask(message([one(b"%d" % n) for n in range(100 * SLICE)])))
    await asyncio.sleep(0)
    for n in range(50):
        assert (await served.ask(message([one(b"other%d" % n)]))).overall_code == OK
        assert not long.done()
        await asyncio.sleep(0)
    assert (await long).overall_code == OK


async def test_few_large_requests_wait_at_a_time() -> None:
    """Each may hold a megabyte. The others are shed, and small ones are answered meanwhile."""
    served = Served()
    large = [message([one(b"%d-%d" % (i, n)) for n in range(SLICE + 1)]) for i in range(150)]
    asked = [asyncio.create_task(served.ask(one_large)) for one_large in large]
    await asyncio.sleep(0)
    assert (await served.ask(message([one(b"other")]))).overall_code == OK
    answers = await asyncio.gather(*asked, return_exceptions=True)
    shed = [answer for answer in answers if isinstance(answer, Shed)]
    assert (len(shed), shed[0].code, shed[0].why) == (150 - 128, StatusCode.RESOURCE_EXHAUSTED, Dropped.LARGE)
    assert (await served.ask(large[-1])).overall_code == OK
    assert not any(served.service.unanswered.values())


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (b"\xff", "byte 67 is 0xFF, expected UTF-8"),
        (b"Mu\xf1oz", "byte 69 is 0xF1, expected UTF-8"),
        (b"\xed\xb3\xbf", "byte 67 is 0xED, expected UTF-8"),  # a surrogate as CESU-8 has it
        (b"\xc3", "byte 67 is 0xC3, expected UTF-8"),  # a character that is cut off
        ("é\\udcff".encode(), r"byte 69 begins \udcff, half of a surrogate pair, expected both halves"),
        (b"\\uD83D\\u0041", r"byte 67 begins \uD83D, half of a surrogate pair, expected both halves"),
        (b"\\\\\\ud800", r"byte 69 begins \ud800, half of a surrogate pair, expected both halves"),
    ],
)
async def test_json_that_is_not_text_is_refused_with_its_place(value: bytes, wrong: str) -> None:
    """JSON is UTF-8, and the Go server refuses the same. Envoy asks over gRPC, where any byte is counted."""
    body = b'{"domain":"domain","descriptors":[{"entries":[{"key":"ip","value":"%b"}]}]}' % value
    status, answer = await Served().service.answer_json(body)
    assert (status, json.loads(answer)) == (
        400,
        {"error": f"the body is not a RateLimitRequest in JSON: {wrong}"},
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"\\ud800":1}',
        b'{"domain":"d","descriptors":[{"\\udfff":1}]}',
        b'{"domain":"d"}'.decode().encode("utf-16"),
    ],
)
async def test_a_name_that_is_not_text_is_refused_too(body: bytes) -> None:
    status, _ = await Served().service.answer_json(body)
    assert status == 400


@pytest.mark.parametrize("value", ["\\ud83d\\ude00", "\\\\ud800", "\\\\\\\\udcff", "\ufeffé", "\\u0000"])
async def test_json_that_is_text_is_counted(value: str) -> None:
    served = Served()
    body = f'{{"domain":"domain","descriptors":[{{"entries":[{{"key":"ip","value":"{value}"}}]}}]}}'
    statuses = [(await served.service.answer_json(mark + body.encode()))[0] for mark in (b"", b"\xef\xbb\xbf", b"")]
    assert statuses == [200, 200, 429]
