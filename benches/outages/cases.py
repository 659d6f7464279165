"""What is done to pods under load, and what came of it."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benches.outages.mesh import OutageMesh
from benches.outages.pods import Options, Pod

Fault = Callable[[OutageMesh, Options], None]
CLIENTS = 10
FAULT_AFTER_SECONDS = 2.0
_LOOK_SECONDS = 0.2


class Outcome(NamedTuple):
    """What came of a case, from the fault on.

    Attributes:
        calls: How often `rls` was asked; a second try is not another call.
        failed_open: Requests that passed since `rls` gave no answer.
        well_after: Seconds from the fault to the last of them; 0 without any.
        ejections: How often the sidecar ejected a pod.
        retries: Calls that the sidecar made again.
    """

    calls: int
    failed_open: int
    well_after: float
    ejections: int
    retries: int


class Load:
    """*rate* requests a second for so many *seconds*, come what may; *log* is for the client's own use."""

    def __init__(self, mesh: OutageMesh, rate: int, seconds: float, log: Path) -> None:
        self._log = log
        number = int(rate * seconds) // CLIENTS
        command = ["h2load", "--h1", f"-c{CLIENTS}", f"-n{number * CLIENTS}", f"--rps={rate / CLIENTS:g}"]
        command += [f"--log-file={log}", "-H", f"authorization: Bearer {mesh.token()}"]
        log.unlink(missing_ok=True)
        self._client = subprocess.Popen(
            [*command, f"http://127.0.0.1:{mesh.port}/users/1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def is_over(self) -> bool:
        return self._client.poll() is not None

    def wait(self) -> int:
        """How many requests were answered.

        Raises:
            AssertionError: One was answered with something else than 200.
        """
        self._client.wait()
        rows = [line.split("\t") for line in self._log.read_text().splitlines()]
        if refused := {row[1] for row in rows} - {"200"}:
            raise AssertionError(f"requests were answered with {refused}")
        return len(rows)


def run(mesh: OutageMesh, options: Options, fault: Fault, *, rate: int, seconds: float, log: Path) -> Outcome:
    """Let *fault* happen to pods that are made with *options*, under load, which lasts for *seconds* at least."""
    load = Load(mesh, rate, FAULT_AFTER_SECONDS + seconds, log)
    time.sleep(FAULT_AFTER_SECONDS)
    before, happened = mesh.counters(), time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        doing = beside.submit(fault, mesh, options)
        seen = [(happened, before["failure_mode_allowed"])]
        while not load.is_over():
            time.sleep(_LOOK_SECONDS)
            seen.append((time.monotonic(), mesh.counters()["failure_mode_allowed"]))
        doing.result()
    load.wait()
    after = mesh.counters()
    grown = [at for (_, old), (at, new) in itertools.pairwise(seen) if new > old]

    def counted(*names: str) -> int:
        return sum(after.get(name, 0) - before.get(name, 0) for name in names)

    return Outcome(
        calls=counted("ok", "over_limit", "error"),
        failed_open=counted("failure_mode_allowed"),
        well_after=grown[-1] - happened if grown else 0.0,
        ejections=counted("outlier_detection.ejections_enforced_total"),
        retries=counted("upstream_rq_retry"),
    )


def nothing(_: OutageMesh, __: Options) -> None:
    """For comparison: what a machine misses by itself."""


def hang(mesh: OutageMesh, _: Options) -> None:
    mesh.pods[0].hang()


def vanish(mesh: OutageMesh, _: Options) -> None:
    mesh.pods[0].vanish()


def kill(mesh: OutageMesh, _: Options) -> None:
    """The server is killed, and kubelet starts it again a second later."""
    mesh.pods[0].kill()
    time.sleep(1)
    mesh.pods[0].start_again()


def restart(mesh: OutageMesh, _: Options) -> None:
    mesh.pods[0].restart()


def rolling_update(mesh: OutageMesh, options: Options) -> None:
    """A new pod is ready before an old one goes."""
    for old in list(mesh.pods):
        mesh.add(options)
        mesh.delete(old)


def scale_up(mesh: OutageMesh, options: Options) -> None:
    for _ in range(len(mesh.pods)):
        mesh.add(options)


def throttled(mesh: OutageMesh, _: Options) -> None:
    _throttle(mesh.pods[:1])


def all_throttled(mesh: OutageMesh, _: Options) -> None:
    _throttle(mesh.pods)


def _throttle(pods: list[Pod], seconds: float = 8) -> None:
    """They run for 30 of each 100 ms, as where the CPU limit is used up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for pod in pods:
            pod.go_on()
        time.sleep(0.03)
        for pod in pods:
            pod.hang()
        time.sleep(0.07)
    for pod in pods:
        pod.go_on()
