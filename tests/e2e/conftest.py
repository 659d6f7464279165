from collections.abc import Iterator
from contextlib import closing

import pytest

from examples.mesh.envoy import find_envoy
from examples.mesh.processes import Missing
from examples.mesh.servers import UserService
from examples.tokens import Issuer
from tests.e2e.mesh import Mesh
from tests.redis_server import missing


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-matrix", action="store_true", help="write the table of docs/istio.md")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "e2e":
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the logs of all processes beside what failed."""
    report = yield
    mesh = getattr(item, "funcargs", {}).get("mesh")
    if report.failed and isinstance(mesh, Mesh):
        for process in mesh.processes:
            report.sections.append((f"log of {process.name}", process.output()[-6000:]))
    return report


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="session")
def users(tmp_path_factory) -> Iterator[UserService]:
    try:
        find_envoy()
    except Missing as error:
        missing(str(error))
    with UserService(tmp_path_factory.mktemp("users")) as service:
        yield service


@pytest.fixture
def mesh(tmp_path, issuer, users) -> Iterator[Mesh]:
    with closing(Mesh(tmp_path, issuer, users)) as mesh:
        yield mesh
