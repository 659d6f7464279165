"""The mesh of `istio/`: a gateway, a sidecar in front of the user service, and rls, all as their manifests say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from examples.mesh.http import Answer
from examples.mesh.servers import Rls
from tests.certs import Authority
from tests.e2e.mesh import Mesh
from tests.mesh.istiod import Proxy
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import Object, load
from tests.mesh.running import SERVICE, RunningProxy, patient
from tests.mesh.tunnel import Tunnel
from tests.mesh.world import GATEWAY, TO_RLS, TO_USERS, USERS_SIDECAR, rendered

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: year, requests_per_unit: 5, replaces: [{name: ip}]}
  - key: remote_address
    rate_limit: {name: ip, unit: year, requests_per_unit: 3}
"""

_numbers = itertools.count(1)


def a_company() -> str:
    """One that has not asked yet."""
    return f"company-{next(_numbers)}"


def an_address() -> str:
    """One of this machine that has not asked yet; not 127.0.0.1, which Envoy takes for itself."""
    number = next(_numbers)
    return f"127.0.{number // 250 + 1}.{number % 250 + 2}"


class Proxies:
    """Proxies with what istiod makes of *objects* for them, but that they wait for *rls* so many seconds.

    Args:
        keys: Whether istiod could fetch the keys of tokens.
    """

    def __init__(
        self, mesh: Mesh, rls: Sequence[Rls], objects: Sequence[Object], *, patience: float = 10, keys: bool = True
    ) -> None:
        self.mesh = mesh
        self.authority = Authority()
        self._jwks = mesh.issuer.jwks() if keys else None
        self.objects = patient(objects, patience)
        self._asked = [Endpoint(server.port) for server in rls]

    def start(
        self,
        proxy: Proxy,
        endpoints: dict[str, list[Endpoint]],
        *,
        identity: str = "",
        rls: Sequence[Endpoint] | None = None,
    ) -> RunningProxy:
        """Start another proxy; it asks our rls unless *rls* says otherwise."""
        folder = self.mesh.folder / f"{proxy.kind.name.lower()}-{next(_numbers)}"
        made = rendered(self.objects, proxy, jwks=self._jwks)
        endpoints = {TO_RLS: self._asked if rls is None else list(rls), **endpoints}
        return self.mesh.keep(RunningProxy(made, endpoints, self.authority, folder, identity=identity))

    def tunnel(self, proxy: RunningProxy, destination: str, *, identity: str = GATEWAY.spiffe) -> Tunnel:
        """A way to *destination* (`IP:port`) by HBONE, through that proxy, as the gateway or another *identity*."""
        folder = self.mesh.folder / f"tunnel-{next(_numbers)}"
        return self.mesh.keep(Tunnel(proxy, destination, self.authority, folder, identity=identity))

    def token(self, company: str) -> str:
        """A valid token of that company."""
        return self.mesh.issuer.token({"company_id": company, "sub": "ada"})


class IstioMesh(Proxies):
    """Gateway and sidecar as `istio/` and its *components* make them.

    Args:
        version: Of Istio.
        trusted_proxies: Load balancers before the gateway.
        objects: Instead of those of `istio/`.
        patience: Seconds that rls is waited for.
        keys: As for `Proxies`.
    """

    def __init__(
        self,
        mesh: Mesh,
        rls: Sequence[Rls],
        components: Sequence[str] = (),
        *,
        version: str = "1.31.0",
        trusted_proxies: int = 0,
        users_port: int = 0,
        objects: list[Object] | None = None,
        patience: float = 10,
        keys: bool = True,
    ) -> None:
        super().__init__(mesh, rls, load(*components) if objects is None else objects, patience=patience, keys=keys)
        service = Endpoint(users_port or mesh.users_port)
        self.sidecar = self.start(replace(USERS_SIDECAR, version=version), {"inbound|9000||": [service]})
        behind = {TO_USERS: [Endpoint(self.sidecar.placed.ports[SERVICE], mtls=True)]}
        self.gateway = self.start(replace(GATEWAY, version=version, trusted_proxies=trusted_proxies), behind)

    def get(self, token: str = "", *, source: str = "127.0.0.2", **headers: str) -> Answer:
        """Ask the gateway for the users, with a token or without."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            given["authorization"] = f"Bearer {token}"
        return self.gateway.request(given, source=source)

    def statuses(self, times: int, token: str = "", *, source: str = "127.0.0.2", **headers: str) -> list[int]:
        """What is answered when the same is asked so often."""
        return [self.get(token, source=source, **headers).status for _ in range(times)]
