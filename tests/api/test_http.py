import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf import json_format

from examples.mesh.http import Answer, ask
from rls.api.health import Health
from rls.api.http import JSON_BYTES, admin_app, public_app
from rls.api.json_checks import read_request, write_response
from rls.api.json_token import JsonToken
from rls.api.readiness import Readiness
from rls.api.service import Service
from rls.core.rules import RuleSet
from rls.engine.enforcement import EnforcementState, Reason
from rls.engine.limiter import Limiter
from rls.errors import BackendError, Diagnostic, SettingsError, SourceLocation
from rls.proto import rls_pb2
from rls.stores.memory import MemoryStore
from rls.transport.http1.listener import HttpListener
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

    public: HttpListener
    admin: HttpListener
    limiter: Limiter
    readiness: Readiness
    broken: list[BackendError]
    diagnostics: list[Diagnostic]

    async def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self._ask(self.public, path, method, body, headers)

    async def ask_admin(self, path: str, method: str = "GET") -> Answer:
        return await self._ask(self.admin, path, method)

    async def _ask(
        self,
        server: HttpListener,
        path: str,
        method: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        port = int(server.address.rpartition(":")[2])
        return await asyncio.to_thread(ask, port, path, headers, method=method, body=body)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    limiter = Limiter(MemoryStore())
    limiter.load(RULES)
    broken: list[BackendError] = []
    problems: list[Diagnostic] = []

    async def ping() -> None:
        for error in broken:
            raise error

    health = Health()
    health.beat()
    health.beat()
    readiness = Readiness(EnforcementState(lambda: 0.0), health, ping, needs_backend=True)
    await readiness.poll()
    public = HttpListener(
        public_app(
            Service(limiter), readiness, lambda: problems, lambda accept: (f"text/plain; accept={accept}", METRICS)
        ),
        "127.0.0.1:0",
    )
    admin = HttpListener(admin_app(lambda: limiter.rules), "127.0.0.1:0")
    await public.start()
    await admin.start()
    yield Served(public, admin, limiter, readiness, broken, problems)
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
    served.diagnostics.append(Diagnostic(SourceLocation("a.yaml", 1, 2), "wrong"))
    answer = await served.ask("/readyz")
    assert answer.status == 200
    assert answer.json() == READY | {"problems": ["a.yaml:1:2: wrong"], "problems_total": 1}


async def test_of_many_mistakes_the_first_hundred_are_told(served) -> None:
    served.diagnostics.extend(Diagnostic(SourceLocation("a.yaml", line, 2), "wrong") for line in range(1, 100_001))
    answer = (await served.ask("/readyz")).json()
    assert (len(answer["problems"]), answer["problems_total"]) == (100, 100_000)


async def test_it_lives_but_is_not_ready_while_it_drains(served) -> None:
    served.readiness.drain()
    assert (await served.ask("/readyz")).status == 503
    assert (await served.ask("/healthz")).status == 200


async def test_metrics_come_whole(served) -> None:
    answer = await served.ask("/metrics")
    assert answer.body == b"".join(METRICS)
    assert answer.headers["content-type"].startswith("text/plain")
    assert "content-encoding" not in answer.headers


async def test_metrics_come_in_the_form_that_the_scraper_asks_for(served) -> None:
    answer = await served.ask("/metrics", headers={"Accept": "a/b"})
    assert answer.headers["content-type"] == "text/plain; accept=a/b"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "is_gzip"),
    [
        ("gzip", True),
        ("deflate, gzip;q=1.0", True),
        ("GZIP", True),
        ("x-gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
async def test_metrics_are_compressed_for_who_takes_it(served, accepted: str, is_gzip: bool) -> None:
    answer = await served.ask("/metrics", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == ("gzip" if is_gzip else None)
    assert (gzip.decompress(answer.body) if is_gzip else answer.body) == b"".join(METRICS)


async def test_a_check_in_json(served) -> None:
    """As the reference answers it: 200 for OK, 429 for OVER_LIMIT."""
    first, second = await served.ask("/json", "POST", CHECK), await served.ask("/json", "POST", CHECK)
    assert (first.status, first.json()["overallCode"]) == (200, "OK")
    assert (second.status, second.json()["overallCode"]) == (429, "OVER_LIMIT")
    assert first.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b'{"domain": "domain"}', 400), (b"\xff", 400), (b"x" * (JSON_BYTES + 1), 413)],
)
async def test_a_body_that_is_no_check(served, body: bytes, status: int) -> None:
    assert (await served.ask("/json", "POST", body)).status == status


