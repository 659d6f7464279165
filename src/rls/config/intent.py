"""Text that no request can carry, or that stands for something else than itself: warnings, since it may be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rls.config.reader import shorten

_QUOTES = "“”„‟‘’‚‛«»‹›"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\$\{[^}]*\}|\$\([A-Za-z_][\w.-]*\)|\$\{\{|\{\{", re.DOTALL)
# What Envoy fills in where it logs or adds headers, but not in the values of descriptors that arrive here.
_OPERATOR = re.compile(r"%[A-Z][A-Z_]{2,}(?:\([^)%]*\))?(?::\d+)?%")
is_plain = re.compile(r"[\w/.:@=&,;~#-]*").fullmatch
_PATTERNS = re.compile(
    r"""
      ^\^                             # ^/api
    | (?:^|[/=^(|:])\.[*+]            # /part1/.*
    | \.\+
    | \\[dDwWsS](?![A-Za-z])          # \d+, but not CORP\dave
    | \\[./?*+()\[\]{}^$|-]           # \.
    | \[(?:\^|[^\]]*\w-\w)[^\]]*\]    # [a-z], [^/], but not [2001:db8::1]
    | \([^()]*\|[^()]*\)              # (a|b)
    | \(\?[:=!<imsx]                  # (?i)
    | (?<=[\w)\]])\{\d+(?:,\d*)?\}    # {2,3}
    """,
    re.VERBOSE,
)


def doubts(name: str, text: str) -> Iterator[str]:
    """What is odd about *text*, which the key *name* holds; `key`, `value` or `domain`."""
    if is_plain(text):  # nearly all are, and there may be 100,000
        return
    if "\n" in text or "\r" in text:
        if text.endswith(("\n", "\r")):
            hint = ", expected `|-` instead of `|`" if "\n" not in text.rstrip("\r\n") else ""
            yield f"`{name}` ends in a line break, which no request carries{hint}"
        else:
            yield f"`{name}` holds a line break, which no request carries"
    elif text != text.strip():
        side = "begins" if text[0].isspace() else "ends"
        yield f"`{name}` {side} with a space, which no header carries, expected `{shorten(text.strip())}`"
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        bare = shorten(text.strip(_QUOTES))
        yield f'`{name}` has typographic quotes, which are a part of it, expected `{bare}` or `"{bare}"`'
    template = _TEMPLATE.search(text) or _OPERATOR.search(text)
    if template:
        yield f"`{name}` holds `{shorten(template[0])}`, which nothing fills in: it stands only for itself"
    elif name == "value" and (found := _PATTERNS.search(text)):
        yield (
            f"`value` looks like a regular expression (`{shorten(found[0])}`), but stands only for itself; "
            "`*` alone stands for any text"
        )
