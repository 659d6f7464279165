"""An attack on the admin address: nothing changes, and nothing stops the gRPC port.

For a long one: `pytest tests/integration/test_admin_attack.py --admin-requests 1000000 -o faulthandler_timeout=0`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from rls.api.client import Client
from tests.integration.conftest import REQUESTS
from tests.integration.test_admin_changes import OTHER, RULES, TOKEN, check, counter, entries, token_file
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

CLIENTS = 16
RESET = json.dumps(entries("acme")).encode()
OVERRIDE = json.dumps(entries("acme", limit="30/year", reason="attack", **{"for": "1h"})).encode()
JSON = {"Content-Type": "application/json"}
SHOWN = {**JSON, "Authorization": f"Bearer {TOKEN}"}


def post(path: str, body: bytes, headers: dict[str, str], host: str = "127.0.0.1", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


RESETS, OVERRIDES = "/api/v1/counters/reset", "/api/v1/overrides"
ATTACKS: dict[str, tuple[bytes, set[int]]] = {
    "no token": (post(RESETS, RESET, JSON), {401}),
    "no token for an override": (post(OVERRIDES, OVERRIDE, JSON), {401}),
    "a wrong token": (post(OVERRIDES, OVERRIDE, {**JSON, "Authorization": f"Bearer {TOKEN[:-1]}"}), {401}),
    "a token and half of another": (post(RESETS, RESET, {**JSON, "Authorization": f"Bearer {TOKEN}{OTHER}"}), {401}),
    "a name for a token": (post(RESETS, RESET, {**JSON, "Authorization": "Bearer alice"}), {401}),
    "a token in the query": (post(f"{RESETS}?token={TOKEN}", RESET, JSON), {401}),
    "a foreign origin": (post(RESETS, RESET, {**SHOWN, "Origin": "https://evil.example"}), {403}),
    "an origin like ours": (post(RESETS, RESET, {**SHOWN, "Origin": "http://127.0.0.1.evil.example"}), {403}),
    "no origin of a page": (post(RESETS, RESET, {**SHOWN, "Origin": "null"}), {403}),
    "a name that leads here": (
        post(RESETS, RESET, {**SHOWN, "Origin": "http://evil.example"}, host="evil.example"),
        {421},
    ),
    "a foreign host": (post(RESETS, RESET, SHOWN, host="evil.example"), {421}),
    "a form": (
        post(
            RESETS,
            b"domain=mesh",
            {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"},
        ),
        {403},
    ),
    "a form in plain text": (post(RESETS, RESET, {**SHOWN, "Content-Type": "text/plain"}), {415}),
    "a form without a type": (post(RESETS, RESET, {"Authorization": f"Bearer {TOKEN}"}), {415}),
    "a page that ends overrides": (
        post(f"{OVERRIDES}/1", b"", {"Sec-Fetch-Site": "same-site"}, method="DELETE"),
        {403},
    ),
    "a preflight": (
        post(
            RESETS, b"", {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, method="OPTIONS"
        ),
        {403},
    ),
    "a large body": (post(RESETS, b" " * 100_000, JSON), {401, 413}),
    "a large body with a token": (post(RESETS, b" " * 100_000, SHOWN), {413}),
    "a body that promises more": (
        post(RESETS, RESET, SHOWN).replace(b"Content-Length: ", b"Content-Length: 9"),
        {408, 413},
    ),
    "a deep body": (post(RESETS, b"[" * 16_000, SHOWN), {400}),
    "a method for a method": (post(RESETS, RESET, {**SHOWN, "X-HTTP-Method-Override": "GET"}, method="PUT"), {405}),
    "two paths": (post("/api/v1/status/../counters/reset", RESET, JSON), {401}),
    "two hosts": (post(RESETS, RESET, SHOWN).replace(b"Host: 127.0.0.1", b"Host: 127.0.0.1\r\nHost: x"), {400}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n", {400}),
}
SLOW = {"a body that promises more"}
"""Those that the server waits for."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RlsProcess]:
    folder = tmp_path_factory.mktemp("attacked")
    options = ("--admin-token-file", str(token_file(folder)), "--log-format", "json")
    found = RlsProcess(folder, *options, rules=RULES)
    check(found, "acme", 3)
    yield found
    found.kill()


class Probe(threading.Thread):
    """A client of the gRPC port that asks again and again."""

    def __init__(self, server: RlsProcess) -> None:
        super().__init__()
        self._address = server.addresses["grpc"]
        self._enough = threading.Event()
        self.codes: Counter[str] = Counter()

    def run(self) -> None:
        asked = request(descriptor(("company_id", "acme"), hits_addend=0), domain="mesh")
        with Client(self._address) as client:
            while not self._enough.wait(0.01):
                try:
                    self.codes[client.check(asked, timeout=10).code] += 1
                except Exception as error:  # noqa: BLE001 - it is told
                    self.codes[repr(error)] += 1

    def stop(self) -> None:
        self._enough.set()
        self.join()


async def attack(port: int, requests: int) -> Counter[tuple[str, int]]:
    """How often each attack was answered with each status; 0 for a connection that was closed."""
    left = islice(
        ((name, sent) for _ in range(requests) for name, (sent, _) in ATTACKS.items() if name not in SLOW), requests
    )
    answered: Counter[tuple[str, int]] = Counter()

    async def client() -> None:
        for name, sent in left:
            answered[name, await ask(port, sent)] += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answered


async def ask(port: int, sent: bytes) -> int:
    """The status of the answer; 0 without one."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(sent)
            line = await reader.readline()
        finally:
            writer.close()
    except OSError:
        return 0
    return int(line.split()[1]) if line else 0


def test_nothing_changes_and_nothing_stops_the_grpc_port(server, request) -> None:
    requests = request.config.getoption("--admin-requests", REQUESTS)
    port = int(server.addresses["admin"].rpartition(":")[2])
    probe = Probe(server)
    began = time.monotonic()
    probe.start()
    answered = asyncio.run(attack(port, requests))
    slow = {name: asyncio.run(ask(port, ATTACKS[name][0])) for name in SLOW}
    probe.stop()
    wrong = {
        (name, status): times
        for (name, status), times in answered.items()
        if status not in ATTACKS[name][1] | {0, 503}  # closed for others, or too many at once
    }
    assert wrong == {}
    assert all(status in ATTACKS[name][1] for name, status in slow.items())
    assert {name for name, status in answered if status} >= ATTACKS.keys() - SLOW, "each was answered at least once"
    assert set(probe.codes) == {"OK"}
    assert counter(server, "acme")["count"] == 3
    assert server.get("/api/v1/overrides", "admin").json()["overrides"] == []
    assert server.get("/readyz").status == 200
    assert "Traceback" not in server.output()
    lines = [json.loads(line) for line in server.output().splitlines() if "admin_refused" in line]
    most = max(Counter(line["reason"] for line in lines).values())
    assert most <= 1 + (time.monotonic() - began) / 10, "the log gets a line in ten seconds for each reason"
    assert "admin_change" not in server.output()
    assert TOKEN not in server.output()
    assert server.metric("rls_admin_refused_total") >= requests / 4
