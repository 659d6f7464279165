import json
from typing import Any

import pytest
from google.protobuf import json_format

from examples.mesh.processes import free_port
from rls import errors
from rls.api.service import Service
from rls.core.rules import RuleSet
from rls.engine.limiter import Limiter
from rls.errors import (
    BackendError,
    ConfigError,
    NotLoaded,
    RequestError,
    RlsError,
    SettingsError,
)
from rls.proto import rls_pb2
from rls.stores.memory import MemoryStore
from rls.stores.redis import RedisStore
from rls.transport.status import status_of
from tests.tries import Step, rule, rule_set

NOW = 1_700_000_000


def rules(requests: int | None, name: str = "limited") -> RuleSet:
    return rule_set({(Step("company"),): rule("company", requests, name=name)})


def limiter(backend: MemoryStore | RedisStore | None = None) -> Limiter:
    return Limiter(backend or MemoryStore(clock=lambda: NOW), clock=lambda: NOW)


def ask(domain: str = "domain", value: str = "acme", **more: Any) -> bytes:
    entries = [{"key": "company", "value": value}]
    return rls_pb2.RateLimitRequest(domain=domain, descriptors=[{"entries": entries}], **more).SerializeToString()


async def answer(service: Service, message: bytes) -> rls_pb2.RateLimitResponse:
    return rls_pb2.RateLimitResponse.FromString(await service.answer(message))


async def test_equal_messages_are_counted_each() -> None:
    """What is kept of a message is how it is answered, never the answer."""
    served = limiter()
    served.load(rules(2))
    service = Service(served)
    answers = [await answer(service, ask()) for _ in range(3)]
    assert [answered.overall_code for answered in answers] == [1, 1, 2]
    assert [answered.statuses[0].limit_remaining for answered in answers] == [1, 0, 0]
    assert (await answer(service, ask(value="other"))).statuses[0].limit_remaining == 1


async def test_new_rules_hold_from_the_next_message_on() -> None:
    """Messages that were answered under the old rules are planned anew; what was counted stays."""
    served = limiter()
    served.load(rules(2))
    service = Service(served)
    assert [(await answer(service, ask())).overall_code for _ in range(3)] == [1, 1, 2]
    served.load(rules(10, "raised"))
    raised = await answer(service, ask())
    assert (raised.overall_code, raised.statuses[0].limit_remaining) == (1, 6)
    assert raised.statuses[0].current_limit.name == "raised"
    served.load(rules(None))
    assert (await answer(service, ask())).statuses[0].limit_remaining == 2**32 - 1
    served.load(RuleSet())
    assert not (await answer(service, ask())).statuses[0].limit_remaining


async def test_there_is_no_answer_before_there_are_rules() -> None:
    served = limiter()
    service = Service(served)
    with pytest.raises(NotLoaded, match=r"^no rate limit configuration loaded$"):
        await service.answer(ask())
    served.load(rules(2))
    assert (await answer(service, ask())).overall_code == 1


async def test_what_is_kept_of_messages_is_bounded() -> None:
    """However many different messages clients send, and however large they are."""
    served = limiter()
    served.load(rules(2))
    service = Service(served, remembered_bytes=100_000)
    for n in range(300):
        await service.answer(ask(value=f"{n}" + "x" * n))
    assert 1 <= len(service._remembered) < 100


async def test_requests_that_are_not_answered_are_counted_by_their_reason() -> None:
    """Over gRPC and over HTTP, before there are rules and after; those that are answered are not."""
    served = limiter()
    service = Service(served)
    for message in (b"\xff", ask(domain=""), b"\x0a\x01d"):
        with pytest.raises(RequestError):
            await service.answer(message)
    with pytest.raises(NotLoaded):
        await service.answer(ask())
    served.load(rules(2))
    await service.answer(ask())
    for body in (b"{}", b"no JSON"):
        assert (await service.answer_json(body))[0] == 400
    counted = {reason: number for reason, number in service.unanswered.items() if number}
    assert counted == {"invalid": 5, "not_loaded": 1}


