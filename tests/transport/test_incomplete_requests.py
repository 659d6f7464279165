import asyncio
import time

import pytest

from rls.transport.base import Dropped, ServerLimits
from rls.transport.handler import Call
from rls.transport.incomplete_requests import IncompleteRequests
from rls.transport.status import Aborted, StatusCode
from tests.transport.conftest import until
from tests.transport.raw import RawClient, call_headers, message

ECHO = "/t/echo"
HELLO = message(b"hello")


async def echo(call: Call) -> bytes:
    return call.message


class Calls:
    """Calls that wait for their rest, each in a task, and the futures of the rests."""

    def __init__(self, at_most: int, at_most_seconds: float = 60) -> None:
        self.dropped: list[Dropped] = []
        self.half_sent = IncompleteRequests(at_most, at_most_seconds, on_drop=self.dropped.append)
        self.rests: list[asyncio.Future[bytes]] = []
        self.tasks: list[asyncio.Task[bytes]] = []

    async def begin(self, connection: str = "one") -> None:
        rest = asyncio.get_running_loop().create_future()
        self.rests.append(rest)
        self.tasks.append(asyncio.create_task(self.half_sent.wait(connection, rest)))
        await asyncio.sleep(0)


async def test_call_gets_what_comes():
    calls = Calls(1)
    await calls.begin()
    calls.rests[0].set_result(b"rest")
    assert await calls.tasks[0] == b"rest"


async def test_call_that_waited_longest_gives_way():
    calls = Calls(2)
    for _ in range(4):
        await calls.begin()
    for task in calls.tasks[:2]:
        with pytest.raises(Aborted) as raised:
            await asyncio.wait_for(task, 10)
        assert raised.value.code is StatusCode.RESOURCE_EXHAUSTED
    assert calls.dropped == [Dropped.INCOMPLETE] * 2
    for rest in calls.rests[2:]:
        rest.set_result(b"rest")
    assert await asyncio.gather(*calls.tasks[2:]) == [b"rest", b"rest"]


@pytest.mark.parametrize("kept", [(0, 4, 5), (4, 5)])
async def test_call_of_a_connection_that_has_fewer_gives_way_later(kept):
    calls = Calls(len(kept))
    for connection in ("fair", "greedy", "other", "greedy", "greedy", "other"):
        await calls.begin(connection)
    for i in sorted({*range(6)} - {*kept}):
        with pytest.raises(Aborted) as raised:
            await asyncio.wait_for(calls.tasks[i], 10)
        assert raised.value.code is StatusCode.RESOURCE_EXHAUSTED
    for i in kept:
        calls.rests[i].set_result(b"rest")
        assert await calls.tasks[i] == b"rest"


async def test_new_calls_of_a_greedy_connection_push_out_none_of_another():
    calls = Calls(5)
    await calls.begin("fair")
    until_half_sent = asyncio.create_task(until(lambda: calls.half_sent.count == 1))
    while not until_half_sent.done():
        for _ in range(10):
            await calls.begin("greedy")
        await asyncio.sleep(0.02)
        for rest in calls.rests[1:]:
            if not rest.done():
                rest.set_result(b"rest")
    calls.rests[0].set_result(b"rest")
    assert await calls.tasks[0] == b"rest"
    assert calls.dropped == []


async def test_call_to_which_nothing_comes_ends():
    calls = Calls(1, at_most_seconds=0.01)
    await calls.begin()
    with pytest.raises(Aborted) as raised:
        await asyncio.wait_for(calls.tasks[0], 10)
    assert raised.value.code is StatusCode.DEADLINE_EXCEEDED


async def test_call_that_is_complete_makes_room():
    calls = Calls(1)
    for _ in range(3):
        await calls.begin()
        calls.rests[-1].set_result(b"rest")
        assert await calls.tasks[-1] == b"rest"


async def test_call_that_its_caller_cancels_is_cancelled():
    calls = Calls(1)
    await calls.begin()
    calls.tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls.tasks[0]


@pytest.mark.parametrize(
    "sent", [None, HELLO[:3], HELLO[:7]], ids=["headers", "part of the prefix", "part of the message"]
)
async def test_half_sent_calls_beyond_the_limit_keep_no_other_from_being_served(serve, kind, sent):
    served = await serve({ECHO: echo}, limits=ServerLimits(max_concurrency=20))
    async with RawClient.connect(served.address) as hostile, RawClient.connect(served.address) as client:
        for _ in range(5):
            streams = [hostile.headers(call_headers(ECHO, grpc_timeout="10S")) for _ in range(15)]
            for stream in streams:
                if sent is not None:
                    hostile.data(stream, sent)
            await hostile.writer.drain()
            await until_served(client)
        if kind == "native":  # its half-sent calls take no place of others, so none has to give way
            assert StatusCode.RESOURCE_EXHAUSTED not in statuses(hostile)
        else:
            await until(lambda: statuses(hostile).count(StatusCode.RESOURCE_EXHAUSTED) > 20)


async def test_half_sent_call_is_kept_where_another_connection_has_many(serve, kind):
    if kind == "native":
        pytest.skip("its half-sent calls have a bound in bytes")
    served = await serve({ECHO: echo}, limits=ServerLimits(max_concurrency=20))
    async with RawClient.connect(served.address) as fair, RawClient.connect(served.address) as greedy:
        stream = fair.call(ECHO, HELLO[:7], end=False, grpc_timeout="10S")
        await fair.ask(ECHO, HELLO, grpc_timeout="10S")  # so the first call has come
        for _ in range(30):
            greedy.call(ECHO, HELLO[:7], end=False, grpc_timeout="10S")
        await until(lambda: statuses(greedy).count(StatusCode.RESOURCE_EXHAUSTED) >= 26)
        assert not fair.responses[stream].blocks


def statuses(client: RawClient) -> list[int | None]:
    return [response.grpc_status for response in client.responses.values()]


async def test_call_whose_message_is_there_is_not_cut_off_for_a_loop_that_stood_still():
    """Nor does one give way that has not had the time to be looked at."""
    calls = Calls(1, at_most_seconds=0.5)
    for _ in range(3):
        await calls.begin()
        time.sleep(0.6)  # noqa: ASYNC251 - the loop is to stand still
    for rest in calls.rests:
        rest.set_result(b"rest")
    assert await asyncio.gather(*calls.tasks) == [b"rest"] * 3
    assert calls.dropped == []


async def until_served(client: RawClient) -> None:
    """At once, or as soon as those that came before have given way."""
    async with asyncio.timeout(10):
        while (await client.ask(ECHO, HELLO, grpc_timeout="10S")).messages != [b"hello"]:
            pass


async def test_call_that_is_never_completed_is_cut_off(serve):
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        stream = client.call(ECHO, HELLO[:7], end=False, grpc_timeout="60S")
        await until(client.responses[stream].ended.is_set)
        assert client.responses[stream].grpc_status == StatusCode.DEADLINE_EXCEEDED
