"""HTTP/2 for gRPC, the server's side: bytes in, calls out, bytes out. No socket, no clock, no task, no lock.

RFC 9113 and 7541 as far as they concern a server without push, and gRPC's PROTOCOL-HTTP2.md. Whoever owns the socket is
the *shell*. It keeps one `Connection` for each socket, and times are its own, in seconds, of a clock that never goes back::

    connection = Connection(routes, limits, now, wake)  # wake(connection): there is something to send
    transport.write(connection.data_to_send())          # our SETTINGS

    def data_received(data):                            # at most some 256 KiB
        if connection.receive(data, now, waited):       # handlers are called meanwhile
            pause_reading(), and call_soon(go_on)       # go_on: receive(b"", now) until it returns False, then resume
        transport.write(connection.data_to_send())
        if connection.is_drained: transport.close()     # then log connection.error, if there is one

- `receive` takes a turn of about 64 calls, or fewer that cost more, and returns whether there is more to do at once.
  Nothing is raised, whatever comes: an error of the client ends its call or its connection, an exception of a handler its
  call. *waited* is how long the loop has been busy: calls that were reset meanwhile are not held against the client.
- `data_to_send` is all that has come up since it was last called, in one piece. `wake` is called when something comes up
  outside `receive`, once until it is fetched: the shell notes the connection, and writes all it has noted at the end of
  the loop's turn. What the transport has not been able to send is the shell's to bound: it stops reading while that is
  much (then no new calls come), and gives the connection up, by `lost`, when it stays so.
- `tick(now)` about once a second, for every connection: deadlines, keepalive, the second step of a drain. Write and look
  at `is_drained` afterwards. `next_deadline` says when it will have something to do.
- `drain(now)` for the end of the server or the age of the connection: GOAWAY in two steps, calls in flight are answered,
  then `is_drained`. Streaming calls are ended by their handlers. `lost()` when the transport is gone.
- `calls` and `streams` say how much is under way, `handed_over` how many of the streams are like calls.
- One `Memory` for all connections of a server bounds what messages that are not whole hold together. With one
  `SharedPatterns`, new connections begin with what others have learned of field blocks.

*routes* maps a path to `Unary(handler)` or `Streaming(handler)`; handlers see a connection as a `Responder`.

- Unary: `handler(connection, stream_id, request, message, now)` when the request is whole. It answers by
  `connection.respond(stream_id, message)` or `fail(stream_id, code, text)`, now or at any later time. Both return False
  where the caller is gone, which is how a handler learns of it: identifiers are never used again. To shed a call is to
  `fail` it at once: nothing has been decoded.
- Streaming: `handler(connection, stream_id, request, now)` when the call begins returns a `Receiver`, which is given
  messages, the end, and `lost`. It answers by `send_part`, which sends what the client's windows allow, and by `finish` or
  `fail`. It tells by `keep` what it has not handled yet: the client may send so much less.
- `request.head` has path and timeout, read once for all requests like it; `request.value(name)` and `request.fields`
  decode the metadata when asked for it. Deadlines are the handler's: *now* plus `request.head.timeout`.
- `connection.end_turn()` makes `receive` return after the present call.

How it is made, from the bottom: `frames`, `errors`, `limits` (every bound, with its reason); `fields` (is a list
well-formed?), `huffman`, `literals`, `patterns`, `blocks` (field blocks, recognized when they come again); `grpc`, `messages`,
`responses` (gRPC's mapping); then one connection in layers, each a class that adds to the one before: `streams` (how they
end), `outgoing` (answers and their flow control), `control` (SETTINGS, PING, WINDOW_UPDATE...), `incoming` (messages that are
not whole, and the windows that we give), `requests` (DATA and HEADERS, in full), `lifetime` (time), `connection` (`receive`,
and the flat path of a usual call: HEADERS that came before, and all of its DATA in one frame).
"""

from rls.transport.http2.connection import Connection
from rls.transport.http2.errors import ErrorCode
from rls.transport.http2.handler import Receiver, Responder, Routes, StreamHandler, Streaming, Unary, UnaryHandler
from rls.transport.http2.limits import ConnectionLimits, Rate
from rls.transport.http2.memory import Memory
from rls.transport.http2.patterns import SharedPatterns
from rls.transport.http2.request import Head, Request
from rls.transport.http2.stream import ConnectionState

__all__ = [
    "Connection",
    "ConnectionLimits",
    "ConnectionState",
    "ErrorCode",
    "Head",
    "Memory",
    "Rate",
    "Receiver",
    "Request",
    "Responder",
    "Routes",
    "SharedPatterns",
    "StreamHandler",
    "Streaming",
    "Unary",
    "UnaryHandler",
]
