"""Redis dies under a real Envoy, and comes back."""

import pytest

from examples.mesh.processes import wait_for
from tests.e2e.load import Load
from tests.e2e.mesh import RULES, sidecar, statuses

PATIENT = ("--backend-timeout", "5s")
"""So that only a Redis that is gone is missed, not one that is slow on a busy machine."""


def misses_redis(rls):
    """Whether policies decide. A Redis that comes back empty is a reason of its own for a while longer."""
    return rls.metric("rls_enforcement_reason_since_timestamp_seconds", reason="backend_unavailable") > 0


def test_limits_hold_without_redis_and_are_exact_when_it_is_back(mesh):
    redis = mesh.start_redis()
    rls = mesh.start_rls("--backend", redis.url, *PATIENT)
    envoy = mesh.start_envoy(rls, change=sidecar)
    headers = mesh.bearer("acme")
    assert statuses([envoy.get(headers=headers) for _ in range(3)]) == [200] * 3

    redis.kill()
    wait_for(lambda: misses_redis(rls), "it misses Redis")

    assert statuses([envoy.get(headers=headers) for _ in range(5)]) == [200] * 5
    assert statuses([envoy.get(headers=headers) for _ in range(3)]) == [429] * 3
    assert statuses([envoy.get(headers=mesh.bearer("other")) for _ in range(4)]) == [200] * 4
    assert rls.get("/readyz").json()["state"] == "degraded"

    redis = mesh.start_redis(redis.port)
    wait_for(lambda: not misses_redis(rls), "it has found Redis")

    assert sorted(redis.counters()) == [4, 8]
    assert statuses([envoy.get(headers=mesh.bearer("other")) for _ in range(2)]) == [200, 429]
    assert envoy.get(headers=headers).status == 429
    limits = envoy.limits()
    assert (limits["error"], limits["failure_mode_allowed"]) == (0, 0)


@pytest.mark.parametrize("policy", ["local", "allow", "deny"])
def test_under_traffic_no_request_is_without_an_answer(mesh, policy):
    """Whether Redis dies, is away, or comes back: what Envoy hears is OK or OVER_LIMIT, never an error."""
    redis = mesh.start_redis()
    rules = RULES.replace("requests_per_unit: 5", "requests_per_unit: 1000000")
    rls = mesh.start_rls("--backend", redis.url, "--on-backend-error", policy, *PATIENT, rules=rules)
    envoy = mesh.start_envoy(rls, change=sidecar)

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()
        assert set(load.statuses) == {200}
        redis.kill()
        wait_for(lambda: rls.metric("rls_fallback_total", policy=policy) > 100, "the policy decides")
        mesh.start_redis(redis.port)
        wait_for(lambda: not misses_redis(rls), "it has found Redis")
        decided = rls.metric("rls_fallback_total")
        load.go_on()

    assert rls.metric("rls_fallback_total") == decided
    assert set(load.statuses) == ({200, 429} if policy == "deny" else {200})
    limits = envoy.limits()
    assert (limits["error"], limits["failure_mode_allowed"]) == (0, 0)
    assert limits["ok"] + limits["over_limit"] == load.answered


def test_where_no_policy_answers_envoy_decides(mesh):
    redis = mesh.start_redis()
    rls = mesh.start_rls("--backend", redis.url, "--on-backend-error", "error", *PATIENT)
    envoy = mesh.start_envoy(rls, change=sidecar)
    assert envoy.get(headers=mesh.bearer("acme")).status == 200

    redis.kill()
    wait_for(lambda: rls.get("/readyz").status == 503, "it is not ready")

    assert statuses([envoy.get(headers=mesh.bearer("acme")) for _ in range(9)]) == [200] * 9
    assert envoy.limits()["failure_mode_allowed"] == 9
