"""The night test: what an engineer who is woken up reads from metrics, log and JSON alone, behind a real Envoy.

A tenant that hammers is in `tests/integration/test_night.py`.
"""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from examples.mesh.http import ask
from examples.mesh.processes import free_port, wait_for
from examples.mesh.servers import Rls
from tests.e2e.mesh import Mesh

LIMIT, MISTYPED = 500, 5
RULES = """\
domain: users
descriptors:
  - key: company_id
    rate_limit: {{name: per company, unit: year, requests_per_unit: {limit}}}
"""
RULE = {"domain": "users", "rule": "company_id", "name": "per company"}


class Night:
    """A server behind an Envoy, with what it shows of itself."""

    def __init__(self, mesh: Mesh, domain: str = "users") -> None:
        self.redis = mesh.start_redis()
        self.mesh = mesh
        self._admin = free_port()
        options = ("--backend", self.redis.url, "--backend-timeout", "5s", "--log-format", "json")
        self.rls: Rls = mesh.start_rls(*options, "--admin", f"127.0.0.1:{self._admin}", rules=RULES.format(limit=LIMIT))
        self.envoy = mesh.start_envoy(self.rls, change=lambda config: config.ratelimit.update(domain=domain))
        self.place = f"{mesh.rules}:3"

    def requests(self, number: int, company: str = "acme") -> list[int]:
        return [self.envoy.get("/users", self.mesh.bearer(company)).status for _ in range(number)]

    def api(self, path: str) -> Any:
        return json.loads(ask(self._admin, f"/api/v1{path}").body)

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.rls.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait(self, until: Callable[[], object], what: str) -> None:
        wait_for(lambda: bool(until()), what)


@pytest.fixture
def night(mesh: Mesh) -> Night:
    return Night(mesh)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_push_that_takes_a_limit_from_500_to_5(night: Night) -> None:
    assert night.requests(MISTYPED) == [200] * MISTYPED
    before = night.api("/revisions")["revisions"][0]["revision"]
    pushed = time.time()

    night.mesh.rules.write_text(RULES.format(limit=MISTYPED))
    night.wait(lambda: night.api("/revisions")["revisions"][0]["revision"] != before, "the new rules are in force")
    assert night.requests(3) == [429] * 3

    newest = night.api("/revisions")["revisions"][0]
    assert newest["before"] == before
    assert unix(newest["time"]) > pushed - 1
    [change] = newest["changes"]
    assert {name: change[name] for name in RULE} == RULE
    assert change["place"] == night.place
    assert (change["before"], change["after"], change["stricter"]) == (f"{LIMIT}/year", f"{MISTYPED}/year", True)

    refusal = night.api("/refusals")["refusals"][0]
    assert {name: refusal[name] for name in RULE} == RULE
    assert refusal["place"] == night.place
    assert refusal["entries"] == [{"key": "company_id", "value": "acme"}]
    [rule] = night.api("/rules")["rules"]
    assert unix(rule["refused"]["first"]) >= unix(newest["time"]) - 1

    loaded = night.logged("rules_loaded")[-1]
    assert loaded["stricter"] == 1
    assert loaded["changes"] == [
        f"changed users company_id (per company) at {night.place}: {LIMIT}/year → {MISTYPED}/year, stricter"
    ]

    assert night.rls.metric("rls_rule_limit", domain="users", rule="company_id") == MISTYPED
    assert night.rls.metric("rls_config_info", revision=newest["revision"]) == 1
    assert night.rls.metric("rls_config_loaded_timestamp_seconds") > pushed - 1
    file, _, line = night.place.rpartition(":")
    assert night.rls.metric("rls_rule_info", domain="users", rule="company_id", file=file, line=line) == 1
    assert night.rls.metric("rls_rule_utilization_ratio", rule="company_id", period="current") > 1


def test_a_redis_that_refuses_writes(night: Night) -> None:
    assert night.requests(1) == [200]
    began = time.time()

    night.redis.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    night.requests(3)

    status = night.api("/status")
    assert status["state"] == "degraded"
    [reason] = [one for one in status["reasons"] if one["reason"] == "backend_unavailable"]
    assert str(night.redis.port) in reason["text"]
    assert "NOREPLICAS" in reason["text"]
    assert began - 1 < unix(reason["since"]) < time.time() + 1
    assert night.api("/events")["events"][0]["reason"] == "backend_unavailable"

    [line] = night.logged("backend_unavailable")
    assert "NOREPLICAS" in line["reason"]

    assert night.rls.metric("rls_enforcement_state", state="degraded") == 1
    since = night.rls.metric("rls_enforcement_reason_since_timestamp_seconds", reason="backend_unavailable")
    assert began - 1 < since < time.time() + 1
    assert night.rls.metric("rls_redis_up", node=f"127.0.0.1:{night.redis.port}") == 0
    assert night.rls.metric("rls_fallback_total", domain="users", rule="company_id", policy="local") >= 1


def test_a_filter_that_names_a_wrong_domain(mesh: Mesh) -> None:
    began = time.time()
    night = Night(mesh, domain="user")

    assert night.requests(LIMIT // 100) == [200] * (LIMIT // 100)

    [unknown] = night.api("/unknown")["domains"]
    assert (unknown["domain"], unknown["requests"]) == ("user", LIMIT // 100)
    assert began - 1 < unix(unknown["first"]) <= unix(unknown["last"]) < time.time() + 1

    [line] = night.logged("unknown_domain")
    assert line["domain"] == "user"
    assert unix(line["timestamp"]) > began - 1

    assert night.rls.metric("rls_domain_not_found_total") == LIMIT // 100
