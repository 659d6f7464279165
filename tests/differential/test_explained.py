"""An explanation says what the server then answers, and why no other rule applies.

`pytest tests/differential/test_explained.py -k limiter --examples 1250` compares ten thousand configurations with a limiter,
`-k server --examples 32000` as many with a server.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.mesh.http import ask
from rls.api.admin.explain import explanation_row
from rls.api.decode import parse, read
from rls.api.messages import decoded
from rls.api.service import SHOULD_RATE_LIMIT
from rls.core.check import Status
from rls.core.decide import Decision, Modes
from rls.core.model import UINT32_MAX
from rls.core.plan import CountingOptions
from rls.engine.explain import Explanation, explain
from rls.engine.limiter import Limiter
from rls.proto import rls_pb2
from rls.sources.load import load
from rls.stores.memory import MemoryStore
from tests.clock import Clock
from tests.differential.cases import Case, cases, many_cases
from tests.differential.conftest import Progress
from tests.differential.explained import reasons, rule_path
from tests.recorded import Recorded
from tests.rls_process import RlsProcess
from tests.scenario import message_of

CONFIGURATIONS_AN_EXAMPLE = 8
LOADS = 10
"""Examples for which a server loads rules once: those of several configurations, since it is slow to take them."""
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def shown(status: Status) -> Sequence[object]:
    return (status.code, status.limit, status.limit_remaining, status.seconds_until_reset, status.check.path)


def in_words(decision: Decision | None) -> Sequence[object]:
    assert decision is not None
    return [decision.code, [*map(shown, decision.statuses)], decision.limited_by and shown(decision.limited_by)]


class Compared:
    """A limiter in this process, which is asked after each explanation."""

    def __init__(self, folder: Path, counting: CountingOptions, modes: Modes) -> None:
        self.clock = Clock(1_700_000_000.0)
        self._recorded = Recorded(MemoryStore(clock=self.clock))
        self._limiter = Limiter(self._recorded, counting=counting, modes=modes, clock=self.clock)
        self._folder = folder

    async def play(self, case: Case) -> None:
        for path in self._folder.iterdir():
            path.unlink()
        for name, text in case.files().items():
            (self._folder / name).write_text(text)
        loaded = load([self._folder])
        assert not loaded.diagnostics
        self._limiter.load(loaded.rules)
        documents = {document["domain"]: document for document in case.documents}
        for step in case.steps:
            if step["ask"] and step.get("domain", "mesh"):
                self.clock.now += 7
                await self._compare(step, documents)

    async def _compare(self, step: dict[str, Any], documents: dict[str, Any]) -> None:
        request = read(parse(message_of(step)))
        found = await explain(self._limiter, request, int(self.clock.now))
        self._recorded.hits.clear()
        decision = await self._limiter.check(request)
        assert in_words(found.decision) == in_words(decision)
        keys = [counter.key for one in found.descriptors for check in one.checks for counter in check.counters]
        assert keys == [hit.key for hit in self._recorded.hits[: len(keys)]]
        self._compare_rows(found, decision)
        document = documents.get(request.domain)
        for asked, one in zip(request.descriptors, found.descriptors, strict=True):
            if document is None or asked.limit is not None:
                assert one.walk is None
                continue
            assert (one.matched.path if one.matched else None) == rule_path(document, asked.entries)
            assert one.walk is not None
            said = {(each.level, each.key, each.value, each.verdict) for each in one.walk.considered}
            assert not one.walk.unlisted
            missing = [reason for _, reason in reasons(document, asked.entries) if tuple(reason) not in said]
            assert missing == []

    def _compare_rows(self, found: Explanation, decision: Decision) -> None:
        """What is printed says the same."""
        row = explanation_row(found)
        assert row["code"] == decision.code.name
        for one, status in zip(row["descriptors"], decision.statuses, strict=True):
            assert one["code"] == status.code.name
            is_unlimited = status.limit is None and status.limit_remaining == UINT32_MAX
            assert one["limit_remaining"] == (None if is_unlimited else status.limit_remaining)
            assert one["duration_until_reset"] == (status.seconds_until_reset if status.limit else None)
        if decision.limited_by is not None:
            assert row["rule"] == decision.limited_by.check.path


modes = st.sampled_from([Modes(), Modes(), Modes(shadow_mode=True), Modes(quota_mode=True)])


def test_it_says_what_a_limiter_then_answers(examples: int, progress: Progress, tmp_path: Path) -> None:
    """Rule, key and answer; and for each rule that does not apply the reason, against a matcher that tries all paths."""

    @settings(max_examples=examples * CONFIGURATIONS_AN_EXAMPLE, database=None, suppress_health_check=QUIET)
    @given(cases(), st.booleans(), modes)
    def same(case: Case, refund: bool, chosen: Modes) -> None:
        asyncio.run(Compared(tmp_path, CountingOptions(refund_over_limit=refund), chosen).play(case))
        progress({"configurations": len(case.documents), "requests": len(case.steps)})

    same()


class Served:
    """A real server, whose admin address is asked first, and then its gRPC."""

    def __init__(self, process: RlsProcess) -> None:
        self._process = process
        channel = grpc.insecure_channel(process.addresses["grpc"])
        self._call: Any = channel.unary_unary(SHOULD_RATE_LIMIT)
        self._admin = int(process.addresses["admin"].rpartition(":")[2])
        self.compared = 0

    def load(self, case: Case) -> None:
        before = self._revision()
        self._process.rules.write_text("---\n".join(case.files().values()))
        self._process.send(signal.SIGHUP)
        self._process.wait_until(lambda: self._revision() != before, "other rules")

    def _revision(self) -> str:
        return str(self._process.get("/api/v1/status", "admin").json()["revision"])

    def compare(self, step: dict[str, Any]) -> None:
        second = int(time.time())
        body = json.dumps(as_json(step)).encode()
        answer = ask(self._admin, "/api/v1/explain", method="POST", body=body)
        assert answer.status == 200, answer.body
        row = answer.json()
        came = decoded(self._call(message_of(step), timeout=10))
        if int(time.time()) != second:
            return  # a window may have ended in between
        self.compared += 1
        assert row["code"] == came.code
        for one, status in zip(row["descriptors"], came.statuses, strict=True):
            assert one["code"] == status.code
            is_unlimited = status.limit is None and status.limit_remaining == UINT32_MAX
            assert one["limit_remaining"] == (None if is_unlimited else status.limit_remaining)
            assert one["limit"] == ("unlimited" if is_unlimited else (status.limit and status.limit.text))
            assert (one["duration_until_reset"] or 0) == status.seconds_until_reset
        if came.code == "OVER_LIMIT":
            identity = {name: came.metadata.get(name, "") for name in ("domain", "rule", "name", "place")}
            assert {name: row[name] for name in identity} == identity


def as_json(step: dict[str, Any]) -> dict[str, Any]:
    """The request of *step* as `/json` takes it."""
    message = rls_pb2.RateLimitRequest.FromString(message_of(step))
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def test_it_says_what_a_server_then_answers(examples: int, progress: Progress, tmp_path: Path) -> None:
    """Over gRPC; statuses and the rule that refuses."""
    with RlsProcess(
        tmp_path,
        rules=yaml.safe_dump({"domain": "first", "descriptors": [{"key": "a", "rate_limit": {"unlimited": True}}]}),
    ) as process:
        served = Served(process)

        @settings(max_examples=max(3, examples // LOADS), database=None, suppress_health_check=QUIET)
        @given(many_cases())
        def same(case: Case) -> None:
            case = case.in_domains(f"-{time.monotonic_ns()}")
            before = served.compared
            served.load(case)
            for step in case.steps:
                if step["ask"] and step.get("domain", "mesh"):
                    served.compare(step)
            progress({"configurations": len(case.documents), "requests": served.compared - before})

        same()
        assert served.compared
