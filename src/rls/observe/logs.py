"""Logs: one line for each event that an operator needs, none for each request."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, TextIO, cast

import structlog

from rls.core.overrides import Override
from rls.engine.events import Observer, RulesLoaded, RulesRejected, StoreFailed
from rls.errors import Diagnostic
from rls.observe.seldom import Seldom, SeldomFilter
from rls.printable import printable, printable_line
from rls.utc import utc

Log = structlog.typing.FilteringBoundLogger
MAX_LISTED = 100
"""Errors, warnings and files that one load logs; the rest is counted."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(
    level: Literal["debug", "info", "warning", "error"], form: Literal["text", "json"], stream: TextIO | None = None
) -> Log:
    """The log of a server: lines on *stream*, stderr by default; coloured only where that is a terminal.

    What libraries log through the standard library from WARNING on appears in the same form, but what they log again and
    again, only now and then.
    """
    stream = cast("TextIO", _Lossy(sys.stderr if stream is None else stream))
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [structlog.processors.add_log_level, stamp, _shown]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0, pad_level=False)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(SeldomFilter(Seldom()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    )
    return log


class _Lossy:
    """A stream that drops what cannot be written, as to a full disk or to a terminal that is gone: the server goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a ValueError where it is closed
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


class _Quotable(str):
    """Printable text, which the renderers may put in quotes but need not escape again."""

    __slots__ = ()

    def __repr__(self) -> str:
        if "'" not in self:
            return f"'{self}'"
        escaped = self.replace('"', '\\"')
        return f'"{escaped}"'


def _shown(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Timestamp, level and event first; all texts printable; an error with its traceback."""
    error = event.pop("exc_info", None)
    ordered = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    # What begins with `_` is no text, but structlog's own.
    ordered |= {key: value if key.startswith("_") else _value(value) for key, value in event.items()}
    if "event" in ordered:
        ordered["event"] = _value(ordered["event"])
    if isinstance(error, bool):
        error = sys.exc_info() if error else None
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        ordered["exception"] = _traceback(error)
    return ordered


def _value(value: Any) -> Any:
    """*value* with all its texts printable; values that JSON lacks become texts."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_value(str(key)): _value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(one) for one in value]
    return _Quotable(printable(str(value)))


def _traceback(error: BaseException) -> str:
    """The traceback without values of variables, since some are passwords. No line of it looks like a log line."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "\n".join(f"  {printable_line(line)}" for line in lines)


class EventLog(Observer):
    """Logs the limiter's events; an `Observer`. Events of every request are logged rarely."""

    def __init__(self, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._every_second, self._every_minute = Seldom(1, clock=clock), Seldom(60, clock=clock)

    def store_failed(self, event: StoreFailed) -> None:
        """The backend failed to count a request. If a policy answers it, `backend_unavailable` was logged before."""
        if event.answered:
            return
        left_out = self._every_second.due("backend_failed")
        if left_out is not None:
            self._log.error(
                "backend_failed",
                reason=event.reason,
                domain=event.plan.domain,
                seconds=round(event.request.seconds, 6),
                more_since_last=left_out,
            )

    def backend_changed(self, reason: str) -> None:
        """The backend has begun to fail for *reason*, or with "" has recovered."""
        if reason:
            self._log.warning("backend_unavailable", reason=reason)
        else:
            self._log.info("backend_recovered")

    def override_ignored(self, domain: str, reason: str) -> None:
        """A limit that a request brings cannot be enforced: logged once a minute at most."""
        left_out = self._every_minute.due("override_ignored")
        if left_out is not None:
            self._log.warning("override_ignored", reason=reason, domain=domain, more_since_last=left_out)

    def unknown_domain(self, domain: str) -> None:
        """A request names a *domain* without rules, so nothing limits it: logged once a minute at most."""
        left_out = self._every_minute.due("unknown_domain")
        if left_out is not None:
            self._log.warning("unknown_domain", domain=domain, more_since_last=left_out)

    def source_failed(self, failure: str, error: BaseException) -> None:
        """A source of rules failed with *error*."""
        self._log.error("rule_source_failed", reason=failure, exc_info=error)

    def rules_loaded(self, event: RulesLoaded) -> None:
        """New rules are in force."""
        for one in event.ended:
            self._log.info("override_ended", **_fields_of(one), revision=event.rules.revision)
        for one in event.began:
            self._log.info("override_began", **_fields_of(one), revision=event.rules.revision)
        if not event.is_load:
            return
        self._list_problems(event.diagnostics)
        changes, rules = event.changes, event.rules.size()
        for change in changes.warnings:
            place = f"{change.rule.place}: " if change.rule.place else ""
            self._log.warning("rules_warning", warning=f"{place}{change.warning}")
        # Where every rule is new, as at the start, the numbers say it all.
        listed = {} if changes.added == rules else {"changes": [str(change) for change in changes.listed]}
        log = self._log.warning if event.diagnostics else self._log.info
        log(
            "rules_loaded",
            revision=event.rules.revision,
            domains=len(event.rules.domains),
            rules=rules,
            added=changes.added,
            changed=changes.changed,
            removed=changes.removed,
            stricter=changes.stricter,
            **listed,
            files=list(event.files[:MAX_LISTED]),
            errors=len(event.diagnostics),
            **_more("more_files", event.files),
        )

    def rules_rejected(self, event: RulesRejected) -> None:
        """A configuration has mistakes."""
        self._list_problems(event.diagnostics)
        self._log.error("rules_rejected", errors=len(event.diagnostics))

    def rules_warned(self, warnings: Sequence[Diagnostic]) -> None:
        """A configuration has parts that are accepted but probably mistakes."""
        for warning in warnings[:MAX_LISTED]:
            self._log.warning("rules_warning", warning=str(warning))
        if more := _more("more_warnings", warnings):
            self._log.warning("rules_warning", warning="and more: see rls check", **more)

    def _list_problems(self, problems: Sequence[Diagnostic]) -> None:
        for problem in problems[:MAX_LISTED]:
            self._log.error("rules_error", error=str(problem))
        if more := _more("more_errors", problems):
            self._log.error("rules_error", error="and more: see rls check", **more)


def _fields_of(override: Override) -> dict[str, str]:
    """What the log says of an override."""
    return {
        "override": override.id,
        "domain": override.domain,
        "rule": override.rule,
        "entries": override.entries_text,
        "limit": override.limit.text,
        "until": utc(override.until),
        "author": override.author,
        "why": override.reason,
    }


def _more(name: str, items: Sequence[object]) -> dict[str, int]:
    """The number of unlisted *items* under the key *name*; empty if all are listed."""
    return {name: len(items) - MAX_LISTED} if len(items) > MAX_LISTED else {}
