"""Flow control (RFC 9113, section 5.2), both ways: what is sent fits, what waits is bounded, what is taken is given back."""

from __future__ import annotations

from hypothesis import given, strategies

from benches.frames import frame
from rls.transport.http2 import ConnectionLimits
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.limits import STREAM_BYTES
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
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
    rst_stream,
    settings,
    window_update,
)

WINDOW = 0x4


def credit(peer: Peer, stream: int = 0) -> int:
    """What we have given back so far of a window."""
    given_back = [other for other in peer.others if other[0] == WINDOW_UPDATE and other[2] == stream]
    return sum(int.from_bytes(payload, "big") for *_, payload in given_back)


# Out


def test_an_answer_waits_for_the_stream_s_window_and_goes_in_pieces():
    peer = Peer(values={WINDOW: 4})
    peer.send(call(1, payload=b"hello"))
    assert peer.response(1).data == message()[:4]

    peer.send(window_update(1, 3))
    assert peer.response(1).data == message()[:7]
    assert not peer.response(1).ended
    peer.send(window_update(1, 3))

    assert peer.response(1).messages == [b"hello"]
    assert peer.response(1).ended


def test_an_answer_waits_for_the_connection_s_window_the_longest_waiting_first():
    peer = Peer()
    peer.send(call(1, LATER), call(3, LATER), call(5, LATER))
    peer.connection.respond(1, bytes(65_530 - 5))

    peer.connection.respond(5, b"fifth")
    peer.connection.respond(3, b"third")
    peer.read()
    assert peer.response(1).ended
    assert len(peer.response(5).data) == 5
    assert peer.response(3).data == b""

    peer.send(window_update(0, 5))
    assert peer.response(5).messages == [b"fifth"]
    assert peer.response(3).data == b""
    peer.send(window_update(0, 10))
    assert peer.response(3).messages == [b"third"]


def test_the_window_of_one_stream_holds_no_other_up():
    peer = Peer(values={WINDOW: 100})
    peer.send(call(1, payload=bytes(200)))

    peer.send(call(3))

    assert not peer.response(1).ended
    assert peer.response(3).messages == [b"hello"]


def test_settings_open_and_shut_the_windows_of_streams_under_way():
    peer = Peer(values={WINDOW: 0})
    peer.send(call(1), call(3))
    assert (peer.response(1).data, peer.response(3).data) == (b"", b"")

    peer.send(settings((WINDOW, 3)))
    assert (peer.response(1).data, peer.response(3).data) == (message()[:3], message()[:3])
    peer.send(settings((WINDOW, 1)), window_update(1, 2))
    assert peer.response(1).data == message()[:3], "its window was -2"
    peer.send(window_update(1, 1), settings((WINDOW, 10)))

    assert peer.response(1).messages == peer.response(3).messages == [b"hello"]


def test_frames_are_no_larger_than_the_client_takes():
    for largest in (16_384, 20_000):
        peer = Peer(values={WINDOW: 1_000_000, 5: largest})
        peer.send(window_update(0, 1_000_000), call(1, LATER))

        peer.connection.respond(1, bytes(50_000))
        sent = peer.connection.data_to_send()

        sizes, at = [], 0
        while at < len(sent):
            size = int.from_bytes(sent[at : at + 3], "big")
            sizes += [size] if sent[at + 3] == 0 else []
            at += 9 + size
        assert max(sizes) == largest
        assert sum(sizes) == 50_005


def test_the_bytes_that_wait_are_bounded():
    peer = Peer(ConnectionLimits(max_waiting_bytes=20 * STREAM_BYTES), values={WINDOW: 0})

    peer.send(*(call(1 + 2 * i) for i in range(40)))

    reset = [stream for stream, response in peer.responses.items() if response.reset == ErrorCode.ENHANCE_YOUR_CALM]
    assert 20 <= len(reset) < 40
    assert len(peer.connection.streams) == 40 - len(reset)
    assert peer.goaways == []
    peer.send(settings((WINDOW, 65_535)))
    assert peer.works(101)


def test_a_part_is_sent_as_far_as_windows_allow_and_the_rest_when_they_open():
    peer = Peer(values={WINDOW: 10})
    peer.send(headers(1, fields(WATCH)), data(1, message()))
    call = peer.streams[1]

    call.send(bytes(60_000))
    peer.read()
    assert len(peer.response(1).data) == 10
    peer.send(window_update(1, 10))
    assert len(peer.response(1).data) == 20
    peer.send(window_update(1, 50_000))
    assert len(peer.response(1).data) == 50_020
    peer.send(settings((WINDOW, 100_000)))  # the connection's is the least now
    call.finish()
    assert peer.response(1).status is None
    peer.send(window_update(0, 100_000))
    assert peer.response(1).messages == [bytes(60_000)]
    assert peer.response(1).status == "0"
    assert peer.connection._waiting_bytes == 0


