import asyncio
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from examples.mesh.http import Answer, ask
from rls.backends.memory import MemoryBackend
from rls.core.rules import RuleSet
from rls.enforcement import EnforcementState, Reason
from rls.errors import BackendError, Place, Problem, SettingsError
from rls.limiter import Limiter
from rls.transport.health import Health
from rls.transport.http import Http, admin_app, public_app
from rls.transport.readiness import Readiness
from rls.transport.service import Service
from tests.terminal import HOSTILE, harm
from tests.tries import Step, rule, rule_set

RULES = rule_set(
    {
        (Step("company"),): rule("company", 1, name="per company"),
        (Step("address", "10.*"),): rule("address_10.*", 5, unit_multiplier=2, shadow_mode=True, metadata={"a": [1]}),
        (Step("address"), Step("path")): rule("address.path", None, replaces=["x"]),
    }
)
CHECK = json.dumps({"domain": "domain", "descriptors": [{"entries": [{"key": "company", "value": "acme"}]}]}).encode()
METRICS = [b"# HELP a A.\n", b"a 1\n" * 20_000]


class Served(NamedTuple):
    """The public and the admin address of a service, and what they show."""

    public: Http
    admin: Http
    limiter: Limiter
    readiness: Readiness
    broken: list[BackendError]

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        return await self._ask(self.public, path, method, body)

    async def ask_admin(self, path: str, method: str = "GET") -> Answer:
        return await self._ask(self.admin, path, method)

    async def _ask(self, server: Http, path: str, method: str, body: bytes | None = None) -> Answer:
        port = int(server.address.rpartition(":")[2])
        return await asyncio.to_thread(ask, port, path, method=method, body=body)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    limiter = Limiter(MemoryBackend())
    limiter.load(RULES)
    broken: list[BackendError] = []

    async def ping() -> None:
        for error in broken:
            raise error

    health = Health()
    health.beat()
    health.beat()
    readiness = Readiness(EnforcementState(lambda: 0.0), health, ping, needs_backend=True)
    await readiness.poll()
    public = Http(
        public_app(Service(limiter), readiness, lambda: limiter.problems, lambda: METRICS, "text/plain; version=0.0.4"),
        "127.0.0.1:0",
        max_body_bytes=1000,
    )
    admin = Http(admin_app(limiter), "127.0.0.1:0", max_body_bytes=1000)
    await public.start()
    await admin.start()
    yield Served(public, admin, limiter, readiness, broken)
    await public.aclose()
    await admin.aclose()


async def test_it_lives(served) -> None:
    answer = await served.ask("/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


READY = {
    "ready": True,
    "draining": False,
    "state": "enforced",
    "since": "1970-01-01T00:00:00.000Z",
    "reasons": [],
    "problems": [],
    "problems_total": 0,
}


async def test_it_is_ready(served) -> None:
    answer = await served.ask("/readyz")
    assert (answer.status, answer.json()) == (200, READY)
    assert (await served.ask("/healthcheck")).body == b"OK"


async def test_it_says_why_it_is_not_ready(served) -> None:
    served.broken.append(BackendError("refused"))
    await served.readiness.poll()
    answer = await served.ask("/readyz")
    assert answer.status == 503
    assert answer.json() == READY | {
        "ready": False,
        "state": "off",
        "reasons": [
            {
                "reason": "backend_unavailable",
                "state": "off",
                "since": "1970-01-01T00:00:00.000Z",
                "text": "the backend cannot count: refused",
            }
        ],
    }
    assert (await served.ask("/healthcheck")).status == 500


async def test_mistakes_in_the_configuration_are_told_and_leave_it_ready(served) -> None:
    served.limiter.reject((Problem(Place("a.yaml", 1, 2), "wrong"),))
    answer = await served.ask("/readyz")
    assert answer.status == 200
    assert answer.json() == READY | {"problems": ["a.yaml:1:2: wrong"], "problems_total": 1}


async def test_of_many_mistakes_the_first_hundred_are_told(served) -> None:
    served.limiter.reject(tuple(Problem(Place("a.yaml", line, 2), "wrong") for line in range(1, 100_001)))
    answer = (await served.ask("/readyz")).json()
    assert (len(answer["problems"]), answer["problems_total"]) == (100, 100_000)


async def test_it_lives_but_is_not_ready_while_it_drains(served) -> None:
    served.readiness.drain()
    assert (await served.ask("/readyz")).status == 503
    assert (await served.ask("/healthz")).status == 200


async def test_metrics_come_whole(served) -> None:
    answer = await served.ask("/metrics")
    assert answer.body == b"".join(METRICS)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_a_check_in_json(served) -> None:
    """As the reference answers it: 200 for OK, 429 for OVER_LIMIT."""
    first, second = await served.ask("/json", "POST", CHECK), await served.ask("/json", "POST", CHECK)
    assert (first.status, first.json()["overallCode"]) == (200, "OK")
    assert (second.status, second.json()["overallCode"]) == (429, "OVER_LIMIT")
    assert first.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b'{"domain": "domain"}', 400), (b"\xff", 400), (b"x" * 1001, 413)]
)
async def test_a_body_that_is_no_check(served, body: bytes, status: int) -> None:
    assert (await served.ask("/json", "POST", body)).status == status