async def test_head_is_get_without_a_body(served) -> None:
    answer = await served.ask("/healthz", "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "3", b"")


async def test_what_is_not_there_names_what_is(served) -> None:
    answer = await served.ask("/metric")
    assert answer.status == 404
    assert answer.body == b"not found: /metric (available: /healthcheck, /healthz, /json, /metrics, /readyz)\n"


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("/json", "GET", "POST"), ("/healthz", "PUT", "GET, HEAD"), ("/healthcheck", "POST", "GET, HEAD")],
)
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
    assert (company["domain"], company["rule"], company["name"]) == ("domain", "company", "per company")


async def test_no_rules(served) -> None:
    served.limiter.load(RuleSet())
    assert (await served.ask_admin("/rlconfig")).body == b""
    assert (await served.ask_admin("/rlconfig?format=json")).json() == []


async def test_the_admin_address_lists_its_paths(served) -> None:
    answer = await served.ask_admin("/")
    assert answer.body.decode().splitlines() == [
        "/: this list",
        "/rlconfig: the rules in force; ?format=json for all their fields",
    ]


async def test_what_shows_state_is_not_public(served) -> None:
    assert (await served.ask("/rlconfig")).status == 404


async def test_an_address_that_is_taken_is_named(served) -> None:
    with pytest.raises(SettingsError, match=f"cannot listen on {served.public.address}: Address already in use"):
        await HttpListener(admin_app(lambda: served.limiter.rules), served.public.address).start()


REFUND = json.dumps(
    {"domain": "domain", "descriptors": [{"entries": [{"key": "company", "value": "acme"}], "isNegativeHits": True}]}
).encode()


async def with_token(served: Served, path: Path, *, json_checks: bool = True) -> HttpListener:
    token = JsonToken(path)
    app = public_app(
        Service(served.limiter),
        served.readiness,
        tuple,
        lambda _: ("text/plain", ()),
        json_checks=json_checks,
        json_token=token,
    )
    listener = HttpListener(app, "127.0.0.1:0")
    await listener.start()
    return listener


async def refund(listener: HttpListener, authorization: str) -> Answer:
    headers = {"Authorization": authorization} if authorization else {}
    port = int(listener.address.rpartition(":")[2])
    return await asyncio.to_thread(ask, port, "/json", headers, method="POST", body=REFUND)


async def test_hits_are_given_back_to_nobody_without_a_token(served) -> None:
    assert (await served.ask("/json", "POST", CHECK)).status == 200
    answer = await served.ask("/json", "POST", REFUND)
    assert answer.status == 403
    expected = "is_negative_hits needs the token of --json-token-file: Authorization: Bearer TOKEN"
    assert answer.json() == {"error": expected}
    one_of_two = json.loads(REFUND)
    one_of_two["descriptors"].insert(0, {"entries": [{"key": "x", "value": "y"}]})
    for name in ("isNegativeHits", "is_negative_hits"):
        body = json.dumps(one_of_two).replace("isNegativeHits", name).encode()
        assert (await served.ask("/json", "POST", body)).status == 403
    assert (await served.ask("/json", "POST", CHECK)).status == 429


