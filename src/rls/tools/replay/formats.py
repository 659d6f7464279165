"""Envoy's format strings for access logs: text → fields by operator."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

ENVOY = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)
KNOWN: Mapping[str, str] = {"istio": ISTIO, "envoy": ENVOY}
"""The defaults of Istio and of Envoy, by the names that stand for them."""
FORMATS = ("auto", "json", "decisions", *KNOWN)
"""Names of formats; `auto` lets the first line of a log decide."""
_OPERATOR = re.compile(r"%(?:(?P<name>[A-Z_0-9]+)(?P<argument>\([^)]*\))?(?::\d+)?)?%")


class TextFormat:
    """Reads the lines that a format string makes. What it reads is what Envoy wrote, as `-` where there was nothing.

    Args:
        text: As Envoy takes it, without the end of the line.

    Attributes:
        fields: Its operators, in their order: `START_TIME`, `REQ(:PATH)`.

    Raises:
        ValueError: It is no format string, or its lines cannot be taken apart.
    """

    def __init__(self, text: str) -> None:
        text = text.removesuffix("\n").removesuffix("\\n")
        self.fields: list[str] = []
        arguments: list[str] = []
        literals = [""]
        at = 0
        for found in _OPERATOR.finditer(text):
            literals[-1] += text[at : found.start()]
            at = found.end()
            if found["name"] is None:
                literals[-1] += "%"
                continue
            argument = found["argument"] or ""
            self.fields.append(operator(found["name"] + argument))
            arguments.append(argument if found["name"] == "START_TIME" else "")
            literals.append("")
        literals[-1] += text[at:]
        if not self.fields:
            example = "'[%START_TIME%] %REQ(:PATH)%'"
            raise ValueError(f"expected {', '.join(FORMATS)}, or a format string such as {example}")
        if "" in literals[1:-1]:
            raise ValueError("two operators without text between them, expected a space or another character there")
        self._usual = _pattern(literals, arguments, strict=True)
        self._odd = _pattern(literals, arguments, strict=False)

    def read(self, line: str) -> dict[str, str | None] | None:
        """What *line* has in each field; None where it is no such line."""
        # A value that holds the character after it, such as a user agent with a quote, takes the slower way.
        found = self._usual(line) or self._odd(line)
        return None if found is None else dict(zip(self.fields, found.groups(), strict=True))


def operator(text: str) -> str:
    """What a field is called: an operator in capitals, since headers have no case; the format of a time is left out."""
    name, bracket, _ = text.partition("(")
    return name.upper() if name.upper() == "START_TIME" or not bracket else text.upper()


def _pattern(literals: list[str], times: list[str], *, strict: bool) -> Callable[[str], re.Match[str] | None]:
    """Matches in one pass, whatever a client has put into the line: a value ends where what follows it first appears.

    A time ends where that appears once more than in its format; *times* are these, "" for other operators.
    """
    first, *others = literals
    parts = [re.escape(first)]
    for literal, time in zip(others, times, strict=True):
        end = literal[:1] if strict else literal
        value = f"[^{re.escape(end)}]*" if strict else f"(?:(?!{re.escape(end)}).)*"
        within = "".join([re.escape(end) + value] * time.count(end)) if end else ""
        parts.append(f"({value}{within}){re.escape(literal)}" if literal else "(.*)")
    return re.compile("".join(parts), re.DOTALL).fullmatch
