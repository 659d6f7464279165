"""Several limits on one descriptor: each is counted and observed, and the answer has one status for the descriptor."""

from dataclasses import replace

import pytest

from rls.api.encode import ResponseOptions, encode, status_prefixes
from rls.core.check import Status
from rls.core.decide import Decision, Modes, decide, tightest
from rls.core.headers import HeaderNames
from rls.core.metadata import request_metadata
from rls.core.model import UINT32_MAX, Code, RateLimit, Unit
from rls.core.plan import CountingOptions, Plan, Planner
from rls.core.rules import RuleSet
from rls.engine.events import Judged
from rls.engine.limiter import Limiter
from rls.engine.prepared import PreparedRequest
from rls.observe.metrics import Metrics
from rls.proto import rls_pb2
from rls.stores.memory import MemoryStore
from tests.tries import Step, descriptor, request, rule, rule_set

NOW = 1_700_000_040
RULES = rule_set(
    {
        (Step("company"),): rule("company", 3),
        (Step("hourly"),): rule("hourly", 5, Unit.HOUR),
        (Step("ip"),): rule("ip", 100),
        (Step("free"),): rule("free", None),
    }
)
OK, OVER = Code.OK, Code.OVER_LIMIT


def plan_of(rules: RuleSet = RULES, *keys: tuple[str, ...], refund: bool = False) -> Plan:
    """A plan as a planner for several limits would make it: a descriptor for each of *keys*, with a check for each key."""
    planner = Planner(rules, CountingOptions(refund_over_limit=refund))
    checks = []
    for index, of_one in enumerate(keys):
        for key in of_one:
            (check,) = planner.plan(request(descriptor((key, "x")))).checks
            checks.append(replace(check, index=index))
    return planner.join("domain", checks, 0)


def answer_to(decision: Decision, answers: ResponseOptions | None = None) -> rls_pb2.RateLimitResponse:
    encoded = encode(decision, status_prefixes(decision.plan), answers or ResponseOptions(), Modes())
    return rls_pb2.RateLimitResponse.FromString(encoded)


async def test_each_is_counted_and_the_tightest_answers() -> None:
    metrics = Metrics()
    limiter = Limiter(MemoryStore(clock=lambda: NOW), observers=[metrics], clock=lambda: NOW)
    limiter.load(RULES)
    prepared = PreparedRequest(plan_of(RULES, ("company", "hourly"), ("ip",)))
    left: list[list[tuple[int, int]]] = []
    for _ in range(4):
        decision = await limiter.run(prepared)
        assert [status.check.index for status in decision.statuses] == [0, 0, 1]
        response = answer_to(decision)
        left.append([(int(status.code), status.limit_remaining) for status in response.statuses])
        assert int(response.overall_code) == decision.code
    assert left == [[(OK, 2), (OK, 99)], [(OK, 1), (OK, 98)], [(OK, 0), (OK, 97)], [(OVER, 0), (OK, 96)]]
    page = b"".join(metrics.page()[1]).decode()
    for name in ("company", "hourly", "ip"):
        assert f'rls_hits_total{{domain="domain",rule="{name}"}} 4' in page
    assert 'rls_over_limit_total{domain="domain",rule="company"} 1' in page


@pytest.mark.parametrize("refused", ["company", "hourly"])
def test_whichever_is_over_refuses(refused: str) -> None:
    counts = {"company": [4, 1], "hourly": [3, 6]}[refused]
    decision = decide(plan_of(RULES, ("company", "hourly")), counts, NOW, Modes())
    assert decision.code is OVER
    assert decision.limited_by is not None
    (status,) = answer_to(decision).statuses
    assert (int(status.code), status.current_limit.requests_per_unit) == (OVER, {"company": 3, "hourly": 5}[refused])


def test_what_is_not_counted_is_never_the_tightest() -> None:
    checks = plan_of(RULES, ("nothing", "free", "ip")).checks
    limit = RateLimit(100, Unit.MINUTE)
    statuses = [Status(OK, checks[0]), Status(OK, checks[1], None, UINT32_MAX), Status(OK, checks[2], limit, 100)]
    for order in (statuses, statuses[::-1]):
        assert tightest(order) == [statuses[2]]


def test_headers_name_every_limit_and_metadata_each_descriptor_once() -> None:
    decision = decide(plan_of(RULES, ("company", "hourly"), ("ip",)), [1, 4, 1], NOW, Modes())
    response = answer_to(decision, ResponseOptions(limit_headers=HeaderNames(), ietf_headers=True))
    headers = {header.key: header.value for header in response.response_headers_to_add}
    assert headers["RateLimit-Remaining"] == "1"
    assert headers["RateLimit-Policy"] == '"company";q=3;w=60, "hourly";q=5;w=3600, "ip";q=100;w=60'
    entries = request_metadata(decision)["descriptors"]
    assert isinstance(entries, list)
    assert len(entries) == 2


async def test_a_refused_request_gets_back_what_its_other_limits_counted() -> None:
    """Those of the same descriptor, too."""
    limiter = Limiter(MemoryStore(clock=lambda: NOW), clock=lambda: NOW)
    limiter.load(RULES)
    prepared = PreparedRequest(plan_of(RULES, ("company", "hourly"), refund=True))
    codes = [(await limiter.run(prepared)).code for _ in range(6)]
    assert codes == [OK] * 3 + [OVER] * 3
    assert limiter.refunds.refunded["sent"] == 3
    looked = await limiter.check(request(descriptor(("hourly", "x"), hits_addend=0)))
    assert looked.statuses[0].limit_remaining == 2


async def test_a_check_knows_its_descriptor_in_a_request_that_is_judged_in_slices() -> None:
    limiter = Limiter(MemoryStore(clock=lambda: NOW), clock=lambda: NOW)
    limiter.load(RULES)
    slices = [request(*(descriptor(("ip", f"{n}")) for n in some)) for some in (range(3), range(3, 5))]
    judged: list[Judged] = []
    await limiter.run_slices(lambda: slices, judged.append)
    assert [status.check.index for one in judged for status in one.statuses] == list(range(5))
