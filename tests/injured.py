"""`rls` with a wound: `python -m tests.injured HOW PART serve …`; SIGUSR1 strikes.

HOW is `raise` or `cancel`, and PART a task, by its name or the name of its coroutine; or HOW is `shut`, and PART is the
listening socket of `grpc`, `http` or `admin`, by the flag that names its address.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from rls import cli
from rls.app.app import App


class Wound(Exception):
    """Nothing in `rls` raises this."""


def strike(how: str, part: str, arguments: list[str]) -> None:
    if how == "shut":
        address = arguments[len(arguments) - arguments[::-1].index(f"--{part}")]
        for number in listening_on(int(address.rpartition(":")[2])):
            with socket.socket(fileno=os.dup(number)) as listener:
                listener.shutdown(socket.SHUT_RDWR)
        return
    struck = [task for task in asyncio.all_tasks() if part in (task.get_name(), coroutine_of(task))]
    assert struck, sorted(f"{task.get_name()} {coroutine_of(task)}" for task in asyncio.all_tasks())
    for task in struck:
        if how == "cancel":
            task.cancel()
        elif (future := waits_for(task)) is None or future.done():  # it is about to run
            asyncio.get_running_loop().call_later(0.01, strike, how, part, arguments)
        else:
            future.set_exception(Wound("struck"))


def coroutine_of(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__name__", "")


def waits_for(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """The future that *task* waits for in the end."""
    future: Any = task
    while isinstance(future, asyncio.Task):
        future = future._fut_waiter  # type: ignore[attr-defined]
    found: asyncio.Future[Any] | None = future
    return found


def listening_on(port: int) -> list[int]:
    """The numbers of the files that listen on *port*."""
    found = []
    for number in [int(file.name) for file in Path("/proc/self/fd").iterdir()]:
        try:
            copy = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and copy.getsockname()[1] == port:
                found.append(number)
    assert found, f"nothing listens on {port}"
    return found


def main() -> None:
    how, part, *arguments = sys.argv[1:]
    handle_signals = App._handle_signals

    def handle_signals_and_be_struck(self: App) -> None:
        handle_signals(self)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, strike, how, part, arguments)

    App._handle_signals = handle_signals_and_be_struck  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    cli.main()


if __name__ == "__main__":
    main()
