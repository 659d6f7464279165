"""Other products than Istio: a real Envoy, with the configuration that each makes of its resources, asks rls and limits."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.mesh.envoy import Envoy
from examples.mesh.http import Answer, ask
from examples.mesh.processes import free_port
from examples.mesh.servers import Rls, UserService
from examples.tokens import Issuer
from tests.e2e.mesh import Mesh, statuses
from tests.e2e.works_with import FOLDER, ProductConfig

UNAVAILABLE, RESOURCE_EXHAUSTED = "14", "8"

names = (f"company-{n}" for n in itertools.count(1))
addresses = (f"127.0.0.{n}" for n in range(2, 255))


@dataclass(frozen=True)
class Product:
    """What docs/works-with.md says of a product.

    Attributes:
        name: Its folder in `examples/works-with`.
        domain: What it asks under.
        without_rls: The status of a response while rls does not answer.
        rate_limit_headers: Whether Envoy adds `x-ratelimit-limit`, `-remaining` and `-reset`.
        over_limit_grpc: `grpc-status` of an over-limit response.
    """

    name: str
    domain: str
    without_rls: int
    rate_limit_headers: bool
    over_limit_grpc: str


PRODUCTS = (
    Product("contour", "contour", 500, True, RESOURCE_EXHAUSTED),
    Product("emissary", "ambassador", 200, False, UNAVAILABLE),
    Product("gloo", "custom", 200, True, UNAVAILABLE),
    Product("kgateway", "kgateway", 200, True, UNAVAILABLE),
)


@dataclass(frozen=True)
class Gateway:
    """A running Envoy of *product*, and the rls that it asks."""

    product: Product
    envoy: Envoy
    rls: Rls

    def get(self, company: str = "", address: str = "127.0.0.1", **headers: str) -> Answer:
        return get(self.envoy, {"x-company-id": company} if company else {}, address, **headers)

    def unmatched(self) -> float:
        return self.rls.metric("rls_unmatched_descriptors_total", domain=self.product.domain)


@pytest.fixture(scope="module", params=PRODUCTS, ids=lambda product: product.name)
def product(request: pytest.FixtureRequest) -> Product:
    found: Product = request.param
    return found


@pytest.fixture(scope="module")
def gateway(
    product: Product, tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, users: UserService
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp(product.name)
    with closing(Mesh(folder, issuer, users)) as mesh:
        # By the year, so that no window ends while a test runs.
        rules = (FOLDER / product.name / "rules.yaml").read_text().replace("unit: minute", "unit: year")
        rls = mesh.start_rls("--problem-json", "--limited-by-header", "x-limited-by", rules=rules)
        config = ProductConfig(product.name, users=users.port, rls=rls.port, folder=folder)
        # As long as a busy machine may take, so that no answer is missed.
        config.filter["timeout"] = "10s"
        yield Gateway(product, mesh.keep(Envoy(config, folder)), rls)


def get(envoy: Envoy, headers: Mapping[str, str], address: str = "127.0.0.1", **more: str) -> Answer:
    more = {name.replace("_", "-"): value for name, value in more.items()}
    return ask(envoy.port, "/users", {"host": "api.example.com", **headers, **more}, source=address)


def test_a_company_has_its_limit_and_another_company_its_own(gateway: Gateway) -> None:
    company = next(names)

    assert statuses([gateway.get(company) for _ in range(7)]) == [200] * 5 + [429] * 2
    assert gateway.get(next(names)).status == 200


def test_without_the_header_the_address_is_limited(gateway: Gateway) -> None:
    address = next(addresses)

    assert statuses([gateway.get(address=address) for _ in range(5)]) == [200] * 3 + [429] * 2
    assert gateway.get(address=next(addresses)).status == 200


def test_a_client_cannot_choose_its_address(gateway: Gateway) -> None:
    address = next(addresses)

    found = [gateway.get(address=address, x_forwarded_for=f"203.0.113.{n}") for n in range(4)]
    assert statuses(found) == [200] * 3 + [429]


def test_the_rules_match_every_descriptor(gateway: Gateway) -> None:
    gateway.get(address=next(addresses))
    before = gateway.unmatched()

    gateway.get(address=next(addresses))
    assert gateway.unmatched() == before
    # Of the two of a company, the rule of the address is replaced.
    gateway.get(next(names))
    assert gateway.unmatched() == before + 1
    assert gateway.rls.metric("rls_domain_not_found_total") == 0


def test_the_over_limit_response_reaches_the_client_as_rls_gave_it(gateway: Gateway) -> None:
    company = next(names)
    limited = [gateway.get(company) for _ in range(6)][-1]

    assert limited.status == 429
    assert limited.headers["x-limited-by"] in {"company_id", "x-company-id"}  # the keys differ
    assert limited.headers["x-envoy-ratelimited"] == "true"
    assert limited.headers["content-type"] == "application/problem+json"
    assert limited.json()["violated-policies"] == ["company"]


def test_envoy_adds_the_headers_that_the_product_asks_for(gateway: Gateway) -> None:
    headers = gateway.get(next(names)).headers

    if gateway.product.rate_limit_headers:
        assert headers["x-ratelimit-limit"] == '5, 5;w=31536000;name="company"'
        assert headers["x-ratelimit-remaining"] == "4"
        assert "x-ratelimit-reset" in headers
    else:
        assert not [name for name in headers if name.startswith("x-ratelimit")]


def test_a_grpc_client_is_told_in_grpc(gateway: Gateway) -> None:
    company = next(names)
    limited = [gateway.get(company, content_type="application/grpc") for _ in range(6)][-1]

    assert (limited.status, limited.headers["grpc-status"]) == (200, gateway.product.over_limit_grpc)


@pytest.mark.parametrize("hangs", [False, True], ids=["gone", "hangs"])
def test_without_an_answer_the_product_s_failure_mode_decides(
    product: Product, hangs: bool, tmp_path: Path, users: UserService
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if hangs else free_port()
        config = ProductConfig(product.name, users=users.port, rls=port, folder=tmp_path)
        with Envoy(config, tmp_path) as envoy:
            assert get(envoy, {"x-company-id": next(names)}).status == product.without_rls
            assert envoy.limits()["error"] == 1
