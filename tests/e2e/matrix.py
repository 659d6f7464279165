"""What the proxy of a cell of the matrix counts, as a real Envoy with its configuration does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

from examples.mesh.servers import Rls
from tests.certs import Authority
from tests.e2e.istio import a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.caller import Caller, Connection
from tests.mesh.istiod import Kind
from tests.mesh.istiod.hbone import ENCAP, PORT
from tests.mesh.loopback import Endpoint
from tests.mesh.matrix import Cell
from tests.mesh.running import HTTPS, SERVICE, RunningProxy
from tests.mesh.world import GATEWAY, POD, TO_RLS, TO_USERS, USERS, WAYPOINT

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 2, replaces: [{name: ip}]}
  - key: remote_address
    rate_limit: {name: ip, unit: year, requests_per_unit: 1}
"""
_TO_SERVICE = ("inbound|9000||", "InboundPassthroughCluster", f"inbound-vip|80|http|{USERS.host}", ENCAP, TO_USERS)


class Way(NamedTuple):
    """A way into a proxy: by a port of its pod, or in a tunnel to *tunnel*; each leads to a chain of filters of its own."""

    name: str
    port: int
    tunnel: str = ""


def ways(cell: Cell) -> list[Way]:
    """All by which requests get into the proxy of *cell*."""
    if cell.proxy.kind is Kind.GATEWAY:
        return [Way("HTTPS", HTTPS)]
    if cell.proxy.kind is Kind.WAYPOINT:
        return [
            Way("tunnels to the Service", PORT, f"{USERS.address}:80"),
            Way("tunnels to a pod", PORT, f"{POD}:9000"),
        ]
    found = [Way("port of the Service", SERVICE), Way("other ports", 0)]
    if cell.proxy.hbone:
        found += [Way("tunnels to either", PORT, f"{POD}:9000"), Way("tunnels to either", PORT, f"{POD}:9999")]
    return found


class Counted(NamedTuple):
    """What a proxy counts: *where* (names of ways), *companies*, *client*; what happens *without* rls."""

    where: tuple[str, ...]
    companies: str
    client: str
    without: str


class Measured:
    """Envoys with the configurations of cells; cells that are alike have one Envoy."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._rls: Rls = mesh.start_rls(rules=RULES)
        self._authority = Authority()
        self._found: dict[str, Counted] = {}

    def __call__(self, cell: Cell) -> Counted:
        """What the proxy of *cell* counts.

        Raises:
            AssertionError: A way is counted more than once, or not as the others.
        """
        if cell.key not in self._found:
            with self._running(cell) as proxy:
                self._found[cell.key] = self._counted(cell, proxy)
        return self._found[cell.key]

    @property
    def envoys(self) -> int:
        """How many ran."""
        return len(self._found)

    @contextmanager
    def _running(self, cell: Cell) -> Iterator[RunningProxy]:
        to_users = [Endpoint(self._mesh.users_port)]
        endpoints = {TO_RLS: [Endpoint(self._rls.port)], **dict.fromkeys(_TO_SERVICE, to_users)}
        folder = self._mesh.folder / f"{cell.key}-{len(self._found)}"
        proxy = RunningProxy(cell.rendered(self._mesh.issuer.jwks(), wait=True), endpoints, self._authority, folder)
        try:
            yield proxy
        finally:
            proxy.stop()

    def _counted(self, cell: Cell, proxy: RunningProxy) -> Counted:
        where = []
        for way in ways(cell):
            with closing(self._connect(cell, proxy, way)) as connection:
                if self._counts(connection, cell):
                    where.append(way.name)
        if not where:
            return Counted((), "", "", "")
        first = ways(cell)[0]
        with closing(self._connect(cell, proxy, first)) as connection:
            number = connection.ask({**self._token(int(a_company().rpartition("-")[2])), **_from(an_address())})
            companies = {"2": "also by number", "1": "by string"}[number.headers["x-ratelimit-limit"][0]]
        client = self._client(cell, proxy, first)
        proxy.ask_rls_at()
        with closing(self._connect(cell, proxy, first)) as connection:
            status = connection.ask(_from(an_address())).status
        return Counted(tuple(dict.fromkeys(where)), companies, client, {200: "passes", 500: "500"}[status])

    def _counts(self, connection: Connection, cell: Cell) -> bool:
        """Whether requests of *connection* are counted: each once, a company's by the company, others by their address.

        Raises:
            AssertionError: Those of a proxy that limits are not, or those of another are.
        """
        token, client, before = self._token(a_company()), an_address(), self._rls.metric("rls_requests_total")
        by_company = [connection.ask({**token, **_from(an_address())}).status for _ in range(3)]
        by_address = [connection.ask(_from(client)).status for _ in range(2)]
        counted = self._rls.metric("rls_requests_total") - before
        once = ([200, 200, 429], [200, 429], 5)
        assert (by_company, by_address, counted) == (once if cell.limits else ([200] * 3, [200] * 2, 0)), cell
        return cell.limits

    def _client(self, cell: Cell, proxy: RunningProxy, way: Way) -> str:
        """Whose address is counted, where the gateway has appended its peer's to X-Forwarded-For."""
        client, balancers = an_address(), (an_address(), an_address())
        found = []
        for balancer in balancers:
            forwarded = client if cell.proxy.kind is Kind.GATEWAY else f"{client}, {balancer}"
            with closing(self._connect(cell, proxy, way, source=balancer)) as connection:
                found.append(connection.ask({"x-forwarded-for": forwarded}).status)
        return {(200, 200): "gateway", (200, 429): "load balancer"}[found[0], found[1]]

    def _connect(self, cell: Cell, proxy: RunningProxy, way: Way, *, source: str = "") -> Connection:
        port = proxy.placed.ports[way.port]
        if cell.proxy.kind is Kind.GATEWAY:
            return Connection(port, source=source or an_address())
        behind_waypoint = cell.base == "waypoint" and cell.proxy.kind is Kind.SIDECAR
        identity = WAYPOINT.spiffe if behind_waypoint else GATEWAY.spiffe
        return Caller(self._authority, identity, self._mesh.folder).connect(port, way.tunnel)

    def _token(self, company: str | int) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._mesh.issuer.token({'company_id': company, 'sub': 'ada'})}"}


def _from(client: str) -> Mapping[str, str]:
    """A load balancer and the gateway have each appended the address of their peer."""
    return {"x-forwarded-for": f"{client}, {client}"}
