"""The errors of `rls`, and nothing else: who is at fault is the type, what to do about it is an attribute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RlsError(Exception):
    """An expected failure: its text is for users. Anything else that is raised is a bug."""


class SourceLocation(NamedTuple):
    """Where in a configuration something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Diagnostic(NamedTuple):
    """One mistake in a configuration: where it stands, what is wrong and what was expected."""

    place: SourceLocation
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigError(RlsError):
    """One or more mistakes in the rules' YAML, in the order of their places."""

    def __init__(self, problems: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class SettingsError(RlsError):
    """Flags or environment variables that cannot be used: *args* holds a line for each mistake."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class Stopped(RlsError):
    """A part of the service ended on its own, and the service with it."""


class RequestError(RlsError):
    """A request that no configuration could answer: the caller's fault (gRPC INVALID_ARGUMENT)."""


class NotLoaded(RlsError):
    """No rules have been loaded yet (gRPC UNAVAILABLE)."""


class BackendError(RlsError):
    """Counters could not be had (gRPC UNAVAILABLE, where no policy answers in their place).

    Attributes:
        counts: Where some could be had all the same: one for each hit, None for those that could not. Empty where none
            could.
        in_doubt: Whether hits without a count may have been counted all the same: they were sent, and no reply came.
    """

    def __init__(self, message: str, *, counts: Sequence[int | None] = (), in_doubt: bool = False) -> None:
        super().__init__(message)
        self.counts = counts
        self.in_doubt = in_doubt


class TimedOut(BackendError):
    """No answer came in time, which does not say why."""


class CounterRefused(BackendError):
    """The backend counts, but not on these counters: a key holds no number, or our user lacks a right to look or give back."""


class NoRoom(BackendError):
    """A bounded store has no room for a new counter, since it must not forget others for it. Asking again does not help."""
