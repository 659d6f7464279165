"""What all tests share; fixtures live with the tests that use them, but for servers that take long to start."""

import os
import signal
from collections.abc import Iterator

import pytest
import uvloop
from hypothesis import settings

from examples.mesh import processes
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_sentinel import Sentinels, running_sentinels
from tests.redis_server import newest_binary

# No deadline for an example: on a busy machine a slow one is no failure.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# A shell ignores SIGINT for what it runs in the background, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests stop servers and start them again: no other worker may take their ports meanwhile, nor what a test starts.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
processes.PORTS = processes.Ports(range(12_000 + 2_000 * _WORKER, 14_000 + 2_000 * _WORKER))


# Coverage doubles what a server takes to start and to answer. What the servers of these tests run, others run as well.
_UNMEASURED = {"alerts", "dashboards", "differential", "e2e", "integration", "k8s", "mesh"}
_MEASURE = "COVERAGE_PROCESS_CONFIG"
_MEASURED = os.environ.get(_MEASURE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the processes that a test starts be measured, or not."""
    if _MEASURED is not None:
        if _UNMEASURED.isdisjoint(item.path.parts):
            os.environ[_MEASURE] = _MEASURED
        else:
            os.environ.pop(_MEASURE, None)


# Files whose tests mostly wait. Begun last, one of them would keep a worker busy when all others are done.
_SLOW = ("e2e", "integration", "hostile", "page")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with slow files."""
    items.sort(key=lambda item: not any(part in item.path.parts for part in _SLOW))


def pytest_asyncio_loop_factories(config, item):
    """The loop that the service runs in."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster that all tests of a worker share: no test may maltreat it."""
    with running_cluster(RedisCluster(tmp_path_factory.mktemp("cluster"), newest_binary())) as started:
        yield started


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A primary and its sentinels that all tests of a worker share: no test may maltreat them."""
    with running_sentinels(Sentinels(tmp_path_factory.mktemp("sentinels"), newest_binary())) as started:
        yield started
