"""What is counted where requests come in tunnels (HBONE): at waypoints, and at sidecars with ENABLE_HBONE."""

from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from examples.mesh.http import ask_on
from examples.mesh.processes import wait_for
from tests.e2e.istio import RULES, Proxies, a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import find, load
from tests.mesh.running import SERVICE
from tests.mesh.world import GATEWAY, HBONE_SIDECAR, HOST, POD, TO_USERS, USERS, WAYPOINT

STRANGER_ID = "spiffe://cluster.local/ns/default/sa/default"
AT_SERVICE, AT_POD = f"{USERS.address}:80", f"{POD}:9000"
TO_USERS_SERVICE = ("inbound|9000||", f"inbound-vip|80|http|{USERS.host}")


def start(mesh, proxy, objects):
    """A proxy that takes tunnels, its rls, and where tunnels lead."""
    rls = mesh.start_rls(rules=RULES)
    proxies = Proxies(mesh, [rls], objects)
    running = proxies.start(proxy, {cluster: [Endpoint(mesh.users_port)] for cluster in TO_USERS_SERVICE})
    return proxies, rls, running, AT_POD if proxy.hbone else AT_SERVICE


PROXIES = {
    "waypoint 1.31": ("waypoint", WAYPOINT),
    "waypoint 1.28": ("waypoint", replace(WAYPOINT, version="1.28.0")),
    "waypoint 1.27": ("waypoint", replace(WAYPOINT, version="1.27.0")),
    "sidecar 1.31": ("", HBONE_SIDECAR),
    "sidecar 1.24": ("", replace(HBONE_SIDECAR, version="1.24.0")),
}


@pytest.fixture(scope="module", params=[*PROXIES.values()], ids=[*PROXIES])
def tunnelled(request, tmp_path_factory, issuer, users):
    """Each proxy that takes tunnels, with one of the gateway to the users."""
    component, proxy = request.param
    with closing(Mesh(tmp_path_factory.mktemp("hbone"), issuer, users)) as mesh:
        proxies, rls, running, destination = start(mesh, proxy, load(*filter(None, [component])))
        yield proxies, rls, running, destination, proxies.tunnel(running, destination)


def test_requests_are_counted_and_tunnels_are_not(tunnelled):
    """Each request comes in a tunnel of its own, all from one peer, and has another client's address."""
    _, rls, running, _, tunnel = tunnelled
    counted, before = rls.metric("rls_requests_total"), running.limits()

    found = [tunnel.request({"x-forwarded-for": an_address()}).status for _ in range(12)]

    assert found == [200] * 12
    assert rls.metric("rls_requests_total") - counted == 12
    assert running.limits()["ok"] - before["ok"] == 12


def test_many_requests_of_one_tunnel_are_each_counted(tunnelled):
    *_, tunnel = tunnelled
    headers = {"host": HOST, "x-forwarded-for": an_address()}
    before = tunnel.tunnels()

    with closing(HTTPConnection("127.0.0.1", tunnel.port, timeout=20)) as connection:
        found = [ask_on(connection, "/users", headers).status for _ in range(5)]

    assert found == [200] * 3 + [429] * 2
    assert tunnel.tunnels() - before == 1


def test_the_address_of_the_client_is_counted(tunnelled):
    *_, tunnel = tunnelled
    client = {"x-forwarded-for": an_address()}

    assert [tunnel.request(client).status for _ in range(5)] == [200] * 3 + [429] * 2
    garbage = {"x-forwarded-for": an_address(), "authorization": "Bearer garbage"}
    assert [tunnel.request(garbage).status for _ in range(4)] == [200] * 3 + [429]


def test_the_company_is_counted(tunnelled):
    proxies, _, running, _, tunnel = tunnelled
    client = an_address()
    token = {"authorization": f"Bearer {proxies.token(a_company())}", "x-forwarded-for": client}

    assert [tunnel.request(token).status for _ in range(6)] == [200] * 5 + [429]

    def rules():
        found = [line["rule_name"] for line in running.access_log() if line["address"] == client]
        return found if len(found) == 6 else []

    assert wait_for(rules, "its log has all six") == [None] * 5 + ["company"]


def test_only_the_gateway_may_ask(tunnelled):
    """Whoever else asks is refused before anything is counted."""
    proxies, rls, running, destination, tunnel = tunnelled
    stranger = proxies.tunnel(running, destination, identity=STRANGER_ID)
    token = {"authorization": f"Bearer {proxies.token(a_company())}"}
    before = rls.metric("rls_requests_total")

    assert [stranger.request(headers).status for headers in ({}, token)] == [403, 403]
    assert rls.metric("rls_requests_total") == before
    assert tunnel.request(token).status == 200


@pytest.mark.parametrize("version", ["1.24.0", "1.31.0"])
def test_a_sidecar_with_hbone_counts_what_comes_without_it_as_before(mesh, version):
    proxies, _, running, destination = start(mesh, replace(HBONE_SIDECAR, version=version), load())
    behind = {TO_USERS: [Endpoint(running.placed.ports[SERVICE], mtls=True)]}
    gateway = proxies.start(replace(GATEWAY, version=version), behind)
    source, token = an_address(), {"authorization": f"Bearer {proxies.token(a_company())}"}

    assert [gateway.request(source=source).status for _ in range(4)] == [200] * 3 + [429]
    assert [gateway.request(token).status for _ in range(3)] == [200] * 3
    tunnel = proxies.tunnel(running, destination)
    assert [tunnel.request(token).status for _ in range(3)] == [200] * 2 + [429]


@pytest.mark.parametrize("version", ["1.27.0", "1.31.0"])
def test_a_waypoint_with_all_components_counts_the_client_and_the_numeric_company(mesh, version):
    components = ["waypoint", "behind-load-balancer", "numeric-company", "fail-closed"]
    proxies, rls, running, destination = start(mesh, replace(WAYPOINT, version=version), load(*components))
    tunnel = proxies.tunnel(running, destination)

    def status(company=None):
        """From a client of its own, through a load balancer that all have in common."""
        token = mesh.issuer.token({"company_id": company, "sub": "ada"})
        forwarded = f"{an_address()}, 203.0.113.1"
        return tunnel.request({"authorization": f"Bearer {token}", "x-forwarded-for": forwarded}).status

    assert [status() for _ in range(5)] == [200] * 5
    assert [status(1234567) for _ in range(6)] == [200] * 5 + [429]
    assert status(1234568) == 200
    rls.kill()
    assert status() == 500


@pytest.mark.parametrize(
    ("component", "name", "proxy"),
    [("waypoint", "ratelimit-waypoint", WAYPOINT), ("", "ratelimit", HBONE_SIDECAR)],
    ids=["waypoint", "sidecar"],
)
def test_in_every_listener_tunnels_are_counted_and_reset(mesh, component, name, proxy):
    """What the shipped match prevents: so this test, and this way of asking, can see it."""
    objects = load(*filter(None, [component]))
    patches = find(objects, "EnvoyFilter", name)["spec"]["configPatches"]
    patches[0]["match"]["listener"].pop("name", None)
    del patches[1:]
    proxies, _, running, destination = start(mesh, proxy, objects)
    tunnel = proxies.tunnel(running, destination)

    def status():
        try:
            return tunnel.request({"x-forwarded-for": an_address()}).status
        except ConnectionError:
            return "reset"

    found = [status() for _ in range(12)]

    assert found.count("reset") > 0
    assert found == sorted(found, key=lambda each: each == "reset")