async def test_requests_that_the_backend_or_a_bug_left_unanswered_are_counted() -> None:
    backend = RedisStore(f"redis://127.0.0.1:{free_port()}")
    served = limiter(backend)
    served.load(rules(2))
    service = Service(served)
    with pytest.raises(BackendError):
        await service.answer(ask())
    await backend.aclose()
    with pytest.raises(TypeError):
        await service.answer(None)  # type: ignore[arg-type]
    assert (service.unanswered["backend"], service.unanswered["internal"]) == (1, 1)


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b'{"domain":"domain","descriptors":[{"entries":[{"key":"company","value":"x"}]}]}', 200, ("OK", 1)),
        (b'{"domain":"domain","hitsAddend":2,"descriptors":[{"entries":[{"key":"company"}]}]}', 200, ("OK", None)),
        (
            b'{"domain":"domain","hits_addend":3,"descriptors":[{"entries":[{"key":"company"}]}]}',
            429,
            ("OVER_LIMIT", None),
        ),
        (b'{"domain":"domain","descriptors":[{}]}', 200, ("OK", None)),
    ],
)
async def test_json_is_answered_in_json(body: bytes, status: int, fields: tuple[str, int | None]) -> None:
    """As the reference does: 200 and 429, names in camelCase, what is 0 left out, a duration as text."""
    served = limiter()
    served.load(rules(2))
    answered_status, answered = await Service(served).answer_json(body)
    found = json.loads(answered)
    assert (answered_status, found["overallCode"], found["statuses"][0].get("limitRemaining")) == (status, *fields)
    if "currentLimit" in found["statuses"][0]:
        limit = {"name": "limited", "requestsPerUnit": 2, "unit": "MINUTE"}
        assert found["statuses"][0]["currentLimit"] == limit
        assert found["statuses"][0]["durationUntilReset"] == "40s"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body is not a RateLimitRequest in JSON: "),
        (b"\xff\xfe", "the body is not a RateLimitRequest in JSON: "),
        (b"null", "the body is not a RateLimitRequest in JSON: "),
        (b"[" * 100_000, "the body is not a RateLimitRequest in JSON: "),
        (b'{"domain":"\\ud800","descriptors":[{}]}', "the body is not a RateLimitRequest in JSON: "),
        (b'{"domain":"d","hitsAddend":-1}', "the body is not a RateLimitRequest in JSON: "),
        (b'{"domain":"d","descriptorz":[]}', "the body is not a RateLimitRequest in JSON: "),
        (b"{}", "rate limit domain must not be empty"),
        (b'{"domain":"d"}', "rate limit descriptor list must not be empty"),
    ],
)
async def test_a_wrong_body_is_the_callers_fault(body: bytes, text: str) -> None:
    served = limiter()
    served.load(rules(2))
    status, answered = await Service(served).answer_json(body)
    assert status == 400
    assert json.loads(answered)["error"].startswith(text)


async def test_a_limit_that_cannot_be_enforced_is_ignored_and_told() -> None:
    told: list[tuple[str, str]] = []
    served = limiter()
    served.load(rules(2))
    service = Service(served, on_ignored=lambda domain, why: told.append((domain, why)))
    status, _ = await service.answer_json(b'{"domain":"d","descriptors":[{"limit":{}}]}')
    assert status == 200
    ((domain, why),) = told
    assert domain == "d"
    assert why.startswith("descriptors[0].limit.unit is 0: expected one of 1 (SECOND)")


async def test_json_that_cannot_be_answered_is_not_the_callers_fault() -> None:
    """503 without rules and without Redis, unlike the reference, which answers 400."""
    body = json_format.MessageToJson(rls_pb2.RateLimitRequest.FromString(ask())).encode()
    backend = RedisStore(f"redis://127.0.0.1:{free_port()}", timeout_seconds=1)
    served = limiter(backend)
    service = Service(served)
    assert await service.answer_json(body) == (503, b'{"error": "no rate limit configuration loaded"}')
    served.load(rules(2))
    try:
        status, answered = await service.answer_json(body)
    finally:
        await backend.aclose()
    assert status == 503
    assert json.loads(answered)["error"].startswith("Redis at redis://127.0.0.1:")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RequestError("bad"), 3, "bad"),
        (BackendError("gone"), 14, "gone"),
        (NotLoaded("none"), 14, "none"),
        (SettingsError("secret"), 13, "internal error"),
        (ConfigError(()), 13, "internal error"),
        (ValueError("secret"), 13, "internal error"),
        (KeyboardInterrupt(), 13, "internal error"),
    ],
)
def test_errors_have_a_grpc_status(error: BaseException, code: int, text: str) -> None:
    """A bug's text is for the log, not for callers."""
    assert status_of(error) == (code, text)


class Misused(RequestError):
    pass


class Failed(BackendError):
    pass


@pytest.mark.parametrize(("kind", "code"), [(Misused, 3), (Failed, 14)])
async def test_a_kind_of_an_error_is_answered_as_that_error(kind: type[RlsError], code: int) -> None:
    assert status_of(kind("text")) == (code, "text")


@pytest.mark.parametrize("name", [name for name, kind in vars(errors).items() if isinstance(kind, type)])
def test_no_error_is_ever_unknown(name: str) -> None:
    """UNKNOWN (2) would hide a cause that has a name."""
    kind = getattr(errors, name)
    if issubclass(kind, Exception):
        assert status_of(kind.__new__(kind))[0] in {3, 8, 13, 14}
