"""Addresses as text: HOST:PORT, [IPV6]:PORT and unix:/path, and the hosts of a URL."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

_UNIX = "unix:"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?")
_PORT = re.compile(r"[0-9]{1,5}")


def parse_address(text: str, default_host: str) -> str:
    """*text* in its one form: `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`.

    Args:
        text: An address; `PORT` alone and `:PORT` are at *default_host*, and `*:PORT` is on all IPv4 interfaces. Brackets
            may be missing where it is clear that the address ends in a port.
        default_host: A name or an IPv4 address.

    Raises:
        ValueError: It is something else; the text of the error is what was expected.
    """
    expected = ValueError("HOST:PORT, [IPV6]:PORT, PORT or unix:/path")
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX).removeprefix("//")
        if not path or path.endswith("/"):
            raise expected
        return f"{_UNIX}{path}"
    host, _, port = text.rpartition(":")
    if ":" in host and not host.startswith("["):
        if not _is_ipv6(host) or not _is_port(port):
            raise expected
        if _is_ipv6(text):  # ::1:8081 may be an address without a port
            raise ValueError(f"brackets around the IPv6 address: [{host}]:{port}")
        host = f"[{host}]"
    host = {"": default_host, "*": "0.0.0.0"}.get(host, host)  # noqa: S104
    try:
        return join_address(*split_address(f"{host}:{port}"))
    except ValueError:
        raise expected from None


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of `HOST:PORT` or `[IPV6]:PORT`.

    Raises:
        ValueError: *address* is neither; the text of the error is what was expected.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        is_host = _is_ipv6(host)
    else:
        is_host = bool(_HOST.fullmatch(host))
    if not is_host or not _is_port(port):
        raise ValueError("HOST:PORT or [IPV6]:PORT")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """`HOST:PORT`, or `[IPV6]:PORT`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def loopback(address: str) -> str:
    """*address* as this machine dials it: a wildcard host becomes that of the loopback interface."""
    if unix_path(address) is not None:
        return address
    host, port = split_address(address)
    return join_address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104


def unix_path(address: str) -> str | None:
    """The path of `unix:/path`; None for an address that is not of a Unix socket."""
    return address.removeprefix(_UNIX) if address.startswith(_UNIX) else None


def unix_address(path: str) -> str:
    """`unix:/path`."""
    return f"{_UNIX}{path}"


def split_url(url: str) -> SplitResult:
    """As `urlsplit`, for a URL that may name several hosts, separated by commas; see `hosts_of`.

    `urlsplit` of newer Pythons raises an error where an IPv6 address follows another host.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return urlsplit(url)
    path = re.search(r"[/?#]|$", rest)
    assert path is not None
    return urlsplit(f"{scheme}://{rest[path.start() :]}")._replace(netloc=rest[: path.start()])


def hosts_of(parts: SplitResult) -> list[str]:
    """The hosts of a URL as they are written, each with its port if it has one."""
    return [host.strip() for host in parts.netloc.rpartition("@")[2].split(",")]


def split_host(text: str) -> tuple[str, int | None]:
    """Host, without the brackets of IPv6, and port of a host in a URL; None where there is no port.

    Raises:
        ValueError: It is not a host with or without a port; the text of the error is what was expected.
    """
    if re.search(r"\s", text):
        raise ValueError("a host without white space")
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None or (found[1].startswith("[") and not _is_ipv6(found[1][1:-1])):
        raise ValueError(_with_brackets(text) or "[IPV6]:PORT")
    if found[2] and not _is_port(found[2]):
        raise ValueError(_with_brackets(text) or "a port from 0 to 65535 after the host")
    return found[1].strip("[]"), int(found[2]) if found[2] else None


def redacted(url: str) -> str:
    """*url* without passwords, however badly it is written."""
    head, at, tail = url.rpartition("@")
    if at:
        scheme, separator, userinfo = head.partition("://")
        user = userinfo.partition(":")[0] if ":" in userinfo else ""
        head = f"{scheme}://{user}:***" if separator else "***"
    return head + at + re.sub(r"(?i)((?:pass|auth|secret|token)\w*)=[^&#]*", r"\1=***", tail)


def _with_brackets(text: str) -> str:
    """What was expected in place of an IPv6 address without brackets; "" where *text* is none."""
    host, _, port = text.rpartition(":")
    if _is_ipv6(host):
        return f"brackets around the IPv6 address: [{host}]:{port}"
    return f"brackets around the IPv6 address: [{text}]" if _is_ipv6(text) else ""


def _is_port(text: str) -> bool:
    return bool(_PORT.fullmatch(text)) and int(text) <= 0xFFFF


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
