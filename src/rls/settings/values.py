"""Text → values of settings. A parser raises ValueError with what it expected."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from rls.addresses import hosts_of, parse_address, redacted, split_host, split_url
from rls.stores import schemes

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_DNS_NAME = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.|$))+")
_LONGEST_SECONDS = 24 * 86_400  # grpcio counts milliseconds in 32 bits, of which one is the sign
_LONGEST_DRAIN_SECONDS = 3600.0
_LONGEST_NAME = 254  # RFC 1035, and the dot at the end
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: token


def explained(source: str, given: object, reason: str) -> str:
    """A mistake in a line: where it is, what was *given*, and the *reason* of a parser, which is what it expected."""
    quoted = f"'{given}'" if isinstance(given, str) else given
    return f"{source} is {quoted}: {reason if ', expected ' in reason else f'expected {reason}'}"


class BackendUrl:
    """The URL of a backend. Its text has no password; `reveal` returns all of it."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def scheme(self) -> str:
        """What comes before `://`."""
        return self._url.partition("://")[0]

    def reveal(self) -> str:
        """The URL with its password."""
        return self._url

    def __str__(self) -> str:
        return redacted(self._url)

    def __repr__(self) -> str:
        return f"BackendUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BackendUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)


def parse_duration(value: object) -> float:
    """Seconds from a text with units: `10ms`, `5s`, `1m30s`, or `0`. A number in code is seconds.

    Raises:
        ValueError: It is no duration, or has no unit: `10` could be milliseconds or seconds.
    """
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        text = str(value).strip()
        if _NUMBER.fullmatch(text) and float(text):
            raise ValueError(f"{text} has no unit, expected {text}ms or {text}s")
        if not _NUMBER.fullmatch(text) and not _DURATION.fullmatch(text):
            raise ValueError("a duration such as 10ms, 5s or 1m30s")
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    if not 0 <= seconds < math.inf:
        raise ValueError("a duration such as 10ms, 5s or 1m30s")
    if seconds > _LONGEST_SECONDS:
        raise ValueError("a duration of at most 24 days (576h)")
    return round(seconds, 9)


def parse_drain_timeout(value: object) -> float:
    """As `parse_duration`, up to an hour: no orchestrator waits longer, and nobody who stops a server does."""
    seconds = parse_duration(value)
    if seconds > _LONGEST_DRAIN_SECONDS:
        raise ValueError("at most 1h; Kubernetes waits for terminationGracePeriodSeconds, which is 30 s by default")
    return seconds


def duration_text(seconds: float) -> str:
    """*seconds* as `parse_duration` reads it."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds / 60:g}m" if seconds and seconds % 60 == 0 else f"{seconds:g}s"


def parse_grpc_address(value: object) -> str:
    """The address for gRPC; a port alone means all interfaces."""
    return parse_address(str(value).strip(), "0.0.0.0")  # noqa: S104


def parse_http_address(value: object) -> str:
    return "" if value in ("", "off") else parse_address(str(value).strip(), "0.0.0.0")  # noqa: S104


def parse_admin_address(value: object) -> str:
    return "" if value in ("", "off") else parse_address(str(value).strip(), "127.0.0.1")


def split(value: object, separators: str = ",") -> object:
    """The parts of a text between *separators*; anything else as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in re.split(f"[{re.escape(separators)}]", value) if part.strip())


def parse_keys(value: object) -> tuple[str, ...]:
    """Keys of descriptor entries from a text with commas between them, or a list of such texts."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else [str(value)]
    return tuple(key for text in texts for part in str(text).split(",") if (key := part.strip()))


def parse_paths(value: object) -> object:
    """Paths, and URLs of other sources of rules, from a list or separated by commas or the system's separator.

    A text with a URL in it is separated by commas only.
    """
    separators = "," if isinstance(value, str) and "://" in value else f",{os.pathsep}"
    places = split(value, separators)
    if not places or (isinstance(places, list | tuple) and "" in map(str, places)):
        raise ValueError("at least one file or directory with rules, and no empty path")
    if isinstance(places, list | tuple) and "-" in map(str, places):
        raise ValueError("files or directories with rules: a server does not read them from standard input")
    if isinstance(places, list | tuple):
        return tuple(place if "://" in str(place) else Path(place) for place in places)
    return places


def parse_backend(value: object) -> BackendUrl:
    if isinstance(value, BackendUrl):
        return value
    url = str(value).strip()
    scheme, separator, rest = url.partition("://")
    if separator and scheme not in schemes.OWN and scheme in schemes.installed():
        return BackendUrl(url)  # what may follow, its store knows
    if not separator or scheme not in schemes.OWN or (not rest and scheme != schemes.MEMORY):
        ours = (
            "memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///path, redis+cluster://HOST:PORT,HOST:PORT or "
            "redis+sentinel://HOST:PORT,HOST:PORT/NAME"
        )
        raise ValueError(", or ".join((ours, *(f"{other}://" for other in schemes.installed()))))
    for host in hosts_of(split_url(url)):
        split_host(host)
    return BackendUrl(url)


def parse_shared_backend(value: object) -> BackendUrl | None:
    """As `parse_backend`, but not `memory://`."""
    if value is None:
        return None
    url = parse_backend(value)
    if url.scheme == schemes.MEMORY:
        raise ValueError("a Redis, such as redis://HOST:PORT")
    return url


def parse_decision_log(value: object) -> str:
    """A file in a directory that exists, `stdout`, or "" for none."""
    text = str(value).strip()
    if text in ("", "off", "stdout"):
        return "" if text == "off" else text
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError("stdout, or a file in a directory that exists")
    return text


def parse_replicas(value: object) -> int | str:
    """A number, or of `dns:NAME` the name."""
    text = str(value).strip()
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1:
        return int(text)
    name = text.removeprefix("dns:")
    if name == text or len(name) > _LONGEST_NAME or not _DNS_NAME.fullmatch(name):
        raise ValueError("a whole number from 1, or dns:NAME")
    return name


def parse_header(value: object) -> str:
    """The name of a header."""
    text = str(value).strip()
    if not _HEADER.fullmatch(text):
        raise ValueError("the name of a header")
    return text


def parse_optional_header(value: object) -> str:
    """The name of a header, or nothing."""
    return parse_header(value) if value else ""


REPLACED_TRANSPORTS = {"h2corn": "native"}
"""Transports that no longer exist → what replaces each, for one more release."""


def parse_transport(value: object) -> object:
    """The name of a transport, in lower case."""
    text = lowered(value)
    return REPLACED_TRANSPORTS.get(text, text) if isinstance(text, str) else text


def lowered(value: object) -> object:
    text = value.strip().lower() if isinstance(value, str) else value
    return {"warn": "warning", "fatal": "error"}.get(text, text) if isinstance(text, str) else text