def test_a_stream_whose_client_takes_nothing_is_ended():
    peer = Peer(ConnectionLimits(answer_seconds=3), values={WINDOW: 0})
    peer.send(headers(1, fields(WATCH)), data(1, message()))
    peer.streams[1].send(b"hello")

    for _ in range(3):
        peer.tick(0.9)
        peer.send(window_update(1, 1))
        assert peer.response(1).reset is None
    peer.tick(0.9)

    assert peer.response(1).reset == ErrorCode.CANCEL
    assert peer.streams[1].was_lost == 1
    assert peer.connection.send_part(1, message()) == -1


def test_a_stream_may_wait_for_its_handler_as_long_as_it_likes():
    peer = Peer(ConnectionLimits(answer_seconds=3), values={WINDOW: 5})
    peer.send(headers(1, fields(WATCH)), data(1, message(), 0))
    for _ in range(3):
        peer.streams[1].send(b"")
        peer.read()
        peer.tick(10)
        peer.connection.receive(b"\0\0\0\x2a\0\0\0\0\0", peer.now)
        peer.send(window_update(1, 5))
    assert peer.response(1).messages == [b""] * 3


def test_what_a_handler_keeps_is_taken_off_its_window():
    peer = Peer()
    peer.send(headers(1, fields(WATCH)))
    body = message(bytes(9_995))
    for _ in range(6):
        peer.connection.keep(1, len(body))
        peer.send(data(1, body, 0))
    assert credit(peer, 1) == 0
    peer.send(data(1, body[:5_000], 0))  # all that the first window allows, nearly
    peer.tick(100)  # that the rest does not come is not the client's doing
    peer.connection.receive(b"\0\0\0\x2a\0\0\0\0\0", peer.now)
    assert peer.response(1).reset is None

    for _ in range(6):
        peer.connection.keep(1, -len(body))
    peer.read()
    assert credit(peer, 1) >= 25_000  # half of the window that is left: it is given in bulk
    peer.tick(3)
    assert peer.response(1).blocks == []
    peer.tick(3)
    assert peer.response(1).status == str(int(StatusCode.DEADLINE_EXCEEDED))


def test_an_answer_waits_only_so_long_however_little_of_it_is_read():
    peer = Peer(ConnectionLimits(answer_seconds=3), values={WINDOW: 0})
    peer.send(call(1))

    for _ in range(3):
        peer.tick(0.9)
        peer.send(window_update(1, 1))
        assert peer.response(1).reset is None
    peer.tick(0.9)

    assert peer.response(1).reset == ErrorCode.CANCEL
    peer.send(settings((WINDOW, 65_535)))
    assert peer.works(3)


def test_a_reset_frees_what_waited():
    peer = Peer(values={WINDOW: 0})
    peer.send(call(1), call(3))

    peer.send(rst_stream(1), rst_stream(3))

    assert peer.connection._waiting_bytes == 0
    assert not peer.connection._blocked
    assert not peer.connection.streams
    peer.send(settings((WINDOW, 65_535)))
    assert peer.works(5)


def test_frames_of_an_answer_that_waits_are_as_the_client_takes_them_by_then():
    peer = Peer(values={WINDOW: 0, 5: 100_000})
    peer.send(window_update(0, 1_000_000), call(1, LATER))
    peer.connection.respond(1, bytes(50_000))
    peer.read()

    peer.connection.receive(settings((5, 16_384)) + window_update(1, 50_005), 0.0)
    sent = peer.connection.data_to_send()

    assert sent.count(b"\0\x40\0\0\0\0\0\0\1") == 50_005 // 16_384


def test_windows_of_the_connection_that_let_nothing_go_on_are_paid_for():
    """Answers that wait for their streams' windows are looked at each time."""
    peer = Peer(values={WINDOW: 0})
    peer.send(*(call(1 + 2 * i) for i in range(200)))
    assert len(peer.connection._blocked) == 200

    peer.send(*[window_update(0, 1)] * 100, turns=1)

    assert peer.connection._send_window < 65_535 + 20


