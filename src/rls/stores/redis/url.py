"""Addresses of Redis."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple
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


_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_SENTINEL_PORT = 26379


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


def node_urls(url: str) -> list[str]:
    """One URL for each of the nodes that *url*, of several, names: `redis+cluster://a,b` → `redis://a`, `redis://b`."""
    parts = urlsplit(url)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    return [
        parts._replace(scheme=scheme, netloc=f"{userinfo}{at}{host.strip()}", path="").geturl()
        for host in hosts.split(",")
    ]


class SentinelUrls(NamedTuple):
    """What a URL of sentinels means: where they are, how the primary is reached, and what they call it."""

    sentinels: list[str]
    primary: str
    name: str


def sentinel_urls(url: str) -> SentinelUrls:
    """Take `redis+sentinel://user:password@a,b/NAME?db=1&sentinel_password=…` apart.

    Raises:
        SettingsError: It names no primary.
    """
    parts = urlsplit(url)
    name = unquote(parts.path).strip("/")
    if not name or "/" in name:
        raise unusable(url, f"there is no name of a primary, expected {parts.scheme}://HOST:PORT,HOST:PORT/NAME")
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = [one for one in options if one[0] not in _SENTINEL_OPTIONS]
    of_tls = [one for one in options if one[0].startswith("ssl_")]
    credentials = [(key.removeprefix("sentinel_"), value) for key, value in options if key in _SENTINEL_OPTIONS]
    hosts = parts.netloc.rpartition("@")[2]
    hosts = ",".join(host if _has_port(host) else f"{host}:{_SENTINEL_PORT}" for host in hosts.split(","))
    sentinels = parts._replace(netloc=hosts, query=urlencode([*of_tls, *credentials])).geturl()
    primary = node_urls(parts._replace(query=urlencode(own)).geturl())[0]
    return SentinelUrls(node_urls(sentinels), primary, name)


def _has_port(host: str) -> bool:
    return bool(re.search(r":\d+$", host)) and (not host.startswith("[") or "]:" in host)


def check_cluster(url: str) -> None:
    """As `check`, for a URL of a cluster.

    Raises:
        SettingsError: See there.
    """
    parts = urlsplit(url)
    if unquote(parts.path) not in {"", "/", "/0"} or "db" in dict(parse_qsl(parts.query)):
        raise unusable(url, f"a cluster has no databases, expected {parts.scheme}://HOST:PORT,HOST:PORT")
    for one in node_urls(url):
        check(one)


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
