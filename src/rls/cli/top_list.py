"""A recorded list of `/api/v1/top`, and what rules make of its rates."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from rls.core.model import Entry
from rls.file_kinds import kind_of
from rls.sources.disk import demand_no_device

if TYPE_CHECKING:
    from rls.engine.effects import Comparison, Refusal

_SECONDS = 10
_MOST_BYTES = 16 << 20


def recorded(source: str, comparison: Comparison) -> Sequence[Refusal]:
    """What *comparison* makes of each row of the list at *source*, a file or a URL; those refused most come first.

    Rows for which no limit holds are left out.

    Raises:
        ValueError: There is no such list; with the reason.
    """
    text = _text(source)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"it is {kind_of(text)}, expected an answer of /api/v1/top, which is JSON") from None
    try:
        by, rows = found["by"], found["rows"]
        if by == "near":
            raise ValueError("it is ordered by `near`, and has no rates: expected by=hits or by=refused")
        refusals = [
            comparison.refusal(
                row["domain"],
                [Entry(entry["key"], entry["value"]) for entry in row["entries"]],
                float(row["per_second"]),
                refused_only=by != "hits",
            )
            for row in rows
        ]
    except (KeyError, TypeError):
        raise ValueError("it is no answer of /api/v1/top: `by`, or a field of `rows`, is missing") from None
    return sorted((one for one in refusals if one is not None), key=_most_refused)


def _most_refused(one: Refusal) -> Any:
    return -one.after, -one.per_second, one.entries


def _text(source: str) -> bytes:
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=_SECONDS) as answer:  # noqa: S310 - HTTP, as the line above says
                text: bytes = answer.read(_MOST_BYTES)
                return text
        demand_no_device(source)
        return Path(source).read_bytes()
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise ValueError(f"it cannot be read: {reason}") from None
