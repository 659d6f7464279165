"""A second algorithm: one file and one row in a table, whatever counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rls.api.client import Client
from rls.api.service import Service
from rls.core.algorithms import ALGORITHMS
from rls.core.decide import Decision
from rls.core.model import Code, RateLimit, Request, Unit
from rls.core.rules import OnBackendError, Rule, TrieNode
from rls.core.update import CounterUpdate
from rls.engine.digests import said_by
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError
from rls.observe.metrics import Metrics
from rls.proto import rls_pb2
from rls.sources.load import load
from rls.stores.base import CounterStore, Done
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.stores.redis import RedisStore
from tests.clock import Clock
from tests.counters import PATIENT, until
from tests.plugins import sliding_window
from tests.plugins.installed import installed
from tests.plugins.sliding_window import SLIDING_WINDOW
from tests.redis_server import RedisServer, newest_binary, running
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

START = 1_700_000_040  # the start of a minute
OK, OVER = Code.OK, Code.OVER_LIMIT
RULES = """
domain: domain
refund_over_limit: {refund}
descriptors:
  - key: company
    rate_limit: {{unit: minute, requests_per_unit: 10, algorithm: sliding_window, name: sliding}}
  - key: ip
    rate_limit: {{unit: minute, requests_per_unit: 5}}
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, SLIDING_WINDOW.name, SLIDING_WINDOW)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("valkey"), newest_binary())) as started:
        yield started