@given(
    strategies.integers(0, 40),
    strategies.lists(
        strategies.one_of(
            strategies.tuples(strategies.just("answer"), strategies.integers(0, 60)),
            strategies.tuples(strategies.just("stream"), strategies.integers(1, 30)),
            strategies.tuples(strategies.just("connection"), strategies.integers(1, 50)),
            strategies.tuples(strategies.just("settings"), strategies.integers(0, 80)),
        ),
        max_size=30,
    ),
)
def test_windows_are_never_passed_and_everything_arrives(window, moves):
    """Whatever the client does with its windows: we send no byte too many, and all bytes once there is room."""
    peer = Peer(values={WINDOW: window})
    windows: dict[int, int] = {}
    whole = 65_535
    current, stream = window, -1
    answers: dict[int, bytes] = {}
    highest: dict[int, int] = {}
    for move, amount in moves:
        if move == "answer":
            stream += 2
            windows[stream] = current
            answers[stream] = bytes(range(amount))
            peer.send(call(stream, payload=answers[stream]))
        elif move == "stream" and stream > 0:
            if not peer.response(stream).ended:
                windows[stream] += amount
            peer.send(window_update(stream, amount))
        elif move == "connection":
            whole += amount
            peer.send(window_update(0, amount))
        elif move == "settings":
            windows = {s: w + amount - current for s, w in windows.items()}
            current = amount
            peer.send(settings((WINDOW, amount)))
        highest = {s: max(room, highest.get(s, 0)) for s, room in windows.items()}
        for one, room in highest.items():
            assert len(peer.response(one).data) <= room
        assert sum(len(response.data) for response in peer.responses.values()) <= whole

    peer.send(settings((WINDOW, 65_535)))

    assert {s: peer.response(s).messages for s in answers} == {s: [answer] for s, answer in answers.items()}
    assert peer.goaways == []
    assert peer.connection._waiting_bytes == 0


# In


def test_the_connection_s_window_is_given_back_in_bulk():
    limits = ConnectionLimits(max_message_bytes=65_530)
    peer = Peer(limits)
    taken = 0
    stream = 1

    while taken < limits.connection_window // 2 - 2_000:
        peer.send(call(stream, payload=bytes(1_000)))
        taken += 1_005
        stream += 2
    assert credit(peer) == limits.connection_window - 65_535, "only what the preface says"
    peer.send(call(stream, payload=bytes(5_000)))

    assert credit(peer) == limits.connection_window - 65_535 + taken + 5_005


def test_calls_go_on_for_ever():
    limits = ConnectionLimits(max_message_bytes=65_530)
    peer = Peer(limits)
    window = limits.connection_window

    for i in range(1_000):
        peer.send(call(1 + 2 * i, payload=bytes(900)))
        window -= 905
        assert window + credit(peer) - (limits.connection_window - 65_535) > 0

    assert peer.goaways == []


def test_content_of_calls_that_are_over_is_given_back_on_the_connection_only():
    limits = ConnectionLimits(max_message_bytes=65_530, max_held_bytes=0)
    peer = Peer(limits)
    peer.send(
        headers(1, fields("/no/such")), headers(3, fields(content_length="1")), headers(5, fields(content_type="a/b"))
    )

    for _ in range(5):
        for stream in (1, 3, 5):
            peer.send(frame(0, PADDED, stream, b"\xff" + bytes(12_000)))

    assert peer.response(1).status == str(int(StatusCode.UNIMPLEMENTED))
    assert peer.response(3).reset == ErrorCode.PROTOCOL_ERROR
    assert peer.goaways == []
    assert credit(peer) > limits.connection_window - 65_535 + 90_000
    assert credit(peer, 1) == credit(peer, 3) == 0
    assert credit(peer, 5) > 30_000, "it is answered when it ends"


def test_what_is_held_is_not_given_back_before_it_is_used():
    limits = ConnectionLimits(max_message_bytes=65_530, max_held_bytes=0)
    peer = Peer(limits)
    start = limits.connection_window - 65_535
    half = b"\0\0\0\xff\xfa" + bytes(10_000)
    for stream in range(1, 49, 2):
        peer.send(headers(stream, fields(LATER)), data(stream, half, 0))
    assert peer.connection._held == 24 * len(half)
    assert credit(peer) == start

    peer.send(*(rst_stream(stream) for stream in range(1, 49, 2)))

    assert peer.connection._held == 0
    assert credit(peer) == start + 24 * len(half)


def test_a_stream_s_window_is_kept_to():
    peer = Peer(ConnectionLimits(max_message_bytes=65_530, max_concurrent_streams=100))
    body = b"\0\0\0\xff\xfa" + bytes(16_379)

    peer.send(headers(1, fields(LATER)), *(data(1, body[:16_384], 0) for _ in range(4)))

    assert peer.response(1).reset == ErrorCode.FLOW_CONTROL_ERROR
    assert peer.works(3)


def test_a_streaming_call_gets_its_window_back():
    peer = Peer(ConnectionLimits(max_message_bytes=65_530))
    peer.send(headers(1, fields(STREAM)), settings((WINDOW, 2**31 - 1)), window_update(0, 2**30))

    for _ in range(30):
        peer.send(data(1, message(bytes(10_000)), 0))

    assert credit(peer, 1) >= 300_150 - 65_535
    assert len(peer.response(1).messages) == 30
