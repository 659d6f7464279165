"""`/api/v1/events` as a stream: what happens is there at once, for a bounded number of readers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import pytest

from examples.mesh.http import ask
from rls.api.admin.stream import MOST_REFUSALS, STREAMS
from tests.integration.test_admin_changes import RULES, check, entries, post, token_file
from tests.rls_process import RlsProcess


class Stream:
    """A reader, from entering to leaving the context."""

    def __init__(self, server: RlsProcess, *headers: str) -> None:
        port = int(server.addresses["admin"].rpartition(":")[2])
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        lines = ("GET /api/v1/events HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: text/event-stream", *headers)
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {name.lower(): value for name, value in self._head()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def _head(self) -> Iterator[tuple[str, str]]:
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            yield name, value

    def events(self) -> Iterator[tuple[str, str, Any]]:
        """Kind, id and data of each."""
        kind = name = ""
        while line := self._file.readline().decode():
            word, _, value = line.strip().partition(": ")
            if word == "event":
                kind = value
            elif word == "id":
                name = value
            elif word == "data":
                yield kind, name, json.loads(value)

    def until(self, wanted: Callable[[str, Any], bool]) -> tuple[str, Any]:
        """The id and data of the first event that is *wanted*."""
        return next((name, data) for kind, name, data in self.events() if wanted(kind, data))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RlsProcess]:
    folder = tmp_path_factory.mktemp("streaming")
    found = RlsProcess(folder, "--admin-token-file", str(token_file(folder)), rules=RULES)
    yield found
    found.kill()


def test_refusals_loads_changes_and_overrides_are_seen_as_they_happen(server) -> None:
    check(server, "before", 4)
    with Stream(server) as stream:
        assert (stream.status, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        stream.until(lambda kind, data: kind == "status" and data["state"] in ("enforced", "degraded"))
        check(server, "acme", 4)
        _, refusal = stream.until(lambda kind, _: kind == "refusal")
        assert refusal["entries"] == [{"key": "company_id", "value": "acme"}], "and nothing of what was before"
        change = entries("acme", limit="30/year", reason="T-1", **{"for": "1h"})
        assert post(server, "/overrides", change).status == 200
        _, began = stream.until(lambda kind, _: kind == "override_began")
        assert "company_id=acme: 30/year" in began["text"]
        assert post(server, "/counters/reset", entries("acme")).status == 200
        stream.until(lambda kind, _: kind == "counter_reset")
        server.rules.write_text(RULES.replace("requests_per_unit: 3", "requests_per_unit: 2"))
        last, loaded = stream.until(lambda kind, _: kind == "rules_loaded")
        assert loaded["revision"]
    check(server, "later", 4)
    with Stream(server, f"Last-Event-ID: {last}") as again:
        _, refusal = again.until(lambda kind, _: kind == "refusal")
        assert refusal["entries"][0]["value"] == "later", "what happened between two streams is not lost"


def test_a_reader_gets_nothing_twice_wherever_it_goes_on(server) -> None:
    """After the id of each, in turn: what follows is all that is newer, in the order of time."""
    with Stream(server) as stream:
        stream.until(lambda kind, _: kind == "status")
        for number in range(3):
            check(server, "twice", 4)
            assert post(server, "/counters/reset", entries("twice", reason=f"T-{number}")).status == 200
        seen: list[tuple[str, str]] = []
        for kind, name, _ in stream.events():
            seen += [(kind, name)] if kind != "status" else []
            if [one for one, _ in seen].count("counter_reset") == 3:
                break
    assert [float(name) for _, name in seen] == sorted(float(name) for _, name in seen)
    for number, (_, name) in enumerate(seen[:-1], 1):
        with Stream(server, f"Last-Event-ID: {name}") as again:
            kind, following, _ = next(one for one in again.events() if one[0] != "status")
            assert (kind, following) == seen[number]


def test_what_a_reader_misses_is_counted(server) -> None:
    with Stream(server) as stream:
        stream.until(lambda kind, _: kind == "status")
        port = int(server.addresses["http"].rpartition(":")[2])
        one = {"entries": [{"key": "company_id", "value": "many"}]}
        asked = json.dumps({"domain": "mesh", "descriptors": [one] * 60, "hitsAddend": 9}).encode()
        for _ in range(4 * MOST_REFUSALS // 60):
            ask(port, "/json", method="POST", body=asked)
        seen = 0
        for kind, _, data in stream.events():
            seen += (kind == "refusal") * data.get("stands_for", 0)
            seen += data["at_least"] if kind == "refusals_left_out" else 0
            if seen >= 2 * MOST_REFUSALS:
                break


def test_only_so_many_read_at_one_time_and_others_are_answered(server) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(server)) for _ in range(STREAMS)]
        assert {one.status for one in streams} == {200}
        with Stream(server) as more:
            assert (more.status, more.headers["retry-after"]) == (503, "5")
        assert server.get("/api/v1/events?limit=1", "admin").status == 200
        streams[0].__exit__()
        server.wait_until(lambda: _opens(server), "there is room again")


def _opens(server: RlsProcess) -> bool:
    with Stream(server) as one:
        return one.status == 200
