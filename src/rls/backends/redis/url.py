"""Addresses of Redis."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from rls.errors import SettingsError

_OPTIONS = ("client_name", "db", "password", "password_file", "username")
_FILES = ("password_file", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
# Those of redis-py that change how a connection is opened. It has more, which would be read and do nothing here.
OPTIONS = {
    "redis": (*_OPTIONS, "socket_keepalive"),
    "rediss": (
        *(*_OPTIONS, "socket_keepalive", *_FILES[1:]),
        *("ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_min_version", "ssl_password"),
    ),
    "unix": _OPTIONS,
}
"""What may stand behind the `?`, by scheme."""


def redacted(url: str) -> str:
    """*url* without user, password and query, fit for messages."""
    parts = urlsplit(url)
    if _ambiguous(parts):
        return f"{parts.scheme}://***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check(url: str) -> None:
    """Find what redis-py would pass over, or only stumble upon when it connects.

    Raises:
        SettingsError: There is such a thing.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = OPTIONS[parts.scheme]
    for name, value in options.items():
        if name not in known:
            raise unusable(url, "unknown option" if _ambiguous(parts) else _unknown(name, known))
        if name in _FILES and not Path(value).exists():
            raise unusable(url, f"the option {name} is {value!r}: no such file or directory")
    if parts.scheme == "unix":
        if not parts.path:
            raise unusable(url, "there is no path, expected unix:///path")
        return
    if not parts.hostname:
        raise unusable(url, f"there is no host, expected {parts.scheme}://HOST:PORT/DB")
    if not re.fullmatch(r"/?|/\d+", unquote(parts.path)):
        raise unusable(url, "the path is no number of a database, expected HOST:PORT/DB")


def without_password_file(url: str) -> tuple[str, str | None]:
    """*url* without the one option that redis-py does not know, and what it was set to."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    file = dict(options).get("password_file")
    if file is None:
        return url, None
    return parts._replace(query=urlencode([one for one in options if one[0] != "password_file"])).geturl(), file


def unusable(url: str, reason: str) -> SettingsError:
    """The error for a *url* that cannot be used, whatever there is at its end."""
    hint = ""
    if _ambiguous(urlsplit(url)):
        hint = "; in a user or password, write / as %2F, ? as %3F, # as %23 and @ as %40"
    return SettingsError(f"the backend {redacted(url)} cannot be used: {reason}{hint}")


def _ambiguous(parts: SplitResult) -> bool:
    """Whether there may be a password that ought to be escaped: then what looks like host and path are parts of it."""
    return "@" in f"{parts.path}{parts.query}{parts.fragment}"


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"unknown option {name}, " + (
        f"did you mean {close[0]}?" if close else f"expected {', '.join(sorted(known))}"
    )
