"""Messages whose frames take turns: each comes whole or is shed at once, whatever their number, sizes and order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from benches.frames import frame
from rls.transport.http2 import ConnectionLimits, Memory
from rls.transport.http2.limits import STREAM_BYTES
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    DATA,
    LATER,
    PADDED,
    STREAM,
    WATCH,
    WINDOW_UPDATE,
    Peer,
    call,
    data,
    fields,
    headers,
    message,
    number,
    rst_stream,
)
from tests.transport.http2.sender import Sender, large

MIB = 1_048_576
OK = "0"
SHED = str(int(StatusCode.RESOURCE_EXHAUSTED))
LATE = str(int(StatusCode.DEADLINE_EXCEEDED))


class Shed:
    """Counts calls that are shed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def updates(peer: Peer, stream: int) -> int:
    return sum(kind == WINDOW_UPDATE and of == stream for kind, _, of, _ in peer.others)


def statuses(peer: Peer) -> list[str | None]:
    return [peer.response(stream).status for stream in sorted(peer.responses)]


def at_rest(peer: Peer) -> None:
    """Nothing is held, counted or promised, and the client has its window, or more than half of it."""
    connection = peer.connection
    assert (connection._held, connection._granted, connection._outstanding, connection.handed_over) == (0, 0, 0, 0)
    assert not connection._incomplete
    assert not connection._in_line
    assert connection._memory.held == 0
    assert connection._receive_window >= peer.limits.connection_window // 2


@pytest.mark.parametrize("count", [4, 16, 64])
def test_large_messages_in_turns_all_come_whole(count):
    peer, sizes = Peer(), [MIB - i for i in range(count)]
    sender = Sender(peer)
    for stream, payload in large(sizes).items():
        sender.begin(stream, payload, LATER)

    sender.send_in_turns()

    assert statuses(peer) == [OK] * count
    assert [len(one) for _, _, one in peer.calls] == sizes, "in the order in which they began"
    at_rest(peer)


def test_of_more_large_messages_than_there_is_room_for_the_newest_are_shed():
    shed = Shed()
    peer = Peer(memory=Memory(2**30, shed))
    sender = Sender(peer)
    for stream, payload in large([MIB] * 300).items():
        sender.begin(stream, payload, LATER)

    sender.send_in_turns()

    found = statuses(peer)
    assert found == [OK] * found.count(OK) + [SHED] * shed.count
    assert len(found) == 300
    assert found.count(OK) >= 80
    at_rest(peer)


def test_messages_that_fit_in_their_windows_do_not_use_up_the_connection_s():
    peer = Peer()
    sender = Sender(peer)
    for stream, payload in large([60_000] * 1_000).items():
        sender.begin(stream, payload, LATER)

    sender.send_in_turns()

    found = statuses(peer)
    assert found.count(OK) + found.count(SHED) == 1_000
    assert found.count(OK) >= 8_388_608 // 65_536
    at_rest(peer)


@pytest.mark.parametrize(("size", "given"), [(0, 0), (900, 0), (60_000, 0), (65_530, 0), (65_531, 1), (MIB, 1)])
def test_only_a_message_longer_than_the_window_needs_another_which_comes_with_its_first_frame(size, given):
    peer = Peer()
    sender = Sender(peer)
    sender.begin(1, message(bytes(size)), LATER)

    sender.send(1)
    assert updates(peer, 1) == given
    assert not given or sender.window_of(1) >= size + 5 - 16_384
    sender.send_in_turns()

    assert statuses(peer) == [OK]
    assert updates(peer, 1) == given
    at_rest(peer)


def test_padding_uses_up_no_window_for_good():
    peer = Peer()
    sender = Sender(peer)
    for stream, payload in large([300_000, 100_000]).items():
        sender.begin(stream, payload, LATER)

    while able := sender.able():
        for stream in able:
            sender.send(stream, 90, padding=255)

    sender.able()
    assert statuses(peer) == [OK, OK]
    assert updates(peer, 1) < 100, "not for every frame"
    at_rest(peer)


