"""What the h2 package makes of a client's frames."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from benches.frames import FRAME
from rls.transport.http2.errors import ErrorCode
from tests.transport.http2.peer import RST_STREAM

MAX_STREAMS = 4


class Outcome(NamedTuple):
    """The first thing that went wrong with a frame.

    Attributes:
        scope: What it ends: "connection", a stream by its number, or "nothing".
        code: The error code's name.
        why: What the implementation says about it.
    """

    scope: str
    code: str = ""
    why: str = ""


NOTHING = Outcome("nothing")


def outcome(stream: int, code: int, why: str = "") -> Outcome:
    name = ErrorCode(code).name if code in ErrorCode._value2member_map_ else str(code)
    return Outcome(f"stream {stream}" if stream else "connection", name, why)


class Oracle:
    """A server of h2 that answers nothing, and gives the windows that we give."""

    def __init__(self, preface: bytes) -> None:
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.connection.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS}
        )
        self.connection.initiate_connection()
        self.connection.receive_data(preface)
        self.connection.data_to_send()

    def give(self, stream: int, increment: int) -> None:
        """Give the client a window that we gave it."""
        with contextlib.suppress(ProtocolError):
            self.connection.increment_flow_control_window(increment, stream or None)
        self.connection.data_to_send()

    def receive(self, data: bytes) -> Outcome:
        """Take one frame."""
        try:
            self.connection.receive_data(data)
        except ProtocolError as error:
            return outcome(0, error.error_code, f"{type(error).__name__}: {error}")
        sent = self.connection.data_to_send()
        at = 0
        while at < len(sent):
            high, low, kind, _, stream = FRAME.unpack_from(sent, at)
            if kind == RST_STREAM:
                return outcome(stream, int.from_bytes(sent[at + 9 : at + 13], "big"))
            at += 9 + (high << 16 | low)
        return NOTHING
