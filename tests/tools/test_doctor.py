"""What `rls doctor` makes of numbers; `tests/integration/test_doctor.py` and `tests/e2e/test_doctor.py` have real servers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from rls.errors import BackendError
from rls.tools.doctor.cpu import cpu_limit, look_at_cpu
from rls.tools.doctor.envoy import Envoy, Filter, timeouts
from rls.tools.doctor.redis import Redis
from rls.tools.doctor.result import State, milliseconds
from rls.tools.doctor.server import clock, throttling


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_of_both_versions_of_cgroups(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_limit(tmp_path) == limit
    assert look_at_cpu(tmp_path).state is (State.BAD if limit is not None and limit < 2 else State.GOOD)


@pytest.mark.parametrize(
    ("envoy", "backend", "p99", "wrong"),
    [
        (0.02, 0.010, 0.001, []),
        (0.02, 0.011, None, ["a call may wait 11 ms for Redis, and Envoy waits 20 ms for the call"]),
        (0.1, 0.05, 0.05, []),
        (0.1, 0.05, 0.2, ["p99 of the round trip from here is 200 ms, and Envoy waits 100 ms"]),
        (0.1, 2.0, 0.2, [
            "a call may wait 2000 ms for Redis, and Envoy waits 100 ms for the call",
            "p99 of the round trip from here is 200 ms, and Envoy waits 100 ms",
        ]),
    ],
)  # fmt: skip
def test_timeouts(envoy: float, backend: float, p99: float | None, wrong: list[str]) -> None:
    assert [one.text for one in timeouts(envoy, backend, p99) if one.state is State.BAD] == wrong


def test_a_timeout_that_nobody_knows_is_not_called_enough() -> None:
    (found,) = timeouts(None, 0.010, 0.5)
    assert found == (
        "timeouts",
        State.UNKNOWN,
        "a call may wait 10 ms for Redis, and how long Envoy waits for the call is not known",
        "--envoy, or --envoy-timeout with `timeout` of its filter: 20 ms or more is enough",
    )


def test_an_envoy_that_waits_for_ever() -> None:
    envoy = Envoy("nowhere")
    assert envoy.timeout is None
    envoy.filters = [Filter("mesh", 0.0, denies=False)]
    (found,) = timeouts(envoy.timeout, 2.0, 0.5)
    assert found[:3] == (
        "timeouts",
        State.GOOD,
        "a call waits at most 2000 ms for Redis, and Envoy for ever for the call",
    )
    envoy.filters.append(Filter("other", 0.1, denies=False))
    assert envoy.timeout == 0.1


class SaysNothing:
    """A store and its only node, which serves no key of ours, and hides its policy of eviction."""

    endpoint = SimpleNamespace(address="redis:6379")

    def __init__(self, key: bytes | None, answer: bytes | BackendError) -> None:
        self._key = key
        self._answer = answer

    def own_key(self, _node: object, _name: bytes) -> bytes | None:
        return self._key

    async def query(self, _command: bytes) -> bytes:
        if isinstance(self._answer, BackendError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (None, "gone", "redis:6379 serves no key to try them on"),
        (b"key", "gone", "redis:6379 does not say whether it allows GET: gone"),
    ],
)
async def test_rights_that_were_not_tried_are_not_called_good(key: bytes | None, error: str, text: str) -> None:
    node = SaysNothing(key, BackendError(error))
    found = [one async for one in Redis("redis://redis", key_prefix="", timeout=1)._rights(node, node, "redis:6379")]
    assert {one.state for one in found} == {State.UNKNOWN}
    assert found[0].text == text


async def test_a_policy_of_eviction_that_redis_hides_is_not_called_good() -> None:
    node = SaysNothing(None, b"maxmemory:1000\r\nused_memory:1\r\n")
    found = await Redis("redis://redis", key_prefix="", timeout=1)._policy(node, "redis:6379")
    assert found[1:3] == (State.UNKNOWN, "redis:6379 does not say what it does at its maxmemory of 1000")


@pytest.mark.parametrize(
    ("theirs", "state"), [(100.0, State.GOOD), (101.4, State.GOOD), (101.6, State.BAD), (98.0, State.BAD)]
)
def test_a_clock_is_wrong_only_where_the_round_trip_cannot_explain_it(theirs: float, state: State) -> None:
    assert clock("it", theirs, 99.5, 100.5).state is state


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [(None, 1, State.UNKNOWN), (0, 0, State.GOOD), (7, 7, State.GOOD), (7, 9, State.BAD)],
)
def test_only_throttling_of_now_is_wrong(before: float | None, after: float | None, state: State) -> None:
    assert throttling(before, after).state is state


def test_milliseconds() -> None:
    assert [milliseconds(seconds) for seconds in (0.0004, 0.00951, 0.02, 2.5)] == [
        "0.4 ms",
        "9.5 ms",
        "20 ms",
        "2500 ms",
    ]
