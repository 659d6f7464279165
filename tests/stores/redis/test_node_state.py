"""A node is disconnected, connected, retired or closed."""

import asyncio
from typing import Any

import pytest

from rls.errors import BackendError
from rls.stores.redis.node import State
from tests.counters import hit, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect


def state_of(node: Any) -> State:
    state: State = node.state
    return state


async def test_a_node_is_connected_as_long_as_there_is_a_connection(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    node: Any = backend.nodes[0]
    assert state_of(node) is State.DISCONNECTED
    await backend.ping()
    assert state_of(node) is State.CONNECTED
    own_server.kill()
    await until(lambda: state_of(node) is State.DISCONNECTED)
    own_server.start()
    await until_works(backend.ping)
    assert state_of(node) is State.CONNECTED
    await backend.aclose()
    assert state_of(node) is State.CLOSED
    assert node.is_closed


async def test_a_closed_node_fails_calls_at_once(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    await backend.ping()
    await backend.aclose()
    with pytest.raises(BackendError, match=r"^the backend is closed$"):
        backend.update([hit()]).send(None)


async def test_a_retired_node_answers_what_it_was_given(own_server: RedisServer, connect: Connect) -> None:
    """What is in flight, and what waits behind it; then it closes."""
    backend = connect(own_server.url)
    await until_works(backend.ping)
    node: Any = backend.nodes[0]
    own_server.suspend()
    sent = asyncio.create_task(backend.update([hit()]))
    await until(lambda: node.sender.in_flight is not None)
    waiting = asyncio.create_task(backend.update([hit()]))
    await until(lambda: node.sender.next_batch.is_scheduled)
    assert node.retire() == []
    assert state_of(node) is State.RETIRED
    own_server.resume()
    assert list(await sent) + list(await waiting) == [1, 1]
    await until(lambda: node.is_closed)


async def test_a_retired_node_that_has_nothing_to_do_closes(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    await until_works(backend.ping)
    node: Any = backend.nodes[0]
    await until(lambda: node.sender.is_idle)
    node.retire()
    assert state_of(node) is State.CLOSED


async def test_a_retired_node_closes_when_its_connection_is_lost(own_server: RedisServer, connect: Connect) -> None:
    """It does not connect again."""
    backend = connect(own_server.url)
    await until_works(backend.ping)
    node: Any = backend.nodes[0]
    own_server.suspend()
    call = asyncio.create_task(backend.update([hit()]))
    await until(lambda: node.sender.in_flight is not None)
    node.retire()
    own_server.kill()
    with pytest.raises(BackendError):
        await call
    await until(lambda: node.is_closed)


async def test_a_ttl_is_set_although_the_calls_beside_it_failed(own_server: RedisServer, connect: Connect) -> None:
    """And although no call follows: Redis was slow, and is back."""
    backend = connect(own_server.url, timeout_seconds=0.2)
    await until_works(backend.ping)
    node: Any = backend.nodes[0]
    one = hit()
    with own_server.client() as client:
        client.set(one.key, 1)
        own_server.suspend()
        call = asyncio.create_task(backend.update([hit()]))
        await until(lambda: node.sender.in_flight is not None)
        node.set_ttl(one)
        with pytest.raises(BackendError):
            await call
        own_server.resume()
        await until(lambda: client.ttl(one.key) > 0)