@pytest.fixture(params=["memory", "valkey", "valkey behind the over-limit cache"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[CounterStore]:
    if request.param == "memory":
        yield MemoryStore(clock=clock)
        return
    server = request.getfixturevalue("server")
    with server.client() as client:
        client.flushall()
    opened: CounterStore = RedisStore(server.url, timeout_seconds=PATIENT, connect_timeout_seconds=PATIENT, clock=clock)
    if "cache" in request.param:
        opened = OverLimitCache(opened, clock=clock)
    yield opened
    await opened.aclose()


def limiter_on(store: CounterStore, clock: Clock, path: Path, *, refund: bool = False, **more) -> Limiter:
    path /= "rules.yaml"
    path.write_text(RULES.format(refund="true" if refund else "false"))
    loaded = load([path])
    assert not loaded.diagnostics
    limiter = Limiter(store, clock=clock, **more)
    limiter.load(loaded.rules)
    return limiter


async def ask(limiter: Limiter, hits: int = 1, *keys: str) -> Decision:
    return await limiter.check(request(*(descriptor((key, "acme")) for key in keys or ("company",)), hits_addend=hits))


async def remaining(limiter: Limiter, *keys: str) -> list[int]:
    looked = request(*(descriptor((key, "acme"), hits_addend=0) for key in keys or ("company",)))
    return [status.limit_remaining for status in (await limiter.check(looked)).statuses]


async def test_what_the_window_before_let_pass_counts_by_its_overlap(
    store: CounterStore, clock: Clock, tmp_path: Path
) -> None:
    """A fixed window would let 10 pass at once in each new minute."""
    limiter = limiter_on(store, clock, tmp_path)
    assert [(await ask(limiter)).code for _ in range(12)] == [OK] * 10 + [OVER] * 2
    clock.now = START + 60
    assert (await ask(limiter)).code is OVER
    clock.now = START + 90  # half of 10, and the one that was refused
    assert await remaining(limiter) == [4]
    assert [(await ask(limiter)).code for _ in range(5)] == [OK] * 4 + [OVER]
    clock.now = START + 119  # a sixtieth of 10
    assert await remaining(limiter) == [4]
    clock.now = START + 240
    assert await remaining(limiter) == [10]


async def test_it_goes_with_other_algorithms_in_one_request(store: CounterStore, clock: Clock, tmp_path: Path) -> None:
    limiter = limiter_on(store, clock, tmp_path)
    decision = await ask(limiter, 4, "ip", "company", "nothing", "ip")
    assert [(status.code, status.limit_remaining) for status in decision.statuses] == [
        (OK, 1),
        (OK, 6),
        (OK, 0),
        (OVER, 0),
    ]
    assert decision.limited_by is decision.statuses[3]


async def test_hits_of_what_another_limit_refuses_are_given_back(
    store: CounterStore, clock: Clock, tmp_path: Path
) -> None:
    limiter = limiter_on(store, clock, tmp_path, refund=True)
    for _ in range(3):
        assert (await ask(limiter, 6, "company", "ip")).code is OVER
        await limiter.refunds.aclose()
    assert await remaining(limiter) == [10]
    assert limiter.refunds.refunded["sent"] == 18
    assert (await ask(limiter, 7, "company")).code is OK
    assert (await ask(limiter, 5, "company", "ip")).code is OVER  # refused by the sliding window
    await limiter.refunds.aclose()
    assert await remaining(limiter, "ip") == [0]
    assert limiter.refunds.refunded["sent"] == 23


async def test_answers_and_metrics_are_as_for_any_limit(store: CounterStore, clock: Clock, tmp_path: Path) -> None:
    metrics = Metrics()
    service = Service(limiter_on(store, clock, tmp_path, observers=[metrics]))
    message = rls_pb2.RateLimitRequest(domain="domain", hits_addend=9)
    message.descriptors.add().entries.add(key="company", value="acme")
    answers = [
        rls_pb2.RateLimitResponse.FromString(await service.answer(message.SerializeToString())) for _ in range(2)
    ]
    assert [int(answer.overall_code) for answer in answers] == [OK, OVER]
    (status,) = answers[0].statuses
    assert (status.limit_remaining, status.current_limit.name) == (1, "sliding")
    assert status.duration_until_reset.seconds == 60
    page = b"".join(metrics.page()[1]).decode()
    assert 'rls_hits_total{domain="domain",rule="company"} 18' in page
    assert 'rls_over_limit_total{domain="domain",rule="company"} 8' in page


class Frail(MemoryStore):
    """Memory that fails while `counts` is not None, with an error that holds these counts."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.counts: Sequence[int | None] | None = None
        self.got: list[CounterUpdate] = []

    def submit(self, updates: Sequence[CounterUpdate], done: Done) -> Sequence[int]:
        if self.counts is not None:
            raise BackendError("away", counts=self.counts)
        self.got += updates
        return super().submit(updates, done)

    async def ping(self) -> None:
        if self.counts is not None:
            raise BackendError("away", counts=self.counts)


async def test_while_the_store_fails_this_process_counts(clock: Clock, tmp_path: Path) -> None:
    """By the same algorithm against its part of the limit; the store gets the hits that it missed."""
    async with AsyncExitStack() as stack:
        store = Frail(clock)
        policies = FailurePolicies(
            store, default=OnBackendError.LOCAL, replicas=lambda: 2, probe_seconds=0.01, clock=clock
        )
        stack.push_async_callback(policies.aclose)
        limiter = limiter_on(store, clock, tmp_path, policies=policies)
        store.counts = ()
        assert [(await ask(limiter)).code for _ in range(6)] == [OK] * 5 + [OVER]
        clock.now = START + 90  # half of 5 have passed before
        assert [(await ask(limiter)).code for _ in range(4)] == [OK] * 3 + [OVER]
        store.counts = None
        await until(lambda: not policies.reason)
        # Both windows are still read, so both reach the store.
        assert sorted(update.amount for update in store.got if update.amount) == [4, 6]
        assert await remaining(limiter) == [10 - 4 - 3]


async def test_what_the_store_has_counted_is_not_sent_again(clock: Clock, tmp_path: Path) -> None:
    """Only the window before could not be read: the policy decides, and the hit stays counted once."""
    async with AsyncExitStack() as stack:
        store = Frail(clock)
        policies = FailurePolicies(store, default=OnBackendError.LOCAL, probe_seconds=0.01, clock=clock)
        stack.push_async_callback(policies.aclose)
        limiter = limiter_on(store, clock, tmp_path, policies=policies)
        store.counts = (None, 3)
        decision = await ask(limiter, 3)
        assert decision.policies == {OnBackendError.LOCAL}
        assert decision.statuses[0].limit_remaining == 7
        store.counts = None
        await until(lambda: not policies.reason)
        assert not [update for update in store.got if update.amount]


@pytest.mark.parametrize("policy", [OnBackendError.ALLOW, OnBackendError.DENY])
async def test_policies_that_count_nothing_decide_too(policy: OnBackendError, clock: Clock, tmp_path: Path) -> None:
    store = Frail(clock)
    store.counts = ()
    policies = FailurePolicies(store, default=policy, probe_seconds=60, clock=clock)
    decision = await ask(limiter_on(store, clock, tmp_path, policies=policies))
    assert decision.code is (OK if policy is OnBackendError.ALLOW else OVER)
    await policies.aclose()


@pytest.mark.parametrize("rules", [1, 3_000])
def test_a_server_finds_it_by_its_entry_point(rules: int, server: RedisServer, tmp_path: Path) -> None:
    """Also where a process of its own compiles a large file."""
    with server.client() as client:
        client.flushall()
    text = RULES.format(refund="false") + "".join(
        f"  - key: key_{n}\n    rate_limit: {{unit: day, requests_per_unit: 1}}\n" for n in range(rules)
    )
    path = installed(tmp_path, sliding_window, "rls.algorithms", "sliding_window = sliding_window:SLIDING_WINDOW")
    patient = ("--backend-timeout", "20s")
    process = RlsProcess(tmp_path, "--backend", server.url, *patient, rules=text, env={"PYTHONPATH": path})
    try:
        assert process.readiness() == ["enforced", [], []]
        with Client(process.addresses["grpc"]) as client:
            answer = client.check(Request("domain", (descriptor(("company", "acme")),)), timeout=PATIENT)
        assert answer.statuses[0].limit_remaining == 9
        with server.client() as counters:
            assert b"sliding" in b"".join(counters.scan_iter("*company*"))
    finally:
        process.kill()


def test_another_algorithm_makes_another_revision() -> None:
    """Pods that count a rule in different ways have different revisions."""
    limits = [RateLimit(1, Unit.DAY), RateLimit(1, Unit.DAY, algorithm="sliding_window")]
    nodes = [TrieNode(rule=Rule("domain", "path", limit)) for limit in limits]
    assert said_by(nodes[0]) != said_by(nodes[1])


def test_a_name_that_is_not_in_the_table_is_an_error_that_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1, algorithm: gcra}}]"
    )
    (problem,) = load([path]).diagnostics
    assert problem.message == "unknown algorithm `gcra`, expected `fixed_window` or `sliding_window`"
