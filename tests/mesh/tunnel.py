"""What ztunnel does at the client's end of HBONE: each connection becomes a CONNECT over mTLS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.mesh.envoy import Envoy
from examples.mesh.http import Answer, ask
from tests.certs import Authority
from tests.mesh.istiod.hbone import PORT
from tests.mesh.loopback import address, secrets, to_tls
from tests.mesh.manifests import Object
from tests.mesh.running import RunningProxy
from tests.mesh.world import HOST

_TYPES = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class _Ends:
    """The bootstrap of a `Tunnel`."""

    def __init__(self, to: RunningProxy, destination: str, authority: Authority, folder: Path, identity: str) -> None:
        self.access_log = folder / "access.log"
        self.upstream = ""
        proxy: Object = {
            "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tunnel",
            "cluster": "hbone",
            "tunneling_config": {"hostname": destination},
        }
        chain = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
        endpoint = {"endpoint": {"address": address(to.placed.ports[PORT])}}
        options = {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
        }
        cluster = {
            "name": "hbone",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "hbone", "endpoints": [{"lb_endpoints": [endpoint]}]},
            "typed_extension_protocol_options": {_OPTIONS: options},
            "transport_socket": to_tls(["h2"]),
        }
        self.tree: Object = {
            "node": {"id": folder.name, "cluster": "mesh"},
            "admin": {"address": address(0)},
            "static_resources": {
                "listeners": [{"name": "outbound", "address": address(0), "filter_chains": [chain]}],
                "clusters": [cluster],
                "secrets": secrets(authority, identity),
            },
        }


class Tunnel(Envoy):
    """Leads to *destination* (`IP:port`) through the proxy *to*, as *identity*; *folder* is made for it."""

    def __init__(
        self, to: RunningProxy, destination: str, authority: Authority, folder: Path, *, identity: str
    ) -> None:
        folder.mkdir()
        super().__init__(_Ends(to, destination, authority, folder, identity), folder, name=folder.name)

    def request(self, headers: Mapping[str, str] | None = None, **request: Any) -> Answer:
        """Send a request for the user service, in a tunnel of its own."""
        path = request.pop("path", "/users")
        return ask(self.port, path, {"host": HOST, **(headers or {})}, **request)

    def tunnels(self) -> int:
        """How many CONNECTs it has sent."""
        return self.stats("cluster.hbone.")["upstream_rq_total"]
