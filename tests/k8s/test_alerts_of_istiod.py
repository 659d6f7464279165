"""Alerts about the keys of tokens: a real istiod fetches them for a real Envoy, and a real Prometheus asks it.

Only where ISTIOD_BINARY names pilot-discovery, which `go build ./pilot/cmd/pilot-discovery` makes of Istio's source, ISTIO_CRDS
its `manifests/charts/base/files/crd-all.gen.yaml`, and KUBEBUILDER_ASSETS an API server: no package has them, so CI does not
run this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port, wait_for
from tests.alerts.discovered import pod
from tests.alerts.running import Prometheus
from tests.k8s.api_server import ASSETS, Cluster, api_server, kubeconfig
from tests.k8s.nodes import program

BINARY, CRDS = os.environ.get("ISTIOD_BINARY"), os.environ.get("ISTIO_CRDS")
pytestmark = pytest.mark.skipif(
    None in (ASSETS, BINARY, CRDS), reason="needs ISTIOD_BINARY, ISTIO_CRDS and KUBEBUILDER_ASSETS"
)
PATIENCE = 90
KEY = {"kty": "RSA", "kid": "ours", "e": "AQAB", "n": "key-of-the-issuer" * 20}
PLACEHOLDERS = ("0xObjM0UvS_oaazj", "vqS7RN4b34i3_5Yy")
"""How istiod's keys begin that belong to nobody."""
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Issuer:
    """Has the keys at `url`, or does not answer."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/keys"
        self._server: ThreadingHTTPServer | None = None

    def begin(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": [KEY]}).encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Mesh:
    """An API server with a RequestAuthentication, istiod, an Envoy that it configures, and a Prometheus with our rules."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.issuer = Issuer()
        stack.callback(self.issuer.end)
        self._folder, self._stack = folder, stack
        self._cluster: Cluster = stack.enter_context(api_server(folder))
        self._cluster.kubectl("create", "namespace", "istio-system")
        assert CRDS is not None
        # Those that are there have no schemas, and one version each.
        present = self._cluster.kubectl("get", "crd", "-o", "name").split()
        self._cluster.kubectl("delete", *(name for name in present if name.endswith((".istio.io", ".k8s.io"))))
        self._cluster.kubectl("apply", "--server-side", "-f", CRDS)
        self._cluster.kubectl("wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
        rules = [{"issuer": "https://tokens.example.com", "jwksUri": self.issuer.url}]
        authentication = {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "company-tokens", "namespace": "users"},
            "spec": {"jwtRules": rules},
        }
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps(authentication))
        self._grpc, self._monitoring, self._admin = free_port(), free_port(), free_port()
        found = pod(f"127.0.0.1:{self._monitoring}", "istiod-1", "istio-system", "istiod", "http-monitoring")
        self._istiod = self.start_istiod()
        self._start_envoy()
        self.prometheus = stack.enter_context(Prometheus(folder / "prometheus", {}, pods={"istiod": [found]}))

    def start_istiod(self) -> Process:
        assert BINARY is not None
        http = free_port()
        ports = [f"--httpAddr=127.0.0.1:{http}", f"--grpcAddr=127.0.0.1:{self._grpc}", "--secureGRPCAddr="]
        ports += ["--httpsAddr=", f"--monitoringAddr=127.0.0.1:{self._monitoring}"]
        env = {"HOME": str(self._folder), "POD_NAME": "istiod-1", "POD_NAMESPACE": "istio-system"}
        env |= {"ENABLE_CA_SERVER": "false", "PILOT_CERT_PROVIDER": "none"}
        env |= {"PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "2s"}
        config = f"--kubeconfig={kubeconfig(self._cluster, self._folder)}"
        istiod = Process("istiod", [BINARY, "discovery", config, *ports], self._folder / "istiod.log", env=env)
        self._stack.enter_context(istiod)
        istiod.wait_until(lambda: ask(http, "/ready").status == 200, "it is ready", PATIENCE)
        return istiod

    def restart_istiod(self) -> None:
        self._istiod.stop()
        self._istiod = self.start_istiod()

    def _start_envoy(self) -> None:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self._grpc}}
        http2 = {"@type": f"type.googleapis.com/{HTTP2}", "explicit_http_config": {"http2_protocol_options": {}}}
        istiod = {
            "name": "istiod",
            "type": "STATIC",
            "typed_extension_protocol_options": {HTTP2: http2},
            "load_assignment": {
                "cluster_name": "istiod",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        source = {"api_type": "GRPC", "transport_api_version": "V3"}
        source["grpc_services"] = [{"envoy_grpc": {"cluster_name": "istiod"}}]  # type: ignore[assignment]
        listeners = {"ads": {}, "resource_api_version": "V3"}
        node = {"id": "sidecar~127.0.0.1~users.users~users.svc.cluster.local", "cluster": "users.users"}
        bootstrap = {
            "node": node | {"metadata": {"NAMESPACE": "users", "ISTIO_VERSION": "1.31.0"}},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self._admin}}},
            "dynamic_resources": {"ads_config": source, "lds_config": listeners, "cds_config": listeners},
            "static_resources": {"clusters": [istiod]},
        }
        file = self._folder / "envoy.yaml"
        file.write_text(yaml.safe_dump(bootstrap))
        self._stack.enter_context(
            Process("envoy", [program("envoy"), "-c", str(file), "--use-dynamic-base-id"], self._folder / "envoy.log")
        )

    @property
    def keys(self) -> str:
        """What the proxy takes for keys: `ours`, `placeholder`, or nothing yet."""
        try:
            dump = ask(self._admin, "/config_dump").body.decode()
        except OSError:
            return ""
        return "placeholder" if any(text in dump for text in PLACEHOLDERS) else "ours" if KEY["n"] in dump else ""

    def alerts(self) -> dict[str, str]:
        """Summaries of the alerts about istiod that fire, by name."""
        return {
            one["labels"]["alertname"]: one["annotations"]["summary"]
            for one in self.prometheus.alerts()
            if one["labels"]["alertname"].startswith("Istiod") and one["state"] == "firing"
        }


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path_factory.mktemp("mesh"), stack)


def test_an_istiod_that_cannot_fetch_keys_when_it_starts(mesh: Mesh) -> None:
    fires = wait_for(mesh.alerts, "an alert fires", PATIENCE)
    text = (
        "istiod-1 has fetched no keys since it started: no token is valid, and companies are limited by their addresses"
    )
    assert fires == {"IstiodHasNoKeys": text}
    wait_for(lambda: mesh.keys == "placeholder", "the proxy has a key of nobody", PATIENCE)


def test_a_restart_brings_the_keys_once_the_issuer_is_back(mesh: Mesh) -> None:
    """As its runbook says."""
    mesh.issuer.begin()
    mesh.restart_istiod()
    wait_for(lambda: mesh.keys == "ours", "the proxy has the keys", PATIENCE)
    wait_for(lambda: not mesh.alerts(), "no alert fires", PATIENCE)


def test_an_istiod_that_cannot_fetch_keys_again_keeps_those_that_it_has(mesh: Mesh) -> None:
    mesh.issuer.end()
    fires = wait_for(mesh.alerts, "an alert fires", PATIENCE)
    assert fires.keys() == {"IstiodCannotFetchKeys"}
    assert fires["IstiodCannotFetchKeys"].startswith("istiod-1 could not fetch keys ")
    assert mesh.keys == "ours"
