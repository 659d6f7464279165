"""Envoy waits 20 ms for an answer unless told otherwise; what it gave up on is not worth answering."""

import signal

import pytest

from examples.mesh.processes import wait_for
from tests.e2e.mesh import RULES, sidecar, statuses

TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


def as_envoy_comes(config):
    sidecar(config)
    del config.ratelimit["timeout"]


@TRANSPORTS
def test_calls_that_wait_for_redis_too_long_are_dropped_and_counted(mesh, transport):
    redis = mesh.start_redis()
    rls = mesh.start_rls("--transport", transport, "--backend", redis.url, "--backend-timeout", "60s")
    envoy = mesh.start_envoy(rls, change=as_envoy_comes)
    headers = mesh.bearer("acme")
    wait_for(lambda: envoy.get(headers=headers) and envoy.limits()["ok"], "a first answer in time")

    redis.send(signal.SIGSTOP)
    dropped = rls.metric("rls_dropped_total")
    decided = rls.metric("rls_requests_total")

    def send_and_count():
        assert envoy.get(headers=headers).status == 200
        return rls.metric("rls_dropped_total") - dropped

    wait_for(lambda: send_and_count() >= 5, "five are dropped")
    assert rls.metric("rls_requests_total") == decided

    redis.send(signal.SIGCONT)
    wait_for(lambda: envoy.get(headers=headers).status == 429, "a refusal")


@TRANSPORTS
def test_calls_that_envoy_gave_up_on_before_they_were_seen_are_not_charged(mesh, transport):
    rls = mesh.start_rls(
        "--transport", transport, rules=RULES.replace("requests_per_unit: 5", "requests_per_unit: 100")
    )
    envoy = mesh.start_envoy(rls, change=as_envoy_comes)
    headers = mesh.bearer("acme")
    wait_for(lambda: envoy.get() and envoy.limits()["ok"], "a first answer in time")

    rls.send(signal.SIGSTOP)
    assert statuses([envoy.get(headers=headers) for _ in range(50)]) == [200] * 50
    rls.send(signal.SIGCONT)

    remaining = wait_for(lambda: envoy.get(headers=headers).headers.get("x-ratelimit-remaining"), "an answer")
    assert int(remaining) > 80
