"""What time does to a connection: deadlines, keepalive, and the two steps of a drain (RFC 9113, section 6.8)."""

from __future__ import annotations

import gc
import weakref

import pytest

from benches.frames import frame
from rls.transport.http2 import Connection, ConnectionLimits, ConnectionState
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.lifetime import Lifetime
from rls.transport.status import StatusCode
from tests.transport.http2.peer import (
    ACK,
    END_HEADERS,
    HEADERS,
    LATER,
    PING,
    PREFACE,
    SETTINGS,
    STREAM,
    WATCH,
    Peer,
    call,
    data,
    fields,
    headers,
    message,
    settings,
    window_update,
)
from tests.transport.http2.shell import ROUTES

MAX = 2**31 - 1
FOREVER = ConnectionLimits(keepalive_seconds=1e9, idle_seconds=1e9)


def pings(peer: Peer) -> list[bytes]:
    return [payload for kind, flags, _, payload in peer.others if kind == PING and not flags & ACK]


@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\0"])
def test_a_preface_has_its_time(sent):
    peer = Peer(greet=False, now=100)
    peer.send(sent)
    assert peer.connection.next_deadline == 105

    peer.tick(4.9)
    assert not peer.connection.is_closed
    peer.tick(0.2)

    assert peer.connection.error == (ErrorCode.PROTOCOL_ERROR, "no preface in time")


def test_settings_must_be_acknowledged():
    peer = Peer(acknowledge=False)

    peer.tick(9.9)
    assert peer.works(1)
    peer.tick(0.2)

    assert peer.code == ErrorCode.SETTINGS_TIMEOUT


@pytest.mark.parametrize("path", [LATER, "/echo/Unary"])
@pytest.mark.parametrize("sent", [b"", b"\0\0", message()[:-1], message()])
def test_a_unary_request_has_its_time(path, sent):
    peer = Peer()
    peer.send(headers(1, fields(path)), data(1, sent, 0) if sent else b"")

    peer.tick(4.9)
    assert not peer.response(1).ended
    peer.tick(0.2)

    assert peer.response(1).status == str(int(StatusCode.DEADLINE_EXCEEDED))
    assert peer.response(1).reset == 0
    assert peer.works(3)


def test_a_request_that_is_refused_has_its_time_too():
    peer = Peer()
    peer.send(headers(1, fields(content_type="text/html")))

    peer.tick(5.1)

    assert peer.response(1).ended
    assert not peer.connection.streams


def test_a_message_of_a_streaming_call_has_its_time_from_its_own_beginning():
    peer = Peer()
    peer.send(headers(1, fields(STREAM)))
    peer.tick(3_000)
    peer.send(data(1, message()[:3], 0))

    peer.tick(4)
    peer.send(data(1, message()[3:] + message()[:3], 0))
    peer.tick(4)
    assert not peer.response(1).ended
    peer.tick(1.1)

    assert peer.response(1).status == str(int(StatusCode.DEADLINE_EXCEEDED))
    assert peer.streams[1].was_lost == 1


def test_a_call_that_is_being_answered_has_all_the_time_that_its_handler_takes():
    peer = Peer(FOREVER)
    peer.send(call(1, LATER))

    peer.tick(1_000)

    assert peer.connection.respond(1, b"at last")


def test_a_silent_connection_is_asked_whether_it_is_alive():
    peer = Peer()

    peer.tick(59)
    assert pings(peer) == []
    peer.tick(2)
    assert len(pings(peer)) == 1
    peer.send(frame(PING, ACK, 0, pings(peer)[0]))
    peer.tick(59)
    assert len(pings(peer)) == 1
    peer.tick(2)
    peer.tick(20)

    assert len(pings(peer)) == 2
    assert peer.connection.is_closed
    assert peer.connection.error is None


def test_a_connection_without_calls_is_closed_after_its_time():
    peer = Peer(ConnectionLimits(idle_seconds=100, keepalive_seconds=1e9))
    peer.send(headers(1, fields(WATCH)))
    peer.tick(150)
    assert not peer.connection.is_closed
    peer.connection.finish(1)
    peer.tick(0)

    peer.tick(60)
    peer.send(call(3))
    peer.tick(60)
    peer.tick(99)
    assert peer.goaways == []
    peer.tick(2)
    assert peer.goaways == [(MAX, ErrorCode.NO_ERROR)]
    peer.tick(2)

    assert peer.goaways[1:] == [(3, ErrorCode.NO_ERROR)]
    assert peer.connection.is_drained
    assert peer.connection.error is None


def test_a_connection_is_freed_without_the_garbage_collector():
    connection = Connection(ROUTES, ConnectionLimits(), 0)
    connection.receive(PREFACE + settings() + call(1) + headers(3, fields(STREAM)) + data(3, message(), 0), 0)
    connection.receive(headers(5) + data(1, b"after the end"), 0)
    assert connection.streams
    connection.lost()
    alive = weakref.ref(connection)
    gc.disable()
    try:
        del connection
        gone = alive() is None
    finally:
        gc.enable()

    assert gone