def test_padding_may_leave_room_for_no_byte_of_the_last_one():
    peer = Peer()
    payload = message(bytes(65_530))
    peer.send(headers(1, fields(LATER)), *(data(1, payload[at : at + 16_000], 0) for at in range(0, 64_000, 16_000)))
    peer.send(data(1, payload[64_000:65_278], 0))

    peer.send(frame(DATA, PADDED, 1, b"\0" + payload[65_278:65_534]))

    assert updates(peer, 1) == 1
    peer.send(data(1, payload[65_534:]))
    assert len(peer.calls) == 1


def test_content_that_is_thrown_away_keeps_no_client_waiting():
    """A client that is not of gRPC is answered when it has sent all."""
    peer = Peer()
    peer.send(headers(1, fields(content_type="a/b")))
    sender = Sender(peer)
    sender.left[1], sender._windows[1] = bytes(500_000), 65_535

    sender.send_in_turns()

    assert peer.response(1).blocks[0][":status"] == "415"
    assert peer.response(1).ended
    at_rest(peer)


@pytest.mark.parametrize("path", [LATER, STREAM])
def test_message_that_waits_for_others_in_vain_is_told_so_and_theirs_that_they_are_late(path):
    shed = Shed()
    peer = Peer(ConnectionLimits(message_seconds=3), memory=Memory(2**30, shed))
    for stream in (1, 3, 5, 7):
        peer.send(headers(stream, fields(path)), data(stream, b"\0" + number(MIB) + bytes(16_000), 0))
    assert [stream.granted > 0 for stream in peer.connection.streams.values()] == [True, True, False, False]

    peer.tick(3.1)

    assert statuses(peer) == [LATE, LATE, SHED, SHED]
    assert shed.count == 2
    at_rest(peer)


def test_message_that_waited_has_its_time_from_then_on():
    peer = Peer(ConnectionLimits(message_seconds=3))
    sender = Sender(peer)
    for stream, payload in large([MIB, MIB, MIB]).items():
        sender.begin(stream, payload, LATER)
        sender.send(stream)
    peer.tick(2)
    while 1 in sender.left:
        sender.send(1)
        sender.able()

    peer.tick(2)
    assert peer.response(3).status == LATE
    sender.send_in_turns()

    sender.able()

    assert peer.response(5).status == OK
    at_rest(peer)


def test_room_is_made_for_the_message_whose_turn_it_is():
    """A longer one than the message before, while short ones have taken what was left."""
    shed = Shed()
    limits = ConnectionLimits(max_message_bytes=200_000, max_held_bytes=0)
    peer = Peer(limits, memory=Memory(2**30, shed))
    sender = Sender(peer)
    for stream, payload in large([70_000, 200_000]).items():
        sender.begin(stream, payload)
    sender.send(1)
    while 3 in sender.able():
        sender.send(3)
    for stream, payload in list(large([60_000] * 13).items())[2:]:
        sender.begin(stream, payload)
        while len(sender.left[stream]) > 1_000:
            sender.send(stream, min(16_384, len(sender.left[stream]) - 1_000))
            sender.able()
    connection = peer.connection
    assert connection._granted == 70_005
    assert shed.count == 0

    while 1 in sender.left:
        sender.send(1)
        sender.able()

    assert connection._granted == 200_005
    assert connection._held + connection._outstanding <= limits.held_bytes
    assert [peer.response(stream).status for stream in (1, 3, 23, 25)] == [OK, None, None, SHED]
    sender.send_in_turns()
    sender.able()
    assert statuses(peer) == [OK] * 12 + [SHED] * shed.count
    at_rest(peer)


def test_message_that_can_wait_for_its_window_costs_no_other_its_place():
    shed = Shed()
    peer = Peer(ConnectionLimits(max_message_bytes=200_000, max_held_bytes=0), memory=Memory(2**30, shed))
    sender = Sender(peer)
    messages = large([70_000, *[60_000] * 11, 100_000])
    for stream, payload in messages.items():
        sender.begin(stream, payload)
    sender.send(1)
    for stream in list(messages)[1:-1]:
        while len(sender.left[stream]) > 1_000:
            sender.send(stream, min(16_384, len(sender.left[stream]) - 1_000))
            sender.able()

    while 25 in sender.able():
        sender.send(25)

    assert len(sender.left[25]) == 100_005 - 65_535
    assert shed.count == 0
    sender.send_in_turns()
    sender.able()
    assert statuses(peer) == [OK] * 13
    at_rest(peer)


