"""Holds answers back while clients hear that the server drains."""

from __future__ import annotations

import asyncio

PAUSE = 0.005
"""Seconds in which callers that get no answer come to wait for one, and in which they hear of the end."""


class DrainGate:
    """Holds answers back, so that callers hear first that they must not go on here.

    A caller that has many calls in flight sends the next one when it gets an answer. If that crosses the server's
    GOAWAY on its way, it is lost, and with it, as the connection is reset, maybe answers that are on their way back.

    Attributes:
        closed: What an answer has to wait for; None, nearly always, if the gate is open.
    """

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Hold answers back from now on."""
        self.closed = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Let them go."""
        closed, self.closed = self.closed, None
        if closed is not None:
            closed.set_result(None)
