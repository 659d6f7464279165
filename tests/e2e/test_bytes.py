"""Bytes that are not UTF-8, from a client through a real Envoy: counted like any value, beside the request's other limits."""

from collections.abc import Iterator

import pytest

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.processes import wait_for
from examples.mesh.servers import Rls
from tests.e2e.mesh import Mesh, statuses

RULES = """\
domain: users
descriptors:
  - key: user
    rate_limit: {name: per-user, unit: year, requests_per_unit: 2}
  - key: agent
    detailed_metric: true
    rate_limit: {name: per-agent, unit: year, requests_per_unit: 4}
  - key: remote_address
    rate_limit: {name: per-address, unit: year, requests_per_unit: 9}
"""


def limit_query_and_header(config: EnvoyConfig) -> None:
    config.ratelimit["rate_limits"] = [
        {"actions": [{"query_parameters": {"query_parameter_name": "user", "descriptor_key": "user"}}]},
        {"actions": [{"request_headers": {"header_name": "x-agent", "descriptor_key": "agent"}}]},
        {"actions": [{"remote_address": {}}]},
    ]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, issuer, users) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("bytes"), issuer, users)
    try:
        yield mesh
    finally:
        mesh.close()


@pytest.fixture(scope="module")
def rls(mesh: Mesh) -> Rls:
    return mesh.start_rls("--response-dynamic-metadata", rules=RULES)


@pytest.fixture(scope="module")
def envoy(mesh: Mesh, rls: Rls) -> Envoy:
    return mesh.start_envoy(rls, change=limit_query_and_header)


@pytest.mark.parametrize(
    ("value", "address"),
    [("%ff", "192.0.2.1"), ("bob%FF%00", "192.0.2.2"), ("%C3%28", "192.0.2.3"), ("Mu%F1oz", "192.0.2.4")],
)
def test_a_query_parameter_is_limited(envoy, value: str, address: str) -> None:
    headers = {"x-forwarded-for": address}
    answers = [envoy.get(f"/users?user={value}", headers=headers) for _ in range(4)]
    assert statuses(answers) == [200, 200, 429, 429]
    assert envoy.get(f"/users?user={value}%fe", headers=headers).status == 200, "another value has its own counter"


@pytest.mark.parametrize(
    ("value", "address"), [("bob\xff", "192.0.2.11"), ("\xff", "192.0.2.12"), ("Mu\xf1oz", "192.0.2.13")]
)
def test_a_header_is_limited(envoy, rls, value: str, address: str) -> None:
    """http.client sends Latin-1, a byte for each character."""
    headers = {"x-forwarded-for": address, "x-agent": value}
    answers = [envoy.get("/users", headers=headers) for _ in range(5)]
    assert statuses(answers) == [200] * 4 + [429]
    shown = value.encode("latin-1").decode("utf-8", "backslashreplace").replace("\\", r"\\")  # as Prometheus writes it
    assert rls.metric("rls_over_limit_total", value=f"agent_{shown}") == 1


def test_other_descriptors_of_the_request_stay_limited(envoy) -> None:
    """A client cannot get out of its address' limit by bytes that no limit is meant for."""
    headers = {"x-forwarded-for": "192.0.2.21"}
    answers = [envoy.get(f"/users?user=%ff{n}", headers=headers | {"x-agent": f"\xff{n}"}) for n in range(11)]
    assert statuses(answers) == [200] * 9 + [429] * 2


def test_the_access_log_names_the_rule_and_envoy_heard_no_error(envoy, rls) -> None:
    headers = {"x-forwarded-for": "192.0.2.31"}
    for _ in range(3):
        envoy.get("/users?user=log%ff", headers=headers)
    lines = wait_for(
        lambda: [line for line in envoy.access_log() if line["descriptor"] == "user=log\\xff"],
        "the log has the refusal",
    )
    assert [(line["code"], line["rule_name"]) for line in lines] == [(429, "per-user")]
    limits = envoy.limits()
    assert (limits["error"], limits["failure_mode_allowed"]) == (0, 0)
    assert rls.metric("rls_request_errors_total") == 0