@pytest.mark.parametrize("end", ["time", "reset", "handler"])
def test_window_of_the_connection_comes_back_though_its_client_can_send_no_more(end):
    """Where nothing is read any more, nothing else gives it back."""
    limits = ConnectionLimits(max_message_bytes=100_000, max_held_bytes=0)
    peer = Peer(limits)
    held = b"\0" + number(50_000) + bytes(16_000)
    streams = range(1, 1 + 2 * (limits.held_bytes // len(held)), 2)
    for stream in streams:
        peer.send(headers(stream, fields(STREAM)), data(stream, held, 0))
    assert len(peer.connection.streams) == len(streams)
    before = peer.connection._receive_window
    assert before < limits.connection_window // 2

    if end == "time":
        peer.tick(6)
    elif end == "reset":
        peer.send(*map(rst_stream, streams))
    else:
        for stream in streams:
            peer.connection.finish(stream)
        peer.read()

    at_rest(peer)
    assert updates(peer, 0) > 1


def test_call_that_is_finished_in_the_middle_of_a_message_holds_nothing():
    """Though the client has not taken what was sent before."""
    peer = Peer(values={4: 0})
    peer.send(headers(1, fields(STREAM)), data(1, message(b"hello") + b"\0" + number(50_000) + bytes(9_000), 0))
    assert peer.connection._held == 9_005

    peer.connection.finish(1)

    assert not peer.connection.streams
    assert not peer.connection._blocked
    assert peer.connection._held == peer.connection._memory.held == 0


SIZES = strategies.one_of(
    strategies.integers(0, 2_000), strategies.integers(50_000, 80_000), strategies.integers(0, 200_000)
)


@settings(max_examples=40, deadline=None)
@given(
    strategies.lists(strategies.tuples(SIZES, strategies.sampled_from([LATER, WATCH])), min_size=1, max_size=30),
    strategies.randoms(use_true_random=False),
    strategies.sampled_from([0, 0, 255]),
)
def test_any_client_that_keeps_to_its_windows_gets_on(calls, random, padding):
    shed = Shed()
    limits = ConnectionLimits(max_message_bytes=200_000, max_held_bytes=0)
    peer = Peer(limits, memory=Memory(2**30, shed))
    peer.send(*([] if random.random() < 0.5 else [call(1)]))
    sender = Sender(peer)
    begun = []
    for i, (size, path) in enumerate(calls):
        begun.append((101 + 2 * i, message(bytes(size)) * (1 if path == LATER else random.randrange(1, 4)), path))
    begun.reverse()
    ended = 0

    while begun or sender.left:
        able = sender.able()
        if begun and (not able or random.random() < 0.3):
            sender.begin(*begun.pop())
            continue
        assert able or not sender.left, "nobody may send, and calls are not over"
        if not able:
            continue
        stream = random.choice(able)
        if random.random() < 0.02:
            peer.send(rst_stream(stream))
            del sender.left[stream]
            ended += 1
        else:
            size = random.choice((200, 16_384, 16_384, random.randrange(1, 16_384)))
            sender.send(stream, size, padding if random.random() < 0.3 else 0)
        assert peer.connection._held <= limits.held_bytes
        assert peer.connection._held == sum(stream.held for stream in peer.connection.streams.values())
        assert peer.connection._held + peer.connection._outstanding <= limits.held_bytes

    sender.able()
    found = [peer.response(101 + 2 * i).status for i in range(len(calls))]
    assert found.count(OK) + found.count(SHED) + ended == len(calls)
    assert found.count(SHED) == shed.count
    assert peer.goaways == []
    at_rest(peer)


# Over all connections


def part(size: int) -> bytes:
    """HEADERS and the beginning of a message."""
    return headers(1, fields(LATER)) + data(1, b"\0" + number(MIB) + bytes(size), 0)


def taken(peer: Peer) -> int:
    """Bytes that the memory has counted."""
    return peer.connection._held + STREAM_BYTES * len(peer.connection._incomplete)


def test_connections_together_hold_no_more_than_is_allowed():
    shed = Shed()
    memory = Memory(1_000_000, shed)
    peers = [Peer(memory=memory) for _ in range(200)]

    for peer in peers:
        peer.send(part(15_000))
        assert memory.held <= 1_000_000
        assert memory.held == sum(map(taken, peers))
        assert not peer.works(3) or peer.response(3).messages == [b"still there"]

    for peer in peers:
        peer.read()
    gone = [peer for peer in peers if peer.response(1).status is not None]
    assert {peer.response(1).status for peer in gone} == {SHED}
    assert len(gone) == shed.count >= 130
    assert all(peer.works(5) for peer in peers)
    for peer in peers:
        peer.tick(6)
    assert memory.held == 0
    assert not memory._by_holder
    assert not memory._classes


def test_connection_that_holds_most_is_shed_first_and_the_newest_of_its_calls():
    memory = Memory(1_000_000)
    greedy, modest = Peer(memory=memory), Peer(memory=memory)
    modest.send(part(15_000))
    for i in range(100):
        stream = 1 + 2 * i
        greedy.send(headers(stream, fields(LATER)), data(stream, b"\0" + number(50_000) + bytes(15_000), 0))

    assert modest.response(1).status is None
    kept = [stream for stream in range(1, 201, 2) if greedy.response(stream).status is None]
    assert kept[:50] == list(range(1, 101, 2))
    assert memory.held <= 1_000_000
    modest.send(data(1, bytes(16_000), 0))
    assert modest.connection._held == 31_005


def test_connections_that_hold_most_are_shed_in_turn():
    memory = Memory(1_000_000)
    peers = [Peer(memory=memory), Peer(memory=memory), Peer(memory=memory)]
    for peer, count in zip(peers, (5, 32, 40), strict=True):
        for stream in range(1, 1 + 2 * count, 2):
            peer.send(headers(stream, fields(LATER)), data(stream, b"\0" + number(50_000) + bytes(15_000), 0))

    few, some, most = [peer.connection._held // 15_005 for peer in peers]
    assert few == 5
    assert some < 32
    assert abs(most - some) <= 1


def test_few_calls_are_shed_at_a_time_however_little_they_hold():
    """Each takes as long as a call."""
    shed = Shed()
    memory = Memory(2_000_000, shed)
    peers = [Peer(memory=memory), Peer(memory=memory)]
    for peer in peers:
        peer.send(*(headers(stream, fields(LATER)) + data(stream, b"\0", 0) for stream in range(1, 2_001, 2)))
    before = shed.count

    peers[1].send(headers(3_001, fields(LATER)), data(3_001, b"\0" + number(50_000) + bytes(16_000), 0))

    assert 0 < shed.count - before <= 17
    for peer in peers:
        peer.connection.lost()
    assert (memory.held, memory._by_holder, memory._classes) == (0, {}, {})


def test_message_that_is_shed_as_it_comes_leaves_nothing_behind():
    peer = Peer(memory=Memory(30_000))
    for stream in (1, 3, 5):
        peer.send(headers(stream, fields(LATER)), data(stream, b"\0" + number(MIB) + bytes(16_000), 0))
        peer.send(data(stream, bytes(16_000), 0))

        assert peer.response(stream).status == SHED
        at_rest(peer)
    assert peer.works(7)


def test_call_that_is_shed_by_another_connection_s_reading_is_sent_its_status():
    memory = Memory(100_000)
    greedy, other = Peer(memory=memory), Peer(memory=memory)
    greedy.send(
        *(headers(s, fields(LATER)) + data(s, b"\0" + number(30_000) + bytes(16_000), 0) for s in (1, 3, 5, 7, 9))
    )
    wakes = greedy.wakes

    other.send(headers(1, fields(LATER)), data(1, b"\0" + number(30_000) + bytes(16_000), 0))
    other.send(headers(3, fields(LATER)), data(3, b"\0" + number(30_000) + bytes(16_000), 0))

    assert greedy.wakes == wakes + 1
    greedy.read()
    assert greedy.response(9).status == SHED
    assert greedy.response(1).status is None
    assert other.response(1).status is None


def test_memory_is_given_back_when_connections_are_lost_or_fail():
    memory = Memory(1_000_000)
    peers = [Peer(memory=memory) for _ in range(20)]
    for peer in peers:
        peer.send(part(15_000))

    for i, peer in enumerate(peers):
        if i % 2:
            peer.connection.lost()
        else:
            peer.send(data(0, b""))

    assert memory.held == 0
    assert not memory._by_holder
    assert not memory._classes
