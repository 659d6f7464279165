"""Requests of companies and addresses through Envoy, each at a pace of its own."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple, Self

from examples.mesh.http import ask_on
from examples.tokens import Issuer


class Client(NamedTuple):
    """A sender of requests.

    Args:
        name: A company with a token; or what stands for *addresses*.
        rate: Requests a second.
        addresses: What it says that its address is, in turn; it has no token then.
    """

    name: str
    rate: float
    addresses: Sequence[str] = ()


CLIENTS = (
    # Hammers: half as much again as it may.
    Client("acme", 30),
    Client("globex", 16),
    Client("hooli", 6),
    # Has no limit.
    Client("initech", 5),
    # Its limit is on trial.
    Client("umbrella", 8),
    Client("one address", 8, ["203.0.113.7"]),
    Client("many addresses", 10, [f"198.51.100.{number}" for number in range(1, 51)]),
)


class Load:
    """All clients, sending while the context is open.

    Attributes:
        answers: How many answers each client got, by its name and the HTTP status; 0 for none.
    """

    def __init__(self, port: int, issuer: Issuer, clients: Sequence[Client] = CLIENTS) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(port, client, self._headers(client, issuer)), daemon=True)
            for client in clients
        ]

    @staticmethod
    def _headers(client: Client, issuer: Issuer) -> list[dict[str, str]]:
        if client.addresses:
            return [{"x-forwarded-for": address} for address in client.addresses]
        return [{"authorization": f"Bearer {issuer.token({'company_id': client.name, 'sub': 'ada'})}"}]

    def count(self, status: int | None = None, name: str = "") -> int:
        """How many answers of that status, or of any; of one client, or of all."""
        with self._lock:
            found = list(self.answers.items())
        return sum(n for (who, code), n in found if status in {None, code} and name in {"", who})

    def _send(self, port: int, client: Client, headers: Sequence[dict[str, str]]) -> None:
        turns = cycle(headers)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            # What is late is not caught up with: a pause is a pause.
            due = max(due + 1 / client.rate, time.monotonic() - 1)
            try:
                status = ask_on(connection, "/users", next(turns)).status
            except OSError:
                connection.close()
                status = 0
            with self._lock:
                self.answers[client.name, status] += 1
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
