"""What all transports make of streaming calls. See `rls.transport.handler` for what is promised."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from rls.errors import BackendError, RequestError
from rls.transport.base import Dropped, ServerLimits
from rls.transport.handler import Bidirectional, Call, ServerStreaming, StreamingCall
from rls.transport.status import Aborted, StatusCode
from tests.transport.conftest import until
from tests.transport.raw import RawClient, call_headers, message

CHAT, COUNT, ECHO = "/t.S/Chat", "/t.S/Count", "/t/echo"
OK, CANCELLED, DEADLINE_EXCEEDED = 0, 1, 4
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14
MANY = 300


class Chat:
    """Sends each message back as it comes, and remembers how its calls ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.received: list[bytes] = []
        self.ended: list[str] = []

    async def __call__(self, call: StreamingCall) -> None:
        self.begun += 1
        try:
            async for received in call:
                self.received.append(received)
                await call.send(received)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("ended")


async def count(call: StreamingCall) -> None:
    """Sends as many messages as the request says, of as many bytes as it says."""
    number, size = map(int, call.message.split())
    for i in range(number):
        await call.send(b"%d" % i if not size else bytes(size))


async def echo(call: Call) -> bytes:
    return call.message


@contextlib.asynccontextmanager
async def channel_to(address: str) -> AsyncIterator[Any]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def test_bidirectional_call_answers_while_its_caller_sends(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat)})
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=30)
        for i in range(MANY):
            await call.write(b"%d" % i)
            assert await call.read() == b"%d" % i
        assert chat.ended == []
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert chat.ended == ["ended"]


async def test_messages_that_come_together_come_in_their_order(serve):
    served = await serve({CHAT: Bidirectional(Chat())})
    sent = [b"%d" % i for i in range(MANY)]
    async with RawClient.connect(served.address) as client:
        response = await client.ask(CHAT, b"".join(map(message, sent)), grpc_timeout="30S")
    assert (response.grpc_status, response.messages) == (OK, sent)


async def test_handler_may_send_before_it_receives_and_after_the_caller_has_sent_all(serve):
    async def greet(call: StreamingCall) -> None:
        await call.send(b"hello")
        received = [one async for one in call]
        assert await call.receive() is None
        await call.send(b"%d" % len(received))

    served = await serve({CHAT: Bidirectional(greet)})
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=30)
        assert await call.read() == b"hello"
        for _ in range(3):
            await call.write(b"x")
        await call.done_writing()
        assert await call.read() == b"3"
        assert await call.code() is grpc.StatusCode.OK


async def test_tasks_of_a_handler_may_send_while_it_receives(serve):
    async def push(call: StreamingCall) -> None:
        async def often() -> None:
            for _ in range(MANY):
                await call.send(b"pushed" * 100)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(often())
            async for received in call:
                await call.send(received)

    served = await serve({CHAT: Bidirectional(push)})
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=30)
        for _ in range(MANY):
            await call.write(b"asked")
        await call.done_writing()
        received = [one async for one in call]
    assert (received.count(b"asked"), received.count(b"pushed" * 100)) == (MANY, MANY)


async def test_server_streaming_call_sends_many_messages(serve):
    served = await serve({COUNT: ServerStreaming(count)})
    async with channel_to(served.address) as channel:
        received = [one async for one in channel.unary_stream(COUNT)(b"%d 0" % MANY, timeout=30)]
    assert received == [b"%d" % i for i in range(MANY)]


async def test_handler_that_sends_nothing_ends_its_call(serve):
    served = await serve({COUNT: ServerStreaming(count)})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(COUNT, message(b"0 0"))
    assert (response.grpc_status, response.messages) == (OK, [])


@pytest.mark.parametrize("size", [70_000, 1_048_576])
async def test_large_messages_go_both_ways(serve, size):
    """They are larger than the windows of HTTP/2."""
    served = await serve({CHAT: Bidirectional(Chat())})
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=60)
        for i in range(5):
            await call.write(bytes([i]) * size)
            assert await call.read() == bytes([i]) * size
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_send_waits_for_a_client_that_does_not_read(serve):
    sent = 0

    async def pour(call: StreamingCall) -> None:
        nonlocal sent
        for _ in range(MANY):
            await call.send(bytes(10_000))
            sent += 1

    served = await serve({COUNT: ServerStreaming(pour), ECHO: echo})
    settings = {SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}
    async with RawClient.connect(served.address, settings) as client:
        stream = client.call(COUNT, message(b""), grpc_timeout="30S")
        await until(lambda: len(client.responses[stream].data) == 65_535)
        for _ in range(5):  # the others go on
            assert (await client.ask(ECHO, message(b""))).grpc_status == OK
        assert 5 <= sent < 20
        client.write(WindowUpdateFrame(stream, window_increment=2**30))
        response = await client.response(stream)
    assert (response.grpc_status, [len(one) for one in response.messages]) == (OK, [10_000] * MANY)


async def test_client_is_not_read_from_faster_than_the_handler_receives(serve):
    go = asyncio.Event()
    received = 0

    async def wait(call: StreamingCall) -> None:
        nonlocal received
        await go.wait()
        async for one in call:
            received += len(one)

    served = await serve({CHAT: Bidirectional(wait)})
    written = 0
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=60)

        async def pour() -> None:
            nonlocal written
            for _ in range(MANY):
                await call.write(bytes(50_000))
                written += 1
            await call.done_writing()

        pouring = asyncio.create_task(pour())
        await stands_still(lambda: written)
        assert 0 < written < MANY
        go.set()
        await pouring
        assert await call.code() is grpc.StatusCode.OK
    assert received == MANY * 50_000


