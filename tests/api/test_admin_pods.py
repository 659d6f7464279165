"""`/top` of all pods: real servers that ask each other by a name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from examples.mesh.http import ask
from examples.mesh.processes import free_port
from rls.api.admin.app import PREFIX, AdminApi
from rls.api.admin.pods import Pods, merge_tops
from rls.api.admin.status import Status
from rls.api.health import Health
from rls.api.http import admin_app
from rls.api.readiness import Readiness
from rls.core.model import Unit
from rls.engine.enforcement import EnforcementState
from rls.engine.limiter import Limiter
from rls.engine.rulebook import Rulebook
from rls.observe.history import History
from rls.observe.rule_counters import CountersByRule
from rls.observe.top import TopTalkers
from rls.slices import finish
from rls.stores.memory import MemoryStore
from rls.transport.http1.listener import HttpListener
from tests.tries import Step, descriptor, request, rule, rule_set

RULES = rule_set({(Step("company"),): rule("company", 2, Unit.YEAR)})


class Pod:
    """A pod with a limiter. Its admin API asks other pods on the port of *admin*, at the addresses of `localhost`."""

    def __init__(self, address: str, admin: str, name: str = "localhost") -> None:
        self._top, history = TopTalkers(store="memory"), History()
        self.limiter = Limiter(MemoryStore(), observers=[self._top])
        self.limiter.load(RULES)
        self.pods = Pods(name, admin)

        async def ping() -> None: ...

        readiness = Readiness(EnforcementState(), Health(), ping)
        status = Status(readiness, Rulebook(self.limiter), self._top, "memory://", dict, 0.0)
        api = AdminApi(self._top, history, lambda: RULES, CountersByRule(), status, self.pods)
        self.server = HttpListener(admin_app(lambda: RULES, api.app, admin), address)

    async def refuse(self, company: str, hits: int) -> None:
        prepared = self.limiter.prepare(request(descriptor(("company", company))))
        for _ in range(2 + hits):
            await self.limiter.run(prepared)

    async def top(self, query: str) -> Any:
        port = int(self.server.address.rpartition(":")[2])
        return (await asyncio.to_thread(ask, port, f"{PREFIX}/top?{query}")).json()


@pytest.fixture
async def pods() -> AsyncIterator[tuple[Pod, Pod]]:
    """One that is asked, and one that it asks."""
    port = free_port()
    async with AsyncExitStack() as stack:
        found = Pod("127.0.0.1:0", f"0.0.0.0:{port}"), Pod(f"127.0.0.1:{port}", f"0.0.0.0:{port}")
        for pod in found:
            await pod.server.start()
            stack.push_async_callback(pod.server.aclose)
        yield found


def counts(found: Any) -> list[tuple[str, int, int]]:
    return [(row["entries"][0]["value"], row["count"], row["error"]) for row in found["rows"]]


async def test_what_pods_counted_adds_up(pods) -> None:
    one, other = pods
    await one.refuse("acme", 3)
    await one.refuse("umbrella", 4)
    await other.refuse("acme", 5)
    await other.refuse("initech", 1)
    found = await one.top("pods=all")
    assert counts(found) == [("acme", 8, 0), ("umbrella", 4, 0), ("initech", 1, 0)]
    assert (len(found["pods"]), found["pods_failed"], found["unlisted_at_most"]) == (2, [], 0)
    assert counts(await one.top("pods=all&entry=company%3Dacme&limit=1")) == [("acme", 8, 0)]


async def test_a_pod_that_is_asked_by_itself_counts_once(pods) -> None:
    _, other = pods
    await other.refuse("acme", 5)
    assert counts(await other.top("pods=all")) == [("acme", 5, 0)]


async def test_a_pod_that_does_not_answer_is_named(pods) -> None:
    one, other = pods
    await other.server.aclose()
    await one.refuse("acme", 3)
    found = await one.top("pods=all")
    assert counts(found) == [("acme", 3, 0)]
    [failed] = found["pods_failed"]
    assert failed["address"].endswith(other.server.address.rpartition(":")[2])
    assert failed["error"]


OTHER_ROWS = (
    b"{}",
    b'"acme"',
    b'{"domain": "mesh", "rule": "company", "entries": [], "count": 5, "error": 0, "left_out": 0}',
)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        *(b'{"instance": "a", "pod": "a", "unlisted_at_most": 0, "rows": [%b]}' % row for row in OTHER_ROWS),
    ],
)
async def test_a_pod_of_another_version_is_named(pods, body) -> None:
    one, other = pods
    port = int(other.server.address.rpartition(":")[2])
    await other.server.aclose()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        writer.close()

    await one.refuse("acme", 3)
    async with await asyncio.start_server(reply, "127.0.0.1", port):
        found = await one.top("pods=all")
    assert counts(found) == [("acme", 3, 0)]
    assert [failed["error"] for failed in found["pods_failed"]] == ["not the answer of this version"]


@pytest.mark.parametrize(
    ("name", "admin", "error"),
    [
        ("", "0.0.0.0:6070", "this server does not know the other pods"),
        ("rls", "127.0.0.1:6070", "the pods listen on 127.0.0.1:6070, which other pods cannot reach"),
        ("rls", "[::1]:6070", "the pods listen on [::1]:6070, which other pods cannot reach"),
        ("rls", "unix:/run/admin", "the pods listen on unix:/run/admin, which other pods cannot reach"),
    ],
)
async def test_where_pods_cannot_be_asked_it_says_why(name, admin, error) -> None:
    pod = Pod("127.0.0.1:0", admin, name)
    await pod.server.start()
    assert (await pod.top("pods=all"))["error"] == error
    await pod.server.aclose()


def answer(instance: str, unlisted: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    head = {"by": "refused", "window": "5m", "time": "t", "pod": instance, "instance": instance}
    return {**head, "unlisted_at_most": unlisted, "rows": rows}


def row(company: str, count: int, error: int) -> dict[str, Any]:
    entries = [{"key": "company", "value": company}]
    times = {"since": "2026-01-01", "over_since": None, "per_second": 1.0, "left_out": 0, "one_in": 1}
    return {"domain": "mesh", "rule": "company", "entries": entries, "count": count, "error": error, **times}


def test_what_one_pod_does_not_list_is_part_of_the_error() -> None:
    answers = [answer("a", 7, [row("acme", 20, 1), row("umbrella", 9, 1)]), answer("b", 3, [row("acme", 5, 2)])]
    found = finish(merge_tops(answers, "count", 10))
    assert counts(found) == [("acme", 25, 3), ("umbrella", 9, 4)]
    assert found["unlisted_at_most"] == 10


def test_of_shares_of_a_limit_the_highest_counts() -> None:
    near = {"domain": "mesh", "rule": "company", "entries": [{"key": "company", "value": "acme"}]}
    rows = [{**near, "share_of_limit": share, "used": share * 10} for share in (0.8, 0.9)]
    found = finish(merge_tops([answer("a", 0, rows[:1]), answer("b", 0, rows[1:])], "share_of_limit", 10))
    assert [one["share_of_limit"] for one in found["rows"]] == [0.9]
