"""Who sends requests in the demo, and how."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlsplit

from examples.mesh.http import Answer, ask
from examples.mesh.processes import NotSo


class Client(NamedTuple):
    """A sender of requests: a company with a token, or an address without.

    Args:
        address: What it says that its address is, in X-Forwarded-For.
        source: The address of this machine that it asks from.
        token: What holds its token, where that is not its company's.
    """

    story: str
    requests: int
    company: str = ""
    address: str = ""
    source: str = ""
    token: str = ""

    @property
    def name(self) -> str:
        return self.company or self.token.lower() or self.source or self.address

    @property
    def variable(self) -> str:
        """The environment variable that holds its token; "" for none."""
        return self.token or self.company.upper()


CLIENTS = (
    Client("a company, 10 requests a minute", 12, company="acme"),
    Client("a company with a rule of its own, 15 a minute", 17, company="globex"),
    Client("an address without a token, 4 a minute", 6, address="203.0.113.7"),
    Client("another address has a limit of its own", 3, address="203.0.113.8"),
    Client("a company without a limit, from the address that is used up", 20, company="initech", address="203.0.113.7"),
)


@dataclass
class Tally:
    """The answers to a client's requests."""

    client: Client
    answers: list[Answer]

    def count(self, status: int) -> int:
        return sum(answer.status == status for answer in self.answers)

    @property
    def limited_by(self) -> str:
        """The rule, as the last refusal names it; "" where there was none."""
        return self._last_refusal.get("x-refused-by", "")

    @property
    def reset(self) -> str:
        """Seconds from the last refusal to the next window."""
        return self._last_refusal.get("x-ratelimit-reset", "")

    @property
    def _last_refusal(self) -> Mapping[str, str]:
        return next((answer.headers for answer in reversed(self.answers) if answer.status == 429), {})


class Curl:
    """Sends requests to *url* with curl, or as curl would where it is missing.

    Args:
        url: Where to.
        tokens: The clients' tokens, by the names of their variables.
        host: What the server takes itself to be called, where that is not in the URL.
    """

    def __init__(self, url: str, tokens: Mapping[str, str], *, host: str = "") -> None:
        self.url = url
        self._tokens = tokens
        self._host = host

    @cached_property
    def missing(self) -> bool:
        """Whether there is no curl."""
        return shutil.which("curl") is None

    def line(self, client: Client, times: int = 0) -> str:
        """What to type in a shell that has the tokens: once with the answer, or *times* with its head alone."""
        words = ["curl -s -D - -o /dev/null" if times else "curl -s -i"]
        if client.source:
            words.append(f"--interface {client.source}")
        if self._host:
            words.append(f"-H 'Host: {self._host}'")
        if client.variable:
            words.append(f'-H "Authorization: Bearer ${client.variable}"')
        if client.address:
            words.append(f"-H 'X-Forwarded-For: {client.address}'")
        return " ".join([*words, f"'{self.url}?n=[1-{times}]'" if times else self.url])

    def send(self, client: Client, times: int = 0) -> list[Answer]:
        """Run `line`."""
        if self.missing:
            return [self._ask(client, f"?n={n}" if times else "") for n in range(1, max(times, 1) + 1)]
        ran = subprocess.run(
            ["sh", "-c", self.line(client, times)], env={**os.environ, **self._tokens}, capture_output=True, check=False
        )
        if ran.returncode:
            raise NotSo(f"curl ended with {ran.returncode}: {ran.stderr.decode()}")
        return answers(ran.stdout)

    def _ask(self, client: Client, query: str) -> Answer:
        headers = {"Host": self._host} if self._host else {}
        if client.variable:
            headers["Authorization"] = f"Bearer {self._tokens[client.variable]}"
        if client.address:
            headers["X-Forwarded-For"] = client.address
        url = urlsplit(self.url)
        return ask(url.port or 80, url.path + query, headers, source=client.source)


def answers(output: bytes) -> list[Answer]:
    """The answers that curl printed: heads, and a body after the last of them."""
    found = []
    heads = list(re.finditer(rb"HTTP/1\.1 (\d+)[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n", output))
    for head in heads:
        lines = (line.partition(": ") for line in head[2].decode().splitlines())
        found.append(Answer(int(head[1]), {name.lower(): value for name, _, value in lines}, b""))
    if heads:
        found[-1] = found[-1]._replace(body=output[heads[-1].end() :])
    return found
