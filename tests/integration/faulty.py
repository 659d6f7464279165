"""What faults in real servers begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.alerts.running import FASTER
from tests.alerts.traffic import Traffic
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess

Provoke = Callable[[Path, ExitStack, Traffic], list[RlsProcess]]
"""Starts servers in a folder, kept by the stack, and lets something go wrong."""
PATIENT = ("--backend-timeout", "5s")
"""So that only a Redis that is gone is missed, not one that is slow on a busy machine."""
UNLIMITED_CALLS = ("--max-concurrency", "0")
"""No call is shed since the machine is busy."""
BY_VALUE = """\
domain: mesh
descriptors:
  - key: company_id
    detailed_metric: true
    rate_limit: {unit: year, requests_per_unit: 5}
  - key: path
    rate_limit: {unit: year, requests_per_unit: 100000000}
"""
NEARLY = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 100}
"""
ONE_HIT = NEARLY.replace("100", "1")
GENEROUS = NEARLY.replace("100", "1000000")
"""A client that is known to be over its limit stays so without Redis, whatever the policy is."""
OFTEN_INSPECTED = (
    "-c",
    "from rls.stores.redis import inspection; inspection.INTERVAL_SECONDS = 1; from rls.cli import app; app()",
)
"""Asks Redis for its numbers every second, as the tests' rules are faster too."""
WRONG_CLOCK = ("-c", "import time; now = time.time; time.time = lambda: now() + 3; from rls.cli import app; app()")


class Fault(NamedTuple):
    """What fires: name and labels of alerts; how it is provoked in a folder of its own.

    Rules are so many *times* faster. Alerts that are *silent* do not fire.
    """

    fires: tuple[tuple[str, Mapping[str, str]], ...]
    provoke: Provoke
    times: int = FASTER
    silent: tuple[str, ...] = ()


def server(stack: ExitStack, folder: Path, *options: str, rules: str = RULES, **more: Any) -> RlsProcess:
    folder.mkdir(exist_ok=True)
    return stack.enter_context(RlsProcess(folder, *UNLIMITED_CALLS, *options, rules=rules, **more))


def a_redis(stack: ExitStack, folder: Path) -> RedisServer:
    return stack.enter_context(running(RedisServer(folder, redis_binary())))
