"""Requests without pause, from several clients at once."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Self

from examples.mesh.http import ask_on
from examples.mesh.processes import wait_for


class Load:
    """Clients that each keep a connection to *port* busy, from entering to leaving the context.

    With a *pause*, each waits for so many seconds after an answer.
    """

    def __init__(self, port: int, headers: Mapping[str, str], *, clients: int = 8, pause: float = 0) -> None:
        self._port = port
        self._headers = headers
        self._pause = pause
        self._stop = Event()
        self._answers: list[int] = []  # appended to by all threads at once
        self._threads = ThreadPoolExecutor(clients)
        self._clients = [self._threads.submit(self._run) for _ in range(clients)]

    @property
    def answered(self) -> int:
        """Requests that were answered so far."""
        return len(self._answers)

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered so far."""
        return Counter(self._answers)

    def go_on(self, times: int = 300) -> None:
        """Return when so many more have been answered."""
        enough = self.answered + times
        wait_for(lambda: self.answered >= enough, f"{times} more answers")

    def _run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
            while not self._stop.is_set():
                self._answers.append(ask_on(connection, "/users", self._headers).status)
                self._stop.wait(self._pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        if raised == (None, None, None):
            for client in self._clients:
                client.result()
