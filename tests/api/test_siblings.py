"""Descriptors that differ in their last value are planned by what one of them came to: just as if each was planned alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rls.api.decode import parse, read
from rls.api.encode import status_prefixes
from rls.api.service import MOST_SIBLINGS, Service
from rls.core.keys import KeyFormat
from rls.core.model import Unit
from rls.core.plan import CountingOptions, DomainPlanner
from rls.engine.limiter import Limiter
from rls.errors import RequestError
from rls.stores.memory import MemoryStore
from tests.tries import Step, rule, rule_set

RULES = rule_set(
    {
        (Step("company"),): rule("company", 2, Unit.HOUR),
        (Step("company", "abc"),): rule("company_abc", 3, Unit.HOUR),
        (Step("company", "acd"), Step("user")): rule("company_acd.user", 1, Unit.DAY),
        (Step("company"), Step("user")): rule("company.user", 4, Unit.DAY),
        (Step("path"),): rule("path", 5, Unit.HOUR),
        (Step("path", "a*"),): rule("path_a*", 6, Unit.HOUR),
        (Step("shared", "*", share_threshold=True),): rule("shared_*", 7, Unit.HOUR),
        (Step("metric", value_to_metric=True),): rule("metric", 8, Unit.HOUR),
        (Step("detailed"),): rule("detailed", 9, Unit.HOUR, detailed_metric=True),
        (Step("free"),): rule("free", None),
        (Step("same"),): rule("same", 2, Unit.HOUR, name="same", replaces=["same"]),
        (Step("none"), Step("below")): rule("none.below", 2, Unit.HOUR),
    }
)
KEYS = [
    b"company",
    b"path",
    b"shared",
    b"metric",
    b"detailed",
    b"free",
    b"same",
    b"none",
    b"user",
    b"below",
    b"unknown",
]
# Of one length, most of them: so that they are siblings.
VALUES = [b"abc", b"acd", b"xyz", b"360", b"|86", b"a*c", b"\xffab", b"\xc3\xa4b", b"", b"86400", b"v" * 129]
entries = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES) | st.binary(min_size=3, max_size=3))
descriptors = st.lists(entries, max_size=3)
requests = st.tuples(st.lists(descriptors, min_size=1, max_size=3), st.sampled_from([0, 0, 0, 2]))


def message(asked: tuple[list[list[tuple[bytes, bytes]]], int]) -> bytes:
    def text(raw: bytes) -> bytes:
        return bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 0x7F | 0x80, len(raw) >> 7])

    def field(number: int, raw: bytes) -> bytes:
        return bytes([number << 3 | 2]) + text(raw) + raw

    sent, addend = asked
    found = field(1, b"domain")
    for descriptor in sent:
        found += field(2, b"".join(field(1, field(1, key) + field(2, value)) for key, value in descriptor))
    return found + (bytes([0x18, addend]) if addend else b"")


@pytest.mark.parametrize("key_format", list(KeyFormat))
@given(asked=st.lists(requests, min_size=2, max_size=20))
def test_what_siblings_come_to_is_what_each_comes_to(key_format, asked) -> None:
    limiter = Limiter(MemoryStore(), counting=CountingOptions(key_format=key_format))
    limiter.load(RULES)
    service = Service(limiter)
    for one in map(message, asked):
        try:
            alone = limiter.prepare(read(parse(one)))
        except RequestError:
            continue
        found = service.look_up(one)
        assert isinstance(found, tuple)
        prepared, begun = found
        assert prepared.plan == alone.plan
        assert list(prepared.at(1_700_000_000)) == list(alone.at(1_700_000_000))
        assert list(begun) == list(status_prefixes(alone.plan))


def test_only_the_first_two_of_siblings_are_matched(monkeypatch) -> None:
    limiter = Limiter(MemoryStore())
    limiter.load(RULES)
    service = Service(limiter)
    matched = []
    check = DomainPlanner.check

    def count(self, descriptor, *more):
        matched.append(descriptor.entries[-1].value)
        return check(self, descriptor, *more)

    monkeypatch.setattr(DomainPlanner, "check", count)
    for value in (b"one", b"two", b"six", b"abc", b"four"):
        service.look_up(message(([[(b"company", value)]], 0)))
    assert matched == ["one", "two", "abc", "four"]  # another rule holds for abc, and the length of four is another


def test_what_is_remembered_of_siblings_is_bounded() -> None:
    limiter = Limiter(MemoryStore())
    limiter.load(RULES)
    service = Service(limiter)
    for number in range(2 * MOST_SIBLINGS):
        for user in (b"u", b"v"):
            service.look_up(message(([[(b"company", b"%d" % number), (b"user", user)]], 0)))
    assert len(service.siblings) == MOST_SIBLINGS
    assert any(one.value is not None for one in service.siblings.kept.values())
    limiter.load(rule_set({(Step("company"), Step("user")): rule("company.user", 1)}))
    found = service.look_up(message(([[(b"company", b"1"), (b"user", b"u")]], 0)))
    assert isinstance(found, tuple)
    assert found[0].plan.checks[0].requests_per_unit == 1
