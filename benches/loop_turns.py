"""How long the turns of a server's loop take, as it tells in `rls_loop_turn_seconds`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from examples.mesh.http import ask

TURNS = (0.001, 0.0025, 0.005, 0.01)
"""Bounds of the histogram that reports show, in seconds."""

_BUCKET = re.compile(r'^rls_loop_turn_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


def loop_turns(http: int) -> dict[str, int]:
    """Turns that were sampled so far by the upper bound of their length in seconds, of the server with this HTTP port."""
    page = ask(http, "/metrics").body.decode()
    numbers, before = {}, 0.0
    for bound, number in _BUCKET.findall(page):
        numbers[bound], before = int(float(number) - before), float(number)
    return numbers


def longer_than(turns: Mapping[str, int], seconds: float) -> int:
    """How many of *turns* took longer than *seconds*, a bound of the histogram."""
    return sum(number for bound, number in turns.items() if float(bound) > seconds)