async def stands_still(read):
    """Wait until what *read* returns has not changed for a while."""
    before, same = read(), 0
    while same < 20:
        await asyncio.sleep(0.02)
        now = read()
        same = same + 1 if now == before and now else 0
        before = now


async def test_caller_that_cancels_ends_its_handler(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat), ECHO: echo})
    async with channel_to(served.address) as channel:
        call = channel.stream_stream(CHAT)(timeout=30)
        await call.write(b"x")
        assert await call.read() == b"x"
        call.cancel()
        await until(lambda: chat.ended == ["cancelled"])
        assert await channel.unary_unary(ECHO)(b"y", timeout=30) == b"y"


async def test_connection_that_is_lost_ends_its_handlers(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat)})
    async with RawClient.connect(served.address) as client:
        for _ in range(5):
            client.call(CHAT, message(b"x"), end=False, grpc_timeout="30S")
        await until(lambda: len(chat.received) == 5)
    await until(lambda: chat.ended == ["cancelled"] * 5)


async def test_handler_ends_at_the_deadline(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat)})
    async with RawClient.connect(served.address) as client:
        stream = client.call(CHAT, message(b"x"), end=False, grpc_timeout="300m")
        response = await client.response(stream)
        assert response.grpc_status == DEADLINE_EXCEEDED or response.reset is not None  # grpc's core resets it
        await until(lambda: chat.ended == ["cancelled"])


@pytest.mark.parametrize("sent", [0, 1, 3])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError("no"), 3),
        (BackendError("Redis"), UNAVAILABLE),
        (Aborted(StatusCode.NOT_FOUND, "no such"), 5),
        (ValueError("secret"), INTERNAL),
        (asyncio.CancelledError(), UNAVAILABLE),
    ],
    ids=repr,
)
async def test_error_of_the_handler_ends_its_call_after_what_it_has_sent(serve, sent, error, status):
    async def fail(call: StreamingCall) -> None:
        for i in range(sent):
            await call.send(b"%d" % i)
        raise error

    served = await serve({CHAT: Bidirectional(fail), ECHO: echo})
    async with RawClient.connect(served.address) as client:
        stream = client.call(CHAT, message(b"x"), end=False, grpc_timeout="30S")
        response = await client.response(stream)
        assert (response.grpc_status, response.messages) == (status, [b"%d" % i for i in range(sent)])
        assert "secret" not in response.blocks[-1].get("grpc-message", "")
        assert (await client.ask(ECHO, message(b"y"))).messages == [b"y"]


async def test_calls_of_one_method_are_bounded_and_leave_room_for_other_connections(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat, max_calls=16)})
    async with RawClient.connect(served.address) as greedy, RawClient.connect(served.address) as other:
        streams = [greedy.call(CHAT, message(b"x"), end=False, grpc_timeout="30S") for _ in range(20)]
        await until(lambda: sum(greedy.responses[stream].ended.is_set() for stream in streams) == 6)
        refused = [greedy.responses[stream] for stream in streams if greedy.responses[stream].ended.is_set()]
        assert [response.grpc_status for response in refused] == [RESOURCE_EXHAUSTED] * 6
        assert served.dropped == [Dropped.STREAM] * 6
        assert chat.begun == 14
        stream = other.call(CHAT, message(b"y"), grpc_timeout="30S")
        assert (await other.response(stream)).messages == [b"y"]


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "open"])
async def test_streams_end_when_the_server_drains(serve, ends):
    async def stay(call: StreamingCall) -> None:
        await call.send(b"hello")
        await asyncio.Event().wait()

    served = await serve({CHAT: Bidirectional(stay)})
    async with RawClient.connect(served.address) as client:
        stream = client.call(CHAT, message(b"x"), end=ends, grpc_timeout="30S")
        await until(lambda: client.responses[stream].messages)
        await served.transport.aclose()
        response = await client.response(stream)
    assert response.grpc_status == UNAVAILABLE


async def test_streams_take_no_permit_from_calls(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat), ECHO: echo}, limits=ServerLimits(max_concurrency=2))
    async with RawClient.connect(served.address) as client:
        for _ in range(10):
            client.call(CHAT, message(b"x"), end=False, grpc_timeout="30S")
        await until(lambda: len(chat.received) == 10)
        for _ in range(5):
            assert (await client.ask(ECHO, message(b"y"))).messages == [b"y"]


@pytest.mark.parametrize(
    ("chunks", "statuses"),
    [
        ((b"",), {UNIMPLEMENTED}),
        ((message(b"1 0") + message(b"1 0"),), {UNIMPLEMENTED, OK}),  # grpc reads the first
        ((b"\0\0\0",), {INTERNAL, UNIMPLEMENTED}),
    ],
    ids=["no message", "two messages", "half a prefix"],
)
async def test_server_streaming_call_needs_one_message(serve, chunks, statuses):
    served = await serve({COUNT: ServerStreaming(count)})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(COUNT, *chunks, grpc_timeout="30S")
        assert response.grpc_status in statuses
        assert (await client.ask(COUNT, message(b"1 0"))).messages == [b"0"]


async def test_bidirectional_handler_begins_before_a_message_comes(serve):
    chat = Chat()
    served = await serve({CHAT: Bidirectional(chat)})
    async with RawClient.connect(served.address) as client:
        stream = client.headers(call_headers(CHAT, grpc_timeout="30S"))
        await until(lambda: chat.begun)
        client.data(stream, b"", end=True)
        response = await client.response(stream)
    assert (response.grpc_status, response.messages) == (OK, [])
