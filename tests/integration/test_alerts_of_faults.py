"""Faults in real servers: a real Prometheus, with the rules as they are but faster, fires the alert of each.

Several faults go on at one time, each in servers of its own, whose `job` it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from examples.mesh.processes import wait_for
from tests.alerts.running import Prometheus
from tests.alerts.traffic import Traffic
from tests.integration.faults import FAULTS

TOGETHER = 7
"""Faults at one time."""
SPEEDS = dict.fromkeys(fault.times for fault in FAULTS.values())
GROUPS = [
    names[first : first + TOGETHER]
    for names in ([name for name, fault in FAULTS.items() if fault.times == times] for times in SPEEDS)
    for first in range(0, len(names), TOGETHER)
]
CASES = [
    (number, fault, name, labels)
    for number, group in enumerate(GROUPS)
    for fault in group
    for name, labels in FAULTS[fault].fires
]
OF_NODES = {"RlsClocksDiffer", "RlsCountersLost", "RlsRedisEvicts"}
"""Alerts about a node of Redis, whichever job sees it."""


class Watched:
    """The servers of one group of faults at a time, and the Prometheus that scrapes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._group = -1
        self._prometheus: Prometheus | None = None

    def prometheus(self, group: int) -> Prometheus:
        """That of *group*, which is started unless it runs; another one is stopped first."""
        if self._prometheus is None or self._group != group:
            self.close()
            self._group = group
            self._prometheus = self._start(self._folder / str(group))
        return self._prometheus

    def close(self) -> None:
        self._stack.close()
        self._prometheus = None

    def _start(self, folder: Path) -> Prometheus:
        folder.mkdir()
        traffic = Traffic()
        targets: dict[str, dict[str, str]] = {}
        for fault in GROUPS[self._group]:
            (folder / fault).mkdir()
            for number, process in enumerate(FAULTS[fault].provoke(folder / fault, self._stack, traffic)):
                targets[process.addresses["http"]] = {
                    "job": fault,
                    "pod": f"{fault}-{number}",
                    "namespace": "rate-limit",
                }
        times = FAULTS[GROUPS[self._group][0]].times
        started = self._stack.enter_context(Prometheus(folder / "prometheus", targets, times=times))
        self._stack.callback(traffic.stop)
        return started


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with closing(Watched(tmp_path_factory.mktemp("faults"))) as servers:
        yield servers


@pytest.mark.parametrize(
    ("group", "fault", "name", "labels"), CASES, ids=[f"{fault}-{name}" for _, fault, name, _ in CASES]
)
def test_a_fault_fires_its_alert(
    group: int, fault: str, name: str, labels: Mapping[str, str], watched: Watched
) -> None:
    prometheus = watched.prometheus(group)
    where = labels if name in OF_NODES else {"job": fault, **labels}
    alert = wait_for(lambda: prometheus.firing(name, **where), f"{name} fires", seconds=90)
    assert alert is not None
    assert alert["annotations"]["summary"]
    assert "<no value>" not in alert["annotations"]["summary"]
    assert [quiet for quiet in FAULTS[fault].silent if prometheus.firing(quiet, job=fault)] == []