def test_the_next_deadline_is_when_tick_does_something():
    peer = Peer(values={4: 0})
    assert peer.connection.next_deadline == 60
    peer.tick(10)
    peer.send(call(1))
    assert peer.connection.next_deadline == 15
    peer.tick(2)
    peer.send(headers(3))
    assert peer.connection.next_deadline == 15
    peer.tick(3)
    assert peer.response(1).reset == ErrorCode.CANCEL
    assert peer.connection.next_deadline == 17
    peer.send(b"\0")
    assert peer.connection.next_deadline == 17
    peer.tick(2)
    assert peer.connection.next_deadline == 20


# Drain


def test_a_drain_takes_two_steps():
    peer = Peer()
    peer.send(call(1, LATER))

    peer.connection.drain(peer.now)
    peer.connection.drain(peer.now)
    peer.read()
    assert peer.goaways == [(MAX, ErrorCode.NO_ERROR)]
    assert len(pings(peer)) == 1
    assert peer.connection.state is ConnectionState.DRAINING

    peer.send(call(3, LATER), frame(PING, ACK, 0, pings(peer)[0]))
    assert peer.goaways[1:] == [(3, ErrorCode.NO_ERROR)]
    peer.send(call(5, LATER))
    assert [stream for stream, *_ in peer.calls] == [1, 3]
    assert not peer.connection.is_drained

    peer.connection.respond(1, b"")
    peer.connection.respond(3, b"")
    peer.read()
    assert peer.response(3).status == "0"
    assert peer.connection.is_drained


def test_the_second_step_waits_no_longer_than_its_time():
    peer = Peer()
    peer.send(call(1))
    peer.connection.drain(peer.now)

    peer.tick(0.9)
    assert peer.goaways == [(MAX, 0)]
    peer.tick(0.2)

    assert peer.goaways == [(MAX, 0), (1, 0)]
    assert peer.connection.is_drained


def test_what_comes_after_a_drain_s_last_word_is_ignored_and_keeps_the_decoder_right():
    peer = Peer(acknowledge=False)
    peer.connection.drain(0)
    peer.tick(1.1)

    insert = b"\x83\x86\x44\x0c/echo/Unary1\x7a\x01x"
    peer.send(frame(HEADERS, END_HEADERS, 1, insert), data(1, message(), 0), data(1, b""), window_update(1, 5))
    peer.send(frame(HEADERS, END_HEADERS, 3, b"\xbe"), frame(3, 0, 3, bytes(4)), headers(1, [("x", "y")], 1))

    assert peer.goaways == [(MAX, 0), (0, 0)]
    assert peer.responses == {}
    assert peer.calls == []
    peer.send(frame(HEADERS, END_HEADERS, 5, b"\xc9"))
    assert peer.code == ErrorCode.COMPRESSION_ERROR


def test_a_watch_holds_a_drain_up_until_its_handler_ends_it():
    peer = Peer()
    peer.send(headers(1, fields(WATCH)), data(1, message()))
    peer.connection.drain(0)
    peer.tick(1.1)
    assert not peer.connection.is_drained

    peer.connection.fail(1, StatusCode.UNAVAILABLE, "the server stops")
    peer.read()

    assert peer.connection.is_drained


def test_a_drain_waits_for_answers_that_wait_for_windows():
    peer = Peer(values={4: 3})
    peer.send(call(1))
    peer.connection.drain(0)
    peer.tick(1.1)
    assert not peer.connection.is_drained

    peer.send(settings((4, 100)))

    assert peer.response(1).messages == [b"hello"]
    assert peer.connection.is_drained


@pytest.mark.parametrize("sent", [b"", PREFACE])
def test_a_connection_that_has_not_begun_is_drained_at_once(sent):
    peer = Peer(greet=False)
    peer.send(sent)

    peer.connection.drain(0)
    peer.read()

    assert peer.goaways == [(0, 0)]
    assert peer.connection.is_drained
    peer.connection.drain(0)
    peer.tick(100)
    assert len(peer.goaways) == 1


def test_nothing_is_sent_after_the_end():
    peer = Peer()
    peer.send(call(1, LATER), data(0, b""))
    assert peer.connection.is_closed

    peer.tick(1_000)
    peer.send(call(3))

    assert peer.connection.data_to_send() == b""
    assert len(peer.goaways) == 1
    assert [other for other in peer.others if other[0] == SETTINGS][1:] == [(SETTINGS, ACK, 0, b"")]


@pytest.mark.parametrize("kind", ["messages", "answers"])
def test_calls_that_are_overdue_together_are_ended_in_one_pass(kind, monkeypatch):
    """To look at all of them for each of them took most of a second."""
    passes = 0
    deadlines = Lifetime._deadlines

    def counted(self):
        nonlocal passes
        passes += 1
        return deadlines(self)

    monkeypatch.setattr(Lifetime, "_deadlines", counted)
    peer = Peer(values={4: 0})
    streams = range(1, 401, 2)
    for stream in streams:
        peer.send(call(stream) if kind == "answers" else headers(stream) + data(stream, b"\0", 0))

    peer.tick(6)

    assert not peer.connection.streams
    assert passes <= 3
