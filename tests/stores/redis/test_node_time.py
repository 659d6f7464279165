"""Which time counts as Redis's: not that for which this process was busy, nor that for which a batch waited for others."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.counters import PATIENT, hit, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect

TIMEOUT = 1.0
Busy = Callable[[Callable[[], None]], None]


@pytest.fixture
def in_a_handler() -> Iterator[Busy]:
    """Calls a function as the handler of a socket: after the loop has polled, and before it looks at its timers."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):

        def call(function: Callable[[], None]) -> None:
            def handle() -> None:
                asyncio.get_running_loop().remove_reader(ours)
                function()

            asyncio.get_running_loop().add_reader(ours, handle)
            theirs.send(b"x")

        yield call


async def test_replies_that_came_while_another_handler_kept_the_loop_are_read_first(
    own_server: RedisServer, connect: Connect, in_a_handler: Busy
) -> None:
    """They are there, unread, when the time is found to be up."""
    backend = connect(own_server.url, timeout_seconds=TIMEOUT)
    await until_works(backend.ping)
    one = hit()
    own_server.suspend()
    call = asyncio.create_task(backend.update([one]))
    await until(lambda: backend._node.sender.in_flight is not None)

    def keep_the_loop() -> None:
        own_server.resume()
        with own_server.client() as client:
            while client.get(one.key) != b"1":
                pass
            client.ping()  # whose reply is written after the one to the call
        time.sleep(1.1 * TIMEOUT)

    in_a_handler(keep_the_loop)
    assert list(await call) == [1]
    assert backend._node.error is None


async def test_a_batch_that_waited_has_half_of_the_time_once_it_is_sent(
    own_server: RedisServer, connect: Connect
) -> None:
    """However little of its own is left: Redis is not found down for the time that the batch before it took."""
    backend = connect(own_server.url)
    await until_works(backend.ping)
    own_server.suspend()
    sent = asyncio.create_task(backend.update([hit()]))
    await until(lambda: backend._node.sender.in_flight is not None)
    pending = backend._node.sender.next_batch
    waiting = asyncio.create_task(backend.update([hit()]))
    await until(lambda: pending.is_scheduled)
    now = asyncio.get_running_loop().time()
    pending.deadline = now  # as if it had come `PATIENT` seconds ago
    own_server.resume()
    assert list(await sent) + list(await waiting) == [1, 1]
    assert now + PATIENT / 2 <= pending.deadline <= asyncio.get_running_loop().time() + PATIENT / 2