async def test_head_is_get_without_a_body(served) -> None:
    answer = await served.ask("/healthz", "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "3", b"")


async def test_what_is_not_there_names_what_is(served) -> None:
    answer = await served.ask("/metric")
    assert answer.status == 404
    assert answer.body == b"no such path: /metric; there are /healthcheck, /healthz, /json, /metrics, /readyz\n"


@pytest.mark.parametrize(("path", "method", "allowed"), [("/json", "GET", "POST"), ("/healthz", "PUT", "GET, HEAD")])
async def test_a_wrong_method_names_the_right_ones(served, path: str, method: str, allowed: str) -> None:
    answer = await served.ask(path, method)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.body.decode() == f"{path} does not take {method}: use {allowed}\n"


async def test_the_rules_as_the_reference_lists_them_but_sorted(served) -> None:
    assert (await served.ask_admin("/rlconfig")).body.decode().splitlines() == [
        "domain.address.path: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false",
        "domain.address_10.*: unit=MINUTE requests_per_unit=5, shadow_mode: true, quota_mode: false, unit_multiplier: 2",
        "domain.company: unit=MINUTE requests_per_unit=1, shadow_mode: false, quota_mode: false",
    ]


async def test_the_rules_as_json(served) -> None:
    """With everything that is known of each."""
    unlimited, wildcard, company = (await served.ask_admin("/rlconfig?format=json")).json()
    assert unlimited["unlimited"]
    assert unlimited["replaces"] == ["x"]
    assert (wildcard["requests_per_unit"], wildcard["unit"], wildcard["unit_multiplier"]) == (5, "MINUTE", 2)
    assert (wildcard["shadow_mode"], wildcard["metadata"]) == (True, {"a": [1]})
    assert (company["domain"], company["path"], company["name"]) == ("domain", "company", "per company")


async def test_no_rules(served) -> None:
    served.limiter.load(RuleSet())
    assert (await served.ask_admin("/rlconfig")).body == b""
    assert (await served.ask_admin("/rlconfig?format=json")).json() == []


async def test_the_admin_address_lists_its_paths(served) -> None:
    answer = await served.ask_admin("/")
    assert answer.body.decode().splitlines() == [
        "/: this list",
        "/rlconfig: the rules in force; ?format=json for all of each",
    ]


async def test_what_shows_state_is_not_public(served) -> None:
    assert (await served.ask("/rlconfig")).status == 404


async def test_an_address_that_is_taken_is_named(served) -> None:
    with pytest.raises(SettingsError, match=f"cannot listen on {served.public.address}: Address already in use"):
        await Http(admin_app(served.limiter), served.public.address, max_body_bytes=1).start()


async def test_what_people_read_holds_no_text_raw(served) -> None:
    hostile = HOSTILE + "\udcff"
    served.limiter.load(
        rule_set({(Step("a", HOSTILE),): rule(HOSTILE, 1, name=HOSTILE, metadata={HOSTILE: HOSTILE})}),
        problems=(Problem(Place(f"{hostile}.yaml", 1, 1), hostile),),
    )
    served.readiness.enforcement.report(Reason.RULES_INVALID, hostile)
    answers = [await served.ask_admin(path) for path in ("/rlconfig", "/rlconfig?format=json")]
    answers += [
        await served.ask("/readyz"),
        await served.ask("/no/%1b%5b2J%c2%9b"),
        await served.ask("/healthz%1b", "PUT"),
    ]
    for answer in answers:
        assert b"x1b" in answer.body or b"u001b" in answer.body
        assert not harm(answer.body.decode())
        assert answer.body.count(b"\n") <= 3
    assert answers[1].json()[0]["metadata"] == {HOSTILE: HOSTILE}
    assert answers[2].json()["problems"][0].endswith("\\xff")