async def test_hits_are_given_back_to_who_shows_the_token(served, tmp_path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    listener = await with_token(served, path)
    try:
        for shown in (
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Bearer s3cret2",
            "Basic s3cret",
            "s3cret",
            "Bearer \xff",
        ):
            assert (await refund(listener, shown)).status == 403, shown
        assert (await refund(listener, "bearer s3cret")).status == 200
        path.write_text("other")
        assert [(await refund(listener, f"Bearer {word}")).status for word in ("s3cret", "other")] == [403, 200]
    finally:
        await listener.aclose()


async def test_a_token_that_is_gone_is_nobodys(served, tmp_path, caplog) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    listener = await with_token(served, path)
    try:
        path.write_text(" \n")
        assert [(await refund(listener, shown)).status for shown in ("Bearer s3cret", "Bearer ")] == [403, 403]
        path.unlink()
        os.mkfifo(path)
        assert [(await refund(listener, "Bearer s3cret")).status for _ in range(3)] == [403] * 3
        path.unlink()
        assert [(await refund(listener, "Bearer s3cret")).status for _ in range(3)] == [403] * 3
    finally:
        await listener.aclose()
    assert len([text for text in caplog.messages if "the token of /json cannot be read" in text]) == 2


@pytest.mark.parametrize(("written", "said"), [("\n", "is empty"), (None, "No such file or directory")])
def test_a_token_that_cannot_be_used(tmp_path, written: str | None, said: str) -> None:
    path = tmp_path / "token"
    if written is not None:
        path.write_text(written)
    with pytest.raises(SettingsError, match=said):
        JsonToken(path)


async def test_checks_in_json_can_be_off(served, tmp_path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    listener = await with_token(served, path, json_checks=False)
    try:
        answer = await refund(listener, "Bearer s3cret")
    finally:
        await listener.aclose()
    assert answer.status == 404
    assert answer.body == b"not found: /json (available: /healthcheck, /healthz, /metrics, /readyz)\n"


NESTED = ("it is nested too deeply", "Expecting ")
"""Newer Pythons go deeper before they give up, here to the end, where something is missing."""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 16_000, NESTED),
        (b'{"a":' * 3_000, NESTED),
        (b"[]", "expected an object"),
        (b'{"descriptors": {}}', "descriptors: expected a list"),
        (b'{"descriptors": [1]}', "descriptors[0]: expected an object"),
        (b'{"descriptors": [{}, {"entries": 7}]}', "descriptors[1]: "),
        (b'{"descriptors": [{"entries": [%b, {"kee": "x"}]}]}' % b",".join([b"{}"] * 100), "descriptors[0]: "),
        (b'{"domain": "a", "domain": "b"}', "an object has the same name twice"),
        (b'{"domain": "\\ud800"}', ""),
        (b'{"hitsAddend": %b}' % (b"9" * 16_000), ""),
        (b'{"hitsAddend": -1}', ""),
        (b'{"hitsAddend": NaN}', ""),
    ],
)
async def test_a_body_that_is_no_request_says_why(served, body: bytes, said: str | tuple[str, ...]) -> None:
    answer = await served.ask("/json", "POST", body)
    assert answer.status == 400
    error = answer.json()["error"].removeprefix("the body is not a RateLimitRequest in JSON: ")
    assert error != answer.json()["error"]
    assert error.startswith(said)


@pytest.mark.parametrize(
    "descriptors",
    [
        [{}] * 5_400,
        [{"entries": [{"key": "a"}]}] * 620,
        [{"entries": [{}] * 5_400}],
        [{"limit": {}, "entries": [{}]}] * 400,
    ],
)
async def test_a_large_body_leaves_the_loop_to_others(descriptors: list[object]) -> None:
    """By turns of the loop, not by time: a busy machine has no part in it."""
    body = json.dumps({"domain": "d", "descriptors": descriptors}, separators=(",", ":")).encode()
    assert len(body) <= JSON_BYTES
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    request = await read_request(body)
    assert [len(one.entries) for one in request.descriptors] == [len(one.get("entries", ())) for one in descriptors]  # type: ignore[attr-defined]
    assert turns > 3
    turns = 0
    response = rls_pb2.RateLimitResponse(statuses=[{"code": "OK"}] * 5_000)
    whole = json_format.MessageToDict(response)
    assert json.loads(await write_response(response)) == whole
    assert turns > 3
    turning.cancel()


async def test_what_people_read_holds_no_text_raw(served) -> None:
    hostile = HOSTILE + "\udcff"
    served.limiter.load(rule_set({(Step("a", HOSTILE),): rule(HOSTILE, 1, name=HOSTILE, metadata={HOSTILE: HOSTILE})}))
    served.diagnostics.append(Diagnostic(SourceLocation(f"{hostile}.yaml", 1, 1), hostile))
    served.readiness.enforcement.report(Reason.RULES_INVALID, hostile)
    answers = [await served.ask_admin(path) for path in ("/rlconfig", "/rlconfig?format=json")]
    answers += [
        await served.ask("/readyz"),
        await served.ask("/no/%1b%5b2J%c2%9b"),
        await served.ask("/healthz%1b", "PUT"),
    ]
    for answer in answers:
        assert any(escape in answer.body for escape in (b"x1b", b"u001b", b"%1b"))
        assert not harm(answer.body.decode())
        assert answer.body.count(b"\n") <= 3
    assert answers[1].json()[0]["metadata"] == {HOSTILE: HOSTILE}
    assert answers[2].json()["problems"][0].endswith("\\xff")
