"""What somebody may have meant who wrote a name that there is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches

MOST_SHOWN = 5
"""Names that a message lists."""
_CLOSE = 3
_LONGEST = 100
"""Characters of a name that are compared: the time grows with their square."""
_CHUNK = 5


def either(words: Collection[str]) -> str:
    """*words* as a choice: `a`, `a or b`, `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def closest(given: str, known: Iterable[str]) -> list[str]:
    """Those of *known* that are close to *given*, the closest first."""
    *_, found = narrowing(given, known)
    return found


def narrowing(given: str, known: Iterable[str]) -> Iterator[list[str]]:
    """`closest` in small steps, for a server with many names: what was found up to each of them."""
    given, close, chunk = given[:_LONGEST], list[str](), list[str]()
    for name in known:
        if len(name) <= _LONGEST:
            chunk.append(name)
        if len(chunk) == _CHUNK:
            close = get_close_matches(given, dict.fromkeys([*close, *chunk]), n=_CLOSE)
            chunk.clear()
            yield close
    yield get_close_matches(given, dict.fromkeys([*close, *chunk]), n=_CLOSE)


def suggestion(close: Sequence[str], known: Sequence[str], total: int = 0) -> str:
    """Names as a suggestion, the *close* ones first, then the first of *known*, of which there are *total* if those are not all."""
    names = list(dict.fromkeys([*close, *known]))
    shown = names[:MOST_SHOWN]
    more = max(total, len(names)) - len(shown)
    return either(shown) if more <= 0 else f"{', '.join(shown)} or one of {more} others"
