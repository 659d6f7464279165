"""Calls that go on in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import grpc

from examples.mesh.processes import NotSo
from rls.api.client import Client, UnansweredError
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request


class Traffic:
    """Threads that do something again and again, until the end."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def again(self, action: Callable[[], object], every: float = 0.1) -> None:
        """Call *action* every so many seconds; what it raises is not of interest."""

        def run() -> None:
            while not self._stop.wait(every):
                try:
                    action()
                except (UnansweredError, grpc.RpcError, NotSo, OSError):
                    continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


def ask(
    stack: ExitStack, traffic: Traffic, process: RlsProcess, *entries: tuple[str, str], domain: str = "mesh"
) -> None:
    """Check these entries, each in a descriptor of its own, ten times a second."""
    client = stack.enter_context(Client(process.addresses["grpc"]))
    asked = request(*(descriptor(entry) for entry in entries), domain=domain)
    traffic.again(lambda: client.check(asked, timeout=2))
