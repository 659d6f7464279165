"""An alert on its whole way: Redis dies, Prometheus fires, Alertmanager sends, and a receiver reads what is wrong."""

from contextlib import ExitStack

import pytest

from rls.engine.enforcement import Reason
from tests.alerts.running import Alertmanager, Prometheus, Receiver
from tests.alerts.traffic import Traffic, ask
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess

PATIENT = ("--backend-timeout", "5s")
GENEROUS = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 1000000}
"""


@pytest.fixture
def receiver():
    with Receiver() as started:
        yield started


@pytest.fixture
def alertmanager(tmp_path, receiver):
    with Alertmanager(tmp_path / "alertmanager", receiver.port) as started:
        yield started


def test_a_redis_that_dies_is_read_by_whom_it_concerns(tmp_path, alertmanager, receiver):
    traffic = Traffic()
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(tmp_path, redis_binary())))
        rls = stack.enter_context(RlsProcess(tmp_path, "--backend", redis.url, *PATIENT, rules=GENEROUS))
        labels = {"job": "rls", "namespace": "rate-limit", "pod": "rls-7d9f"}
        targets = {rls.addresses["http"]: labels}
        alertmanagers = (f"127.0.0.1:{alertmanager.port}",)
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", targets, alertmanagers=alertmanagers))
        ask(stack, traffic, rls, ("company_id", "acme"))
        stack.callback(traffic.stop)
        prometheus.wait_until(lambda: prometheus.value("rls_redis_up") == 1, "it sees a Redis that is up")
        # The way works, and nothing is wrong yet.
        alertmanager.wait_until(lambda: receiver.alerts("watchdog", "RlsWatchdog"), "the watchdog comes")
        assert not receiver.alerts("page", "RlsRedisDown")

        redis.kill()

        (down, *_) = alertmanager.wait_until(lambda: receiver.alerts("page", "RlsRedisDown"), "somebody is woken", 60)
        assert down["status"] == "firing"
        assert down["annotations"]["summary"] == f"rls-7d9f cannot count on {redis.url}"
        assert down["annotations"]["runbook_url"].endswith("/docs/operations.md#backend_unavailable")
        # The state and the policies say the same in other words: they are explained, and wake nobody.
        prometheus.wait_until(lambda: prometheus.firing("RlsDegraded", reason="backend_unavailable"), "it fires", 60)
        expected = {"RlsDegraded", "RlsPolicyAnswers"}
        alertmanager.wait_until(lambda: alertmanager.inhibited() >= expected, "they are inhibited", 60)
        assert not [name for name in expected if receiver.alerts("ticket", name)]

        redis.start()

        def over():
            return [one for one in receiver.alerts("page", "RlsRedisDown") if one["status"] == "resolved"]

        alertmanager.wait_until(over, "it is over", 60)


def test_limits_that_are_off_name_their_reason(tmp_path, alertmanager, receiver):
    """And since when: the words of the page are all that somebody has who is woken."""
    with ExitStack() as stack:
        rules = tmp_path / "rules"
        rules.mkdir()
        rls = stack.enter_context(RlsProcess(tmp_path, "--config", str(rules)))
        targets = {rls.addresses["http"]: {"job": "rls", "namespace": "rate-limit", "pod": "rls-7d9f"}}
        alertmanagers = (f"127.0.0.1:{alertmanager.port}",)
        stack.enter_context(Prometheus(tmp_path / "prometheus", targets, alertmanagers=alertmanagers))

        (off, *_) = alertmanager.wait_until(lambda: receiver.alerts("page", "RlsOff"), "somebody is woken", 60)
        words = off["annotations"]
        assert words["summary"].startswith("rls-7d9f limits nothing, since 20")
        assert words["summary"].endswith(f": {Reason.NO_RULES}")
        assert words["runbook_url"].endswith(f"/docs/operations.md#{Reason.NO_RULES}")


def test_no_server_at_all_is_noticed(tmp_path, alertmanager, receiver):
    with ExitStack() as stack:
        rls = stack.enter_context(RlsProcess(tmp_path))
        targets = {rls.addresses["http"]: {"job": "rls", "namespace": "rate-limit", "pod": "rls-7d9f"}}
        alertmanagers = (f"127.0.0.1:{alertmanager.port}",)
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", targets, alertmanagers=alertmanagers))
        prometheus.wait_until(lambda: prometheus.value("rls_ready") == 1, "it is there")

        rls.kill()

        (absent, *_) = alertmanager.wait_until(lambda: receiver.alerts("page", "RlsAbsent"), "somebody is woken", 60)
        assert absent["annotations"]["summary"] == "No pod of rls shows metrics: none runs, or none can be scraped."
