"""What `rls istio` writes for rules of several kinds, in a real gateway, sidecar and waypoint: limits are as the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rls.cli import app
from tests.certs import Authority
from tests.e2e.istio import IstioMesh, a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.caller import Caller
from tests.mesh.istiod.hbone import ENCAP, PORT
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import Object, load
from tests.mesh.running import RunningProxy, patient
from tests.mesh.world import GATEWAY, POD, TO_RLS, TO_USERS, USERS, WAYPOINT, rendered

RULES = """\
domain: shop
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 5}
    descriptors:
      - key: kind
        value: export
        rate_limit: {name: exports, unit: year, requests_per_unit: 2}
  - key: tier
    value: trial
    descriptors:
      - key: remote_address
        rate_limit: {name: trial, unit: year, requests_per_unit: 3}
"""
SOURCES = ("--claim", "company_id=company_id", "--header", "kind=x-kind", "--constant", "tier")


Ask = Callable[..., int]
"""A request, by its headers; returns its status."""


def applied(folder: Path, at: str) -> list[Object]:
    """Our manifests, with what `rls istio` writes in place of their EnvoyFilters."""
    (folder / "shop.yaml").write_text(RULES)
    result = CliRunner().invoke(app, ["istio", str(folder / "shop.yaml"), "--at", at, *SOURCES])
    assert result.exit_code == 0, result.output
    written = list(yaml.safe_load_all(result.output))
    names = {(one["metadata"]["name"], one["metadata"]["namespace"]) for one in written}
    objects = load(*({"gateway": ["at-gateway"], "waypoint": ["waypoint"]}.get(at, [])))
    others = [one for one in objects if (one["metadata"]["name"], one["metadata"].get("namespace")) not in names]
    assert len(others) == len(objects) - len(written), "it has the names of the files that it stands for"
    return [*others, *written]


@pytest.fixture(scope="module", params=["sidecar", "gateway"])
def istio(request, tmp_path_factory, issuer, users) -> Iterator[IstioMesh]:
    folder: Path = tmp_path_factory.mktemp("istio-command")
    with closing(Mesh(folder, issuer, users)) as mesh:
        yield IstioMesh(mesh, [mesh.start_rls(rules=RULES)], objects=applied(folder, request.param))


@pytest.fixture(params=[f"{USERS.address}:80", f"{POD}:9000"], ids=["to the Service", "to a pod"])
def ask_waypoint(request, tmp_path, issuer, users) -> Iterator[Ask]:
    """In a tunnel of ztunnel's, as from the gateway."""
    authority = Authority()
    with closing(Mesh(tmp_path, issuer, users)) as mesh:
        made = rendered(patient(applied(tmp_path, "waypoint")), WAYPOINT, jwks=issuer.jwks())
        service = f"inbound-vip|80|http|{USERS.host}"
        to_users = [Endpoint(mesh.users_port)]
        endpoints = {TO_RLS: [Endpoint(mesh.start_rls(rules=RULES).port)], service: to_users, ENCAP: to_users}
        proxy = RunningProxy(made, {**endpoints, TO_USERS: to_users}, authority, tmp_path / "waypoint")
        caller = Caller(authority, GATEWAY.spiffe, tmp_path)
        try:
            with closing(caller.connect(proxy.placed.ports[PORT], request.param)) as connection:

                def ask(client: str, company: str = "", **headers: str) -> int:
                    # A load balancer and the gateway have each appended the address of their peer.
                    headers["x-forwarded-for"] = f"{client}, {client}"
                    if company:
                        headers["authorization"] = f"Bearer {issuer.token({'company_id': company, 'sub': 'ada'})}"
                    return connection.ask(headers).status

                yield ask
        finally:
            proxy.stop()


def test_limits_are_as_the_rules_say(istio: IstioMesh) -> None:
    """Each request is in the trial of its address; that of a company counts for it, and exports are counted apart."""
    token = istio.token(a_company())
    assert [istio.get(token, source=an_address(), x_kind="export").status for _ in range(3)] == [200, 200, 429]
    assert [istio.get(token, source=an_address()).status for _ in range(3)] == [200, 200, 429], "five in all"
    assert istio.statuses(4, source=an_address()) == [200, 200, 200, 429]


def test_limits_of_a_waypoint_are_as_the_rules_say(ask_waypoint: Ask) -> None:
    company, client = a_company(), an_address()
    exports = [ask_waypoint(an_address(), company, **{"x-kind": "export"}) for _ in range(3)]
    assert exports == [200, 200, 429]
    assert [ask_waypoint(an_address(), company) for _ in range(3)] == [200, 200, 429], "five in all"
    assert [ask_waypoint(client) for _ in range(4)] == [200, 200, 200, 429]
