"""Proxies of the mesh, running."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.mesh.envoy import Envoy
from examples.mesh.http import Answer, ask
from tests.certs import Authority
from tests.mesh.istiod import Rendered
from tests.mesh.loopback import Endpoint, Placed
from tests.mesh.manifests import Object, of
from tests.mesh.mistakes import RATE_LIMIT
from tests.mesh.world import HOST, TO_RLS

SERVICE = 9000
"""The container's port of the user service."""
HTTP, HTTPS = 8080, 8443
"""The ports of the gateway's pod."""


class RunningProxy(Envoy):
    """An Envoy with what istiod gives a proxy; *folder* is made for it."""

    def __init__(
        self,
        rendered: Rendered,
        endpoints: Mapping[str, Sequence[Endpoint]],
        authority: Authority,
        folder: Path,
        *,
        identity: str = "",
    ) -> None:
        folder.mkdir()
        self.placed = Placed(rendered, endpoints, authority, folder, identity=identity)
        super().__init__(self.placed, folder, name=folder.name)

    def ask_rls_at(self, *endpoints: Endpoint) -> None:
        """From now on, ask these servers: what the mesh does when pods come and go."""
        self.placed.send_to(TO_RLS, endpoints)
        wanted = {endpoint.port for endpoint in endpoints}
        self.wait_until(lambda: self._asked() == wanted, "it has heard of the endpoints")

    def ejected(self) -> list[int]:
        """The ports of the servers that it leaves alone, as they failed."""
        hosts = self._rls().items()
        return [port for port, host in hosts if host["health_status"].get("failed_outlier_check")]

    def tries(self) -> int:
        """How often it has asked a server: a call that is made again counts as two."""
        stats = [stat for host in self._rls().values() for stat in host["stats"] if stat["name"] == "rq_total"]
        return sum(int(stat.get("value", 0)) for stat in stats)

    def _asked(self) -> set[int]:
        return set(self._rls())

    def _rls(self) -> dict[int, Object]:
        """What it knows of each server, by its port."""
        found: dict[str, Any] = self.admin("/clusters?format=json").json()
        hosts = next(each for each in found["cluster_statuses"] if each["name"] == TO_RLS).get("host_statuses", [])
        return {host["address"]["socket_address"]["port_value"]: host for host in hosts}

    def request(
        self, headers: Mapping[str, str] | None = None, *, source: str = "", port: int = HTTPS, **request: Any
    ) -> Answer:
        """Send a request for the user service to a port of the pod, from an address of 127.0.0.0/8."""
        path = request.pop("path", "/users")
        return ask(self.placed.ports[port], path, {"host": HOST, **(headers or {})}, source=source, **request)


def patient(objects: Sequence[Object], seconds: float = 10, *, one_try: float = 0) -> list[Object]:
    """The objects with a longer `timeout`: as long as a busy machine may take, so that no answer is missed.

    *one_try* is what a try may take, and a connection for it, in seconds; without it, the same part of the timeout as before.
    """
    changed = copy.deepcopy(list(objects))
    for each in of(changed, "EnvoyFilter"):
        for entry in each["spec"]["configPatches"]:
            value = entry["patch"].get("value", {})
            if value.get("name") == RATE_LIMIT:
                config = value["typed_config"]
                times = config["rate_limit_service"]["grpc_service"]["retry_policy"]["retry_back_off"]
                one_try = one_try or seconds * _seconds(times["max_interval"]) / _seconds(config["timeout"])
                config["timeout"], times["max_interval"] = f"{seconds}s", f"{one_try:.3f}s"
    for each in of(changed, "DestinationRule"):
        if one_try and each["metadata"]["name"] == "rls":  # without a filter nobody asks
            each["spec"]["trafficPolicy"]["connectionPool"]["tcp"]["connectTimeout"] = f"{one_try:.3f}s"
    return changed


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
