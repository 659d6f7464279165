"""Listening sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rls.addresses import join_address, loopback, split_address, unix_address, unix_path
from rls.errors import SettingsError

NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept that pass once other connections are closed."""
NO_FILES_SECONDS = 0.1
"""Pause before accept is tried again after one of `NO_FILES`."""
LOST = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})
"""Errors of accept after which the socket does not listen any more."""
_ADVICE = {
    errno.EADDRINUSE: "; another process has it, expected one that is free",
    errno.EADDRNOTAVAIL: "; no interface of this machine has it, expected 0.0.0.0 or [::] for all, or one that it has",
    errno.EACCES: "; ports below 1024 need the capability NET_BIND_SERVICE, expected one from 1024 on",
    errno.ENOENT: "; the directory of a Unix socket must be there",
    socket.EAI_NONAME: "; expected a host that DNS knows, or an IP address",
}
"""What to do about an error of bind."""
_BACKLOG = 4096
_OTHER_FILES = 1024
_KNOCK_SECONDS = 1.0
_ANSWER_SECONDS = 0.2
_TIMES_LOST = 2


def listen(address: str) -> socket.socket:
    """Bind *address*, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`, and listen; `[::]` takes IPv4 as well.

    Raises:
        SettingsError: It is taken, unusable, or not an address.
    """
    try:
        path = unix_path(address)
        if path is not None:
            return _listen_unix(path)
        host, port = split_address(address)
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except ValueError:
        expected = "HOST:PORT, [IPV6]:PORT or unix:/path"
        raise SettingsError(f"{address!r} is not an address: expected {expected}") from None
    except OSError as error:
        # socket.create_server adds the address to the text in its own way.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "")
        raise SettingsError(f"cannot listen on {address}: {reason}{advice}") from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Where *listener* listens, as `listen` takes it."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return unix_address(os.fsdecode(name))
    host, port = name[:2]
    return join_address(host, port)


def close_listener(listener: socket.socket) -> None:
    """Close *listener*, and remove the path of a Unix socket. Idempotent."""
    if listener.fileno() < 0:
        return
    if listener.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            Path(os.fsdecode(listener.getsockname())).unlink()
    with contextlib.suppress(OSError):  # it has been lost
        listener.close()


def accepts(listener: socket.socket) -> bool:
    """Whether *listener* still listens."""
    try:
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
    except OSError:
        return False
    # A Unix socket that was shut down still says that it accepts, but it is hung up.
    poller = select.poll()
    poller.register(listener, 0)
    return not poller.poll(0)


def connections_allowed(configured: int) -> tuple[int, str]:
    """How many connections there may be, of *configured* ones (0 for no limit), and what sets that bound."""
    possible = connections_possible()
    if 0 < configured <= possible:
        return configured, "--max-connections"
    return possible, "the limit on open files (ulimit -n)"


def connections_possible() -> int:
    """How many connections the limit on open files leaves room for; raises the soft limit to the hard one.

    The rest is for what else a process opens: its other listeners' connections above all.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, soft // 2, soft - _OTHER_FILES)


async def keep_listening(listener: socket.socket) -> None:
    """Check every second whether *listener* still listens; of a Unix socket, whether its path still leads to it.

    A listening socket can be closed or shut down without a word to those that wait for connections on it.

    Raises:
        OSError: Nobody listens any more.
    """
    address = address_of(listener)
    on_disk = unix_path(address)
    path = None if on_disk is None else Path(on_disk)
    found, lost = _identity(listener, path), 0
    while lost < _TIMES_LOST:
        await asyncio.sleep(_KNOCK_SECONDS)
        lost = 0 if accepts(listener) and _identity(listener, path) == found else lost + 1
    raise OSError(f"nobody listens on {address} any more")


async def knock(address: str, on_refused: Callable[[], None], on_no_files: Callable[[OSError], None]) -> None:
    """As `keep_listening`, for a server that does not show its listening socket: connect to *address* every second.

    It also finds out what such a server says nowhere: that it closes connections at once, and that there are no file
    descriptors left.

    Args:
        address: Where it listens.
        on_refused: Called when a connection is closed at once.
        on_no_files: Called with the error when there is no file descriptor to connect with.

    Raises:
        OSError: Nobody listens any more.
    """
    family, target = _reached_at(address)
    found, lost = False, 0
    while True:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.setblocking(False)
                async with asyncio.timeout(_KNOCK_SECONDS):
                    await asyncio.get_running_loop().sock_connect(client, target)
                found, lost = True, 0
                if await _is_closed_at_once(client):
                    on_refused()
        except (ConnectionRefusedError, FileNotFoundError):
            lost += found  # not where we cannot reach ourselves
        except TimeoutError:
            pass  # a queue that is full
        except OSError as error:
            if error.errno in NO_FILES:
                on_no_files(error)
        if lost == _TIMES_LOST:
            raise OSError(f"nobody listens on {address} any more")
        await asyncio.sleep(_KNOCK_SECONDS)


async def _is_closed_at_once(client: socket.socket) -> bool:
    """Whether the server closes *client* instead of sending its first frame, or of waiting for a handshake."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return not await asyncio.get_running_loop().sock_recv(client, 1)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def _identity(listener: socket.socket, path: Path | None) -> tuple[int, ...]:
    """Which socket *listener* is, and which file is at its *path*; nothing where one of them is gone."""
    try:
        of_socket = os.fstat(listener.fileno()).st_ino
        return (of_socket,) if path is None else (of_socket, path.lstat().st_ino)
    except OSError:
        return ()


def _reached_at(address: str) -> tuple[socket.AddressFamily, Any]:
    """Where a server on *address* is reached from here."""
    path = unix_path(address)
    if path is not None:
        return socket.AF_UNIX, path
    host, port = split_address(loopback(address))
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return found[0], found[4]


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a server left behind: nobody answers there any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
