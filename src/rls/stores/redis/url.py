"""URLs of Redis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from rls.addresses import hosts_of, split_host, split_url
from rls.alike import closest
from rls.errors import SettingsError

_OPTIONS = ("client_name", "db", "password", "password_file", "username")
_FILES = ("password_file", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
# Those of redis-py that change how a connection is opened. Its others would be accepted and do nothing here.
OPTIONS = {
    "redis": (*_OPTIONS, "socket_keepalive"),
    "rediss": (
        *(*_OPTIONS, "socket_keepalive", *_FILES[1:]),
        *("ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_min_version", "ssl_password"),
    ),
    "unix": _OPTIONS,
}
"""What may follow the `?`, by scheme."""

_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_SENTINEL_PORT = 26379


def address_of(url: str) -> str:
    """The address in *url*, for messages: without user, password and options."""
    parts = split_url(url)
    if _ambiguous(parts):
        return f"{parts.scheme}://***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check(url: str) -> None:
    """Find mistakes that redis-py ignores, or only finds when it connects.

    Raises:
        SettingsError: *url* has one.
    """
    parts = split_url(url)
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
    try:
        host, _ = split_host(hosts_of(parts)[0])
    except ValueError as error:
        raise unusable(url, f"expected {error}") from None
    if not host:
        raise unusable(url, f"there is no host, expected {parts.scheme}://HOST:PORT/DB")
    if not re.fullmatch(r"/?|/\d+", unquote(parts.path)):
        raise unusable(url, "the path is not the number of a database, expected HOST:PORT/DB")


def node_urls(url: str) -> list[str]:
    """One URL for each node that *url* names: `redis+cluster://a,b` → `redis://a`, `redis://b`."""
    parts = split_url(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    return [parts._replace(scheme=scheme, netloc=f"{userinfo}{at}{host}", path="").geturl() for host in hosts_of(parts)]


class SentinelUrls(NamedTuple):
    """What a URL of sentinels means: their URLs, the options of the primary as a URL, and the name of the primary."""

    sentinels: list[str]
    primary: str
    name: str


def sentinel_urls(url: str) -> SentinelUrls:
    """Parse `redis+sentinel://user:password@a,b/NAME?db=1&sentinel_password=…`.

    Raises:
        SettingsError: It has no name of a primary, or what should be a host is none.
    """
    parts = split_url(url)
    name = unquote(parts.path).strip("/")
    if not name or "/" in name:
        raise unusable(url, f"the name of the primary is missing, expected {parts.scheme}://HOST:PORT,HOST:PORT/NAME")
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = [one for one in options if one[0] not in _SENTINEL_OPTIONS]
    of_tls = [one for one in options if one[0].startswith("ssl_")]
    credentials = [(key.removeprefix("sentinel_"), value) for key, value in options if key in _SENTINEL_OPTIONS]
    try:
        hosts = [host if split_host(host)[1] is not None else f"{host}:{_SENTINEL_PORT}" for host in hosts_of(parts)]
    except ValueError as error:
        raise unusable(url, f"expected {error}") from None
    sentinels = parts._replace(netloc=",".join(hosts), query=urlencode([*of_tls, *credentials])).geturl()
    primary = node_urls(parts._replace(query=urlencode(own)).geturl())[0]
    return SentinelUrls(node_urls(sentinels), primary, name)


def check_cluster(url: str) -> None:
    """As `check`, for a URL of a cluster.

    Raises:
        SettingsError: See there.
    """
    parts = split_url(url)
    if unquote(parts.path) not in {"", "/", "/0"} or "db" in dict(parse_qsl(parts.query)):
        raise unusable(url, f"a cluster has no databases, expected {parts.scheme}://HOST:PORT,HOST:PORT")
    for one in node_urls(url):
        check(one)


def without_password_file(url: str) -> tuple[str, str | None]:
    """*url* without the one option that redis-py does not know, and the value of that option."""
    parts = split_url(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    file = dict(options).get("password_file")
    if file is None:
        return url, None
    return parts._replace(query=urlencode([one for one in options if one[0] != "password_file"])).geturl(), file


def files_of(url: str) -> list[str]:
    """The files that the options of *url* name."""
    return [value for name, value in parse_qsl(split_url(url).query) if name in _FILES]


def unusable(url: str, reason: str) -> SettingsError:
    """The error for a *url* that is wrong, whatever is at its address."""
    hint = ""
    if _ambiguous(split_url(url)):
        hint = "; in a user or password, write / as %2F, ? as %3F, # as %23 and @ as %40"
    return SettingsError(f"the backend {address_of(url)} cannot be used: {reason}{hint}")


def _ambiguous(parts: SplitResult) -> bool:
    """Whether *parts* may be those of a password that is not escaped: what looks like a host or a path may belong to it."""
    return "@" in f"{parts.path}{parts.query}{parts.fragment}"


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = closest(name, known)
    return f"unknown option {name}, " + (
        f"did you mean {close[0]}?" if close else f"expected {', '.join(sorted(known))}"
    )
