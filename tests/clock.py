"""A clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds: of the epoch where what is tested wants these."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now
