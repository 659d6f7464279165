"""New pods for old ones under load, through a real Envoy."""

import copy
import signal

import pytest

from examples.mesh.envoy import EnvoyConfig
from examples.mesh.processes import free_port, wait_for
from tests.e2e.load import Load
from tests.e2e.mesh import RULES, sidecar

WIDE = RULES.replace("requests_per_unit: 5", "requests_per_unit: 1000000000")
TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


def test_a_rolling_restart_of_three_servers_loses_no_call(mesh):
    options = ("--transport", "native", "--drain-timeout", "3s", "--max-connection-age", "1s")
    servers = [mesh.start_rls(*options, rules=WIDE, name=f"old-{number}") for number in range(3)]
    envoy = mesh.start_envoy(*servers)
    wait_for(lambda: envoy.healthy() == 3, "Envoy holds all for healthy")

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()
        for number, old in enumerate(servers):
            assert old.metric("rls_requests_total") > 0
            old.send(signal.SIGTERM)
            assert old.wait() == 0
            last = (*options, "--drain-timeout", "0s")
            new = mesh.start_rls(*last, rules=WIDE, name=f"new-{number}", ports=old.ports)
            wait_for(lambda: envoy.healthy() == 3, "Envoy holds the new one for healthy")
            asked = new.metric("rls_requests_total")
            wait_for(lambda: new.metric("rls_requests_total") > asked, "the new one is asked")  # noqa: B023
            load.go_on()

    assert set(load.statuses) == {200}
    limits = envoy.limits()
    assert (limits["ok"], limits["error"], limits["failure_mode_allowed"]) == (load.answered, 0, 0)


@TRANSPORTS
def test_a_new_server_behind_a_balancer_of_connections_gets_its_share(mesh, transport):
    """As behind a ClusterIP: who is asked is decided when a connection is opened, so connections must come to an end."""
    options = ("--transport", transport, "--max-connection-age", "1s")
    balancer, ports = free_port(), (free_port(), free_port())
    old = mesh.start_rls(*options, rules=WIDE, name="old")

    def by_connection(config: EnvoyConfig) -> None:
        sidecar(config)
        _balance_connections(config, balancer, (old.port, ports[0]))

    envoy = mesh.start_envoy(old, change=by_connection)

    with Load(envoy.port, mesh.bearer("acme")) as load:
        load.go_on()
        new = mesh.start_rls(*options, rules=WIDE, name="new", ports=ports)
        wait_for(lambda: new.metric("rls_requests_total") > 0, "the new one is asked", seconds=60)
        asked = old.metric("rls_requests_total")
        wait_for(lambda: old.metric("rls_requests_total") > asked, "and the old one again", seconds=60)

    assert set(load.statuses) == {200}
    assert envoy.limits()["ok"] == load.answered


def _balance_connections(config: EnvoyConfig, port: int, to: tuple[int, ...]) -> None:
    """Let calls go to a TCP proxy on *port* first, which opens each connection to the next of *to*."""
    pods = copy.deepcopy(config.clusters["ratelimit"])
    pods["name"] = "pods"
    pods.pop("typed_extension_protocol_options", None)
    endpoints = pods["load_assignment"]["endpoints"][0]["lb_endpoints"]
    pods["load_assignment"]["cluster_name"] = "pods"
    (first,) = endpoints
    address = config.clusters["ratelimit"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    address["socket_address"]["port_value"] = port
    endpoints[:] = [copy.deepcopy(first) for _ in to]
    for endpoint, number in zip(endpoints, to, strict=True):
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = number
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "balancer",
        "cluster": "pods",
        "max_connect_attempts": 4,
    }
    resources = config.tree["static_resources"]
    resources["clusters"].append(pods)
    resources["listeners"].append(
        {
            "name": "balancer",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
        }
    )
