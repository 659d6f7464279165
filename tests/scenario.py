"""Scenarios: behaviour as data. `tests/scenarios/README.md` says what a file holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from rls.api.encode import ResponseOptions
from rls.api.service import Service
from rls.core.check import Status
from rls.core.decide import Modes
from rls.core.headers import HeaderNames
from rls.core.keys import KeyFormat
from rls.core.model import UINT32_MAX, Unit
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import Hide, plain
from rls.core.rules import OnBackendError
from rls.engine.events import Observer
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import RlsError
from rls.proto import rls_pb2
from rls.sources.load import LoadResult, load
from rls.stores.base import CounterStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.transport.status import status_of
from tests.counters import until
from tests.recorded import Decisions, Recorded

Clock = Callable[[], float]
Response = rls_pb2.RateLimitResponse

START = 1_700_000_040
"""Unix time at which a scenario begins, unless it says otherwise: the start of a minute."""
_STEP_KEYS = {
    *("at", "load", "problems", "backend", "ask", "domain", "hits_addend", "times"),
    *("answer", "statuses", "headers", "metadata", "limited_by", "body", "error", "keys", "known", "shadowed"),
}


@dataclass
class Scenario:
    """One promise, as rules, timed requests and what they come to."""

    about: str
    rules: str | Mapping[str, str]
    steps: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: int = START

    @classmethod
    def read(cls, path: Path) -> Scenario:
        return cls(**yaml.safe_load(path.read_text()))

    def dump(self) -> str:
        """The text of its file."""
        return yaml.dump(self.__dict__, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Rules as a block; what is short on one line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def message_of(step: Mapping[str, Any]) -> bytes:
    """The RateLimitRequest that a step sends."""
    request = rls_pb2.RateLimitRequest(domain=step.get("domain", "mesh"), hits_addend=step.get("hits_addend", 0))
    for asked in step["ask"]:
        descriptor = request.descriptors.add()
        whole = "entries" in asked or not asked
        entries = asked.get("entries", []) if whole else asked.items()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
        if not whole:
            continue
        if "limit" in asked:
            per_unit, units, unit = read_limit(asked["limit"])
            descriptor.limit.requests_per_unit = per_unit
            descriptor.limit.unit = unit  # type: ignore[assignment]  # this enum has no WEEK, the wire has
            if units != 1:
                descriptor.limit.unit_multiplier.value = units
        if "hits_addend" in asked:
            descriptor.hits_addend.value = asked["hits_addend"]
        descriptor.is_negative_hits = asked.get("is_negative_hits", False)
    return request.SerializeToString()


def read_limit(text: str) -> tuple[int, int, int]:
    """requests_per_unit, unit_multiplier and the unit's number of `10/minute` or `10/2 minute`; a unit may be a number."""
    per_unit, _, unit = text.partition("/")
    units, _, name = unit.rpartition(" ")
    return int(per_unit), int(units or 1), int(name) if name.isdigit() else Unit[name.upper()]


def service_of(
    settings: Mapping[str, Any],
    backend: CounterStore,
    *,
    observers: Sequence[Observer] = (),
    hide: Hide = plain,
    clock: Clock = time.time,
) -> tuple[Limiter, Service]:
    """A service with the *settings* of a scenario, which shows and stores of values what *hide* makes of them.

    Those of `CountingOptions`, `Modes`, `FailurePolicies` and `ResponseOptions`, by name.
    """
    rest = dict(settings)
    modes = Modes(rest.pop("shadow_mode", False), rest.pop("quota_mode", False))
    counting = CountingOptions(
        near_limit_ratio=rest.pop("near_limit_ratio", 0.8),
        key_format=KeyFormat(rest.pop("key_format", "v1")),
        key_prefix=rest.pop("key_prefix", ""),
        refund_over_limit=rest.pop("refund_over_limit", False),
        hide=hide,
    )
    names = rest.pop("limit_headers", None)
    headers = HeaderNames() if names is True else HeaderNames(*names) if names else None
    policies = FailurePolicies(
        backend,
        default=OnBackendError(rest.pop("on_backend_error", "local")),
        replicas=partial(int, rest.pop("replicas", 1)),
        probe_seconds=0.01,
        clock=clock,
    )
    limiter = Limiter(backend, counting=counting, modes=modes, policies=policies, observers=observers, clock=clock)
    return limiter, Service(limiter, answers=ResponseOptions(limit_headers=headers, **rest))


