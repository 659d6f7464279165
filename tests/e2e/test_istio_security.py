"""Who may ask whom, and what the service behind sees, with the manifests in `istio/`."""

import ssl
import threading
from contextlib import closing
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.certs import put
from tests.e2e.istio import RULES, IstioMesh, a_company, an_address
from tests.e2e.mesh import Mesh
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import load, of
from tests.mesh.running import SERVICE
from tests.mesh.world import RLS_SIDECAR, USERS_SIDECAR

GATEWAY_ID = "spiffe://cluster.local/ns/istio-ingress/sa/istio-ingress"
STRANGER_ID = "spiffe://cluster.local/ns/default/sa/default"
RLS_PORT = 8081


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, issuer, users):
    with closing(Mesh(tmp_path_factory.mktemp("istio"), issuer, users)) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def rls(mesh):
    return mesh.start_rls(rules=RULES)


@pytest.fixture(scope="module")
def istio(mesh, rls):
    return IstioMesh(mesh, [rls])


def test_the_sidecar_takes_no_plain_request(istio):
    with pytest.raises(ConnectionError):
        istio.sidecar.request(port=SERVICE)


def ask_directly(istio, proxy, identity, folder):
    """Ask a sidecar as a pod of the mesh could: by mTLS, with a forged address."""
    put(folder, *istio.authority.issue(identity))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=istio.authority.pem.decode())
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    with closing(HTTPSConnection("127.0.0.1", proxy.placed.ports[SERVICE], context=context, timeout=20)) as connection:
        connection.request("GET", "/users", headers={"x-forwarded-for": an_address()})
        return connection.getresponse().status


@pytest.mark.parametrize(("identity", "status"), [(GATEWAY_ID, 200), (STRANGER_ID, 403)], ids=["gateway", "stranger"])
def test_only_the_gateway_may_ask_so_that_nobody_else_chooses_an_address(istio, tmp_path, identity, status):
    assert ask_directly(istio, istio.sidecar, identity, tmp_path) == status


def test_what_writes_needs_a_valid_token(istio):
    body = b'{"name": "Alan", "email": "alan@example.com"}'
    tokens = {
        "valid": istio.token(a_company()),
        "without sub": istio.mesh.issuer.token({"company_id": a_company()}),
        "garbage": "garbage",
    }

    def post(token):
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return istio.gateway.request(headers, source=an_address(), method="POST", body=body).status

    assert {name: post(token) for name, token in tokens.items()} == {"valid": 201, "without sub": 403, "garbage": 403}


def test_what_is_forbidden_is_not_counted(istio):
    source = an_address()

    found = [istio.gateway.request(source=source, method="DELETE").status for _ in range(5)]

    assert found == [403] * 5
    assert istio.statuses(4, source=source) == [200] * 3 + [429]


@pytest.mark.parametrize(
    ("identity", "passed"), [("", "ok"), (STRANGER_ID, "failure_mode_allowed")], ids=["limited workload", "stranger"]
)
def test_only_proxies_that_limit_may_ask_rls(istio, rls, tmp_path, identity, passed):
    """Through a sidecar of rls, by mTLS."""
    guard = istio.start(RLS_SIDECAR, {"inbound|8081||": [Endpoint(rls.port)]})
    guarded = [Endpoint(guard.placed.ports[RLS_PORT], mtls=True)]
    behind = {"inbound|9000||": [Endpoint(istio.mesh.users_port)]}
    asking = istio.start(USERS_SIDECAR, behind, identity=identity, rls=guarded)

    assert ask_directly(istio, asking, GATEWAY_ID, tmp_path) == 200
    assert asking.limits()[passed] == 1


def test_the_service_sees_nothing_of_limits_and_tokens(mesh, rls):
    """As much as it saw before there were limits."""
    seen = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({name.lower() for name in self.headers})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    without = [each for each in load() if each not in of(load(), "EnvoyFilter")]
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for objects in (load(), without):
                istio = IstioMesh(mesh, [rls], users_port=server.server_port, objects=objects)
                assert istio.get(istio.token(a_company())).status == 204
        finally:
            server.shutdown()
            thread.join()

    limited, unlimited = seen
    assert limited == unlimited
    assert "authorization" not in limited
    assert not [name for name in limited if "limit" in name or "company" in name]
