"""The variables of envoyproxy/ratelimit that say where Redis is → a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

PASSWORD_FILE = "/etc/rls/{}/password"  # noqa: S105 - a path
"""Where the password is expected: it stays out of what is printed, and may change while the server runs."""
_SOCKET = "/var/run/nutcracker/{}.sock"
_TYPES = ("single", "cluster", "sentinel")
_TLS = {
    "CACERT": "ssl_ca_certs",
    "CLIENT_CERT": "ssl_certfile",
    "CLIENT_KEY": "ssl_keyfile",
}
"""Files of TLS, which both Redises of the old server share, and the options of our URL."""


class Backend(NamedTuple):
    """Where Redis is.

    Attributes:
        url: For `RLS_BACKEND`; "" if the variables are wrong.
        notes: What is to be known of it.
        open: Why it needs a hand; "" where it does not.
    """

    url: str
    notes: tuple[str, ...] = ()
    open: str = ""


def backend(given: Mapping[str, str], is_on: Callable[[str], bool], *, per_second: bool = False) -> Backend:
    """The Redis that *given* names, with the old server's defaults; *is_on* reads a switch."""
    prefix = "REDIS_PERSECOND_" if per_second else "REDIS_"
    kind = (given.get(f"{prefix}TYPE") or "single").lower()
    place = given.get(f"{prefix}URL") or _SOCKET.format("ratelimitpersecond" if per_second else "ratelimit")
    notes: list[str] = []
    if kind not in _TYPES:
        return Backend("", (), f"{prefix}TYPE is none of {', '.join(_TYPES)}: the old server does not start with it")
    options = _tls(given, is_on) if is_on(f"{prefix}TLS") else []
    user, options_of_password, words = _password(given.get(f"{prefix}AUTH", ""), per_second=per_second)
    options += options_of_password
    notes += words
    path = ""
    if kind == "sentinel":
        name, _, place = place.partition(",")
        if not place:
            return Backend("", (), f"{prefix}URL has no sentinels: the old server takes NAME,HOST:PORT,HOST:PORT")
        path = f"/{quote(name, safe='')}"
        if auth := given.get(f"{prefix}SENTINEL_AUTH"):
            sentinel_user = auth.partition(":")[0] if ":" in auth else ""
            options += [f"sentinel_username={quote(sentinel_user, safe='')}"] if sentinel_user else []
            options.append("sentinel_password=PASSWORD")
            notes.append("put the sentinels' password in place of PASSWORD")
    if "://" in place:
        return Backend(_with(place, options), tuple(notes))
    if kind == "single" and _is_socket(place, given.get(f"{prefix}SOCKET_TYPE", ""), prefix, notes):
        return Backend(_with(f"unix://{user}{place}", [one for one in options if "ssl_" not in one]), tuple(notes))
    scheme = "rediss" if is_on(f"{prefix}TLS") else "redis"
    scheme += "" if kind == "single" else f"+{kind}"
    hosts = ",".join(host.strip() for host in place.split(","))
    return Backend(_with(f"{scheme}://{user}{hosts}{path}", options), tuple(notes))


def _is_socket(place: str, socket_type: str, prefix: str, notes: list[str]) -> bool:
    """Whether *place* is a path. Without a type the old server takes anything for one, which is probably not meant."""
    if socket_type.lower() == "unix" or place.startswith("/"):
        return True
    if not socket_type:
        notes.append(f"{prefix}SOCKET_TYPE is not set, so the old server took this for the path of a Unix socket")
    return False


def _tls(given: Mapping[str, str], is_on: Callable[[str], bool]) -> list[str]:
    options = [f"{ours}={quote(path)}" for old, ours in _TLS.items() if (path := given.get(f"REDIS_TLS_{old}"))]
    if is_on("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION"):
        options.append("ssl_check_hostname=false")
    return options


def _password(auth: str, *, per_second: bool) -> tuple[str, list[str], list[str]]:
    """The user, as a URL has it before its host; the options; and what to do."""
    if not auth:
        return "", [], []
    user = f"{quote(auth.partition(':')[0], safe='')}@" if ":" in auth else ""
    file = PASSWORD_FILE.format("redis-per-second" if per_second else "redis")
    return user, [f"password_file={file}"], [f"mount the password as {file}; it is not printed here"]


def _with(url: str, options: list[str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(options)}" if options else url
