"""The moment in which a server says that it takes no more calls."""

from __future__ import annotations

import asyncio

PAUSE = 0.005
"""Seconds in which callers that get no answer come to wait for one, and in which they hear of the end."""


class DrainGate:
    """Holds answers back, so that callers hear first that they must not go on here.

    A caller that has many calls in flight sends the next one when it gets an answer. If that crosses the server's
    GOAWAY on its way, it is lost, and with it, as the connection is reset, maybe answers that are on their way back.

    Attributes:
        held: What an answer has to wait for; None, nearly always, if for nothing.
    """

    def __init__(self) -> None:
        self.held: asyncio.Future[None] | None = None

    def hold(self) -> None:
        """Hold answers back from now on."""
        self.held = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Let them go."""
        held, self.held = self.held, None
        if held is not None:
            held.set_result(None)