class Run:
    """A scenario under way on one backend. What *hide* changes is not compared: keys, labels, metadata."""

    def __init__(self, scenario: Scenario, directory: Path, hide: Hide = plain) -> None:
        self.scenario = scenario
        self.now = float(scenario.start)
        self._directory = directory
        self._hide = hide
        self._loaded: LoadResult | None = None

    def clock(self) -> float:
        return self.now

    async def play(self, backend: CounterStore, *, over_limit_cache: bool) -> None:
        """Take every step; the first answer that is not as expected fails."""
        try:
            await self._play(backend, over_limit_cache)
        finally:
            await self._limiter.policies.aclose()

    async def _play(self, backend: CounterStore, over_limit_cache: bool) -> None:
        self._recorded = Recorded(backend)
        self._decisions = Decisions()
        counters = OverLimitCache(self._recorded, clock=self.clock) if over_limit_cache else self._recorded
        self._limiter, self._service = service_of(
            self.scenario.settings, counters, observers=[self._decisions], hide=self._hide, clock=self.clock
        )
        if self.scenario.rules:
            self._load(self.scenario.rules, [])
        for number, step in enumerate(self.scenario.steps, 1):
            assert step.keys() <= _STEP_KEYS, f"step {number}: unknown keys {step.keys() - _STEP_KEYS}"
            assert ("answer" in step) + ("error" in step) == ("ask" in step), f"step {number}: one answer to each ask"
            self.now = self.scenario.start + step.get("at", self.now - self.scenario.start)
            if "load" in step:
                self._load(step["load"], step.get("problems", []))
            if "backend" in step:
                await self._move_backend(step["backend"])
            for turn in range(step.get("times", 1) if "ask" in step else 0):
                await self._ask(step, f"{self.scenario.about}\nstep {number}, time {turn + 1}: {dict(step)}")

    async def _move_backend(self, to: str) -> None:
        """Take the backend away; or bring it back, and wait until that has been seen."""
        assert to in {"away", "back"}
        self._recorded.away = to == "away"
        if to == "back":
            await until(lambda: not self._limiter.policies.reason)

    def _load(self, rules: str | Mapping[str, str], problems: Sequence[str]) -> None:
        """Write the files, and load them as a reload does; `problems` are parts of what is told, in their order."""
        files = {"rules.yaml": rules} if isinstance(rules, str) else rules
        for name, text in files.items():
            (self._directory / name).write_text(text)
        for path in self._directory.iterdir():
            if path.name not in files:
                path.unlink()
        self._loaded = loaded = load([self._directory], self._loaded)
        found = [f"{problem}".removeprefix(f"{self._directory}/") for problem in loaded.diagnostics]
        assert len(found) == len(problems), found
        for text, told in zip(problems, found, strict=True):
            assert text in told
        self._limiter.load(loaded.rules)

    async def _ask(self, step: Mapping[str, Any], told: str) -> None:
        self._recorded.hits.clear()
        self._decisions.forget()
        await asyncio.sleep(0)  # as between two calls of a client
        try:
            answer = Response.FromString(await self._service.answer(message_of(step)))
        except RlsError as error:
            code, text = status_of(error)
            assert f"{code} {text}" == step.get("error"), told
            return
        assert "error" not in step, told
        assert Response.Code.Name(answer.overall_code) == step["answer"], told
        self._judge(step, answer, told)
        if "headers" in step:
            assert show_headers(answer) == step["headers"], told
        metadata = show_metadata(answer, self._directory)
        if "metadata" in step and self._hide is plain:
            assert metadata == step["metadata"], told
        if "limited_by" in step:
            assert metadata.get("name", metadata.get("rule")) == step["limited_by"], told
        if "body" in step:
            body = json.loads(answer.raw_body or b"{}")
            assert {key: body.get(key) for key in step["body"]} == step["body"], told

    def _judge(self, step: Mapping[str, Any], answer: Response, told: str) -> None:
        """Compare what became of each descriptor, and what no answer shows."""
        assert self._decisions.last is not None
        decision = self._decisions.last.decision
        if "statuses" in step:
            assert len(answer.statuses) == len(step["statuses"]), told
            for i, expected in enumerate(step["statuses"]):
                shown = show_status(answer.statuses[i])
                if not isinstance(expected, str):
                    shown = shown if isinstance(shown, dict) else {"code": shown}
                    shown |= show_accounts(decision.statuses[i])
                    shown = {key: shown.get(key) for key in expected}
                    if self._hide is not plain and "label" in expected:
                        shown["label"] = expected["label"]
                assert shown == expected, f"{told}\nstatus {i + 1}"
        if "keys" in step and self._hide is plain:
            assert self._recorded.keys == step["keys"], told
        assert decision.plan.known == step.get("known", True), told
        assert decision.shadowed == step.get("shadowed", False), told


def show_status(status: Response.DescriptorStatus) -> Any:
    """A DescriptorStatus as scenarios write it."""
    code = Response.Code.Name(status.code)
    if not status.HasField("current_limit"):
        if status.limit_remaining == UINT32_MAX:
            return f"{code} unlimited"
        return code if not status.limit_remaining and not status.HasField("duration_until_reset") else str(status)
    limit = status.current_limit
    units = f"{limit.unit_multiplier.value} " if limit.HasField("unit_multiplier") else ""
    shown = {
        "code": code,
        "limit": f"{limit.requests_per_unit}/{units}{Response.RateLimit.Unit.Name(limit.unit).lower()}",
        "remaining": status.limit_remaining,
        "reset": status.duration_until_reset.seconds,
    }
    return shown | ({"name": limit.name} if limit.name else {})


def show_accounts(status: Status) -> dict[str, Any]:
    """What a response does not show of a status."""
    accounts = {name: getattr(status, name) for name in ("over_limit", "near_limit", "within_limit")}
    check = status.check
    is_counted = check.rule is not None or check.limit is not None
    label = (check.value or check.path) if is_counted else ""
    return {**accounts, "amount": check.amount, "label": label}


def show_headers(answer: Response) -> dict[str, str]:
    """The response headers by name."""
    return {header.key: header.value for header in answer.response_headers_to_add}


def show_metadata(answer: Response, directory: Path) -> dict[str, Any]:
    """The dynamic metadata as plain values; places are those in *directory*."""
    shown: dict[str, Any] = json_format.MessageToDict(answer.dynamic_metadata)
    if "place" in shown:
        shown["place"] = shown["place"].removeprefix(f"{directory}/")
    return shown
