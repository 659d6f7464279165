"""The errors of `rls`. The type says who is at fault; attributes say how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RlsError(Exception):
    """An expected failure, with a text for users. Any other exception is a bug."""


class SourceLocation(NamedTuple):
    """A place in a configuration file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Diagnostic(NamedTuple):
    """One mistake in a configuration: its place, what is wrong and what was expected."""

    place: SourceLocation
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigError(RlsError):
    """Mistakes in the rules' YAML, in the order of their places."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


class SettingsError(RlsError):
    """Flags or variables that cannot be used; *args* has a line for each mistake."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UnusableSetting(SettingsError):
    """The value of a setting is of no use, as a file that cannot be read.

    Attributes:
        setting: Its name.
    """

    def __init__(self, setting: str, text: str) -> None:
        super().__init__(text)
        self.setting = setting


class Stopped(RlsError):
    """A part of the service ended by itself and stopped the service."""


class RequestError(RlsError):
    """A request that no rules could answer: the caller's fault (gRPC INVALID_ARGUMENT)."""


class NotLoaded(RlsError):
    """No rules have been loaded yet (gRPC UNAVAILABLE)."""


class BackendError(RlsError):
    """The backend did not count (gRPC UNAVAILABLE, unless a policy decides).

    Attributes:
        counts: If some hits were counted: one item for each hit, None for each that was not. Empty if none was.
        in_doubt: Whether hits without a count may have been counted anyway: they were sent, and no reply came.
    """

    def __init__(self, message: str, *, counts: Sequence[int | None] = (), in_doubt: bool = False) -> None:
        super().__init__(message)
        self.counts = counts
        self.in_doubt = in_doubt


class TimedOut(BackendError):
    """No answer in time, for an unknown cause."""


class CounterRefused(BackendError):
    """The backend counts, but not on these counters: a key holds no number, or the user may not read or refund."""


class NoRoom(BackendError):
    """A bounded store has no room for a new counter, since it must not evict others for it. Retrying does not help."""


def origin(error: BaseException) -> str:
    """Where *error* was raised, as `file.py:12`: says whose fault it is, without values that its text may hold."""
    last = error.__traceback__
    if last is None:
        return "an unknown place"
    while last.tb_next is not None:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}"
