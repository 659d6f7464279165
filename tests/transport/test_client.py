import asyncio

import pytest

from rls.api.client import Client, ClientTls, UnansweredError
from rls.api.direct import rate_limit_handlers
from rls.api.encode import ResponseOptions
from rls.api.messages import Answer
from rls.api.service import Service
from rls.core.headers import HeaderNames
from rls.core.model import UINT32_MAX, Request
from rls.engine.limiter import Limiter
from rls.errors import SettingsError
from rls.stores.memory import MemoryStore
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set({(Step("company"),): rule("company", 2, unit_multiplier=3), (Step("free"),): rule("free", None)})


@pytest.fixture
async def address(serve) -> str:
    """Of a server with all that an answer can hold."""
    limiter = Limiter(MemoryStore(), clock=lambda: 1000.0)
    limiter.load(RULES)
    answers = ResponseOptions(limit_headers=HeaderNames(), problem_json=True)
    served = await serve(rate_limit_handlers(Service(limiter, answers=answers)))
    return str(served.address)


async def check(address: str, asked: Request, timeout: float = 10) -> Answer:
    with Client(address) as client:
        return await asyncio.to_thread(client.check, asked, timeout=timeout)


async def test_an_answer(address) -> None:
    """Each descriptor has its status, in its place."""
    answer = await check(
        address, request(descriptor(("company", "acme")), descriptor(("free", "x")), descriptor(("unheard-of", "x")))
    )
    counted, unlimited, unmatched = answer.statuses
    assert answer.code == counted.code == "OK"
    assert counted.limit is not None
    assert (counted.limit.requests_per_unit, counted.limit.unit.name, counted.limit.unit_multiplier) == (2, "MINUTE", 3)
    assert (counted.limit_remaining, counted.seconds_until_reset) == (1, 80)
    assert (unlimited.limit, unlimited.limit_remaining) == (None, UINT32_MAX)
    assert (unmatched.limit, unmatched.limit_remaining) == (None, 0)
    assert ("RateLimit-Limit", "2") in answer.headers
    assert answer.seconds > 0


async def test_a_refusal_says_which_rule_refused(address) -> None:
    answer = await check(address, request(descriptor(("company", "acme")), hits_addend=3))
    assert answer.code == answer.statuses[0].code == "OVER_LIMIT"
    assert (answer.metadata["rule"], answer.metadata["descriptor"]) == ("company", "company=acme")
    assert b'"status": 429' in answer.raw_body
    assert answer.json["overallCode"] == "OVER_LIMIT"


async def test_a_look_counts_nothing(address) -> None:
    for _ in range(3):
        answer = await check(address, request(descriptor(("company", "acme"), hits_addend=0)))
        assert answer.statuses[0].limit_remaining == 2


async def test_no_server_is_no_answer() -> None:
    with pytest.raises(UnansweredError, match=r"^UNAVAILABLE: ") as raised:
        await check("127.0.0.1:1", request(descriptor(("company", "acme"))))
    assert raised.value.code == "UNAVAILABLE"


async def test_a_request_that_cannot_be_answered(address) -> None:
    with pytest.raises(UnansweredError, match=r"^INVALID_ARGUMENT: rate limit domain must not be empty$"):
        await check(address, request(descriptor(("company", "acme")), domain=""))


async def test_a_proxy_of_the_environment_is_not_asked(address, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await check(address, request(descriptor(("company", "acme"))))).code == "OK"


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*/none.pem: No such file or directory"):
        Client("127.0.0.1:1", tls=ClientTls(ca=tmp_path / "none.pem"))
