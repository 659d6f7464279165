"""`python -m benches.replay`: what `rls replay` takes for a million lines, and whether it refuses what a limiter refuses.

The log is that of istio/values-istiod.yaml: an hour of 278 requests a second, 10,000 companies by Zipf, each from many
addresses, and one request in ten without a company. CPU and memory are those of the process `rls replay`. A sample of the log is
played through a limiter too, request by request. `--svg FILE` keeps the picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benches.machine import describe
from rls.core.model import Code, Descriptor, Entry, Request
from rls.engine.limiter import Limiter
from rls.sources.load import load
from rls.stores.memory import MemoryStore
from rls.utc import utc

_START, _SECONDS = 1_796_000_400, 3_600
_COMPANIES = 10_000
_RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {{name: company, unit: minute, requests_per_unit: {company}, replaces: [{{name: ip}}]}}
  - key: remote_address
    rate_limit: {{name: ip, unit: minute, requests_per_unit: 20}}
"""


class Run(NamedTuple):
    """One run of the command: seconds, CPU seconds, the most memory in MiB, and its report."""

    seconds: float
    cpu: float
    memory: float
    report: dict[str, Any]


def requests(count: int, seed: int = 15) -> Iterator[dict[str, Any]]:
    """Lines of an access log, about in the order of their times; a wave of 20 minutes makes more and fewer of them."""
    chance = Random(seed)
    weights = [1 / rank**0.9 for rank in range(1, _COMPANIES + 1)]
    companies = iter(chance.choices(range(_COMPANIES), weights, k=count))
    for number, company in enumerate(companies):
        at = _START + _SECONDS * number / count
        at = max(_START, at + 200 * abs((at / 1_200) % 1 - 0.5) - chance.expovariate(10))
        yield {
            "time": utc(at, "milliseconds"), "method": "GET", "path": f"/api/v1/users/{number % 997}", "code": 200,
            "flags": "-", "details": "via_upstream", "milliseconds": 12, "forwarded_for": "203.0.113.9",
            "address": f"10.{company % 7}.{chance.randrange(250)}.3", "request_id": f"6f1c2b9e-1111-4c6e-9a0a-{number:012}",
            "upstream": "inbound|8080||", "company_id": None if number % 10 == 0 else f"company-{company}", "rule": None,
            "rule_name": None, "rule_place": None, "descriptor": None, "seconds_until_reset": None,
        }  # fmt: skip


def write(path: Path, count: int) -> None:
    """Write a log of *count* lines."""
    with path.open("w") as log:
        log.writelines(json.dumps(line) + "\n" for line in requests(count))


def run(*arguments: str | Path) -> Run:
    """Run `rls replay` with *arguments*."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        command = [sys.executable, "-m", "rls", "replay", *map(str, arguments), "--json"]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)])
        _, status, used = os.wait4(pid, 0)
        seconds = time.monotonic() - began
        assert os.waitstatus_to_exitcode(status) in {0, 1}
        out.seek(0)
        return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, json.load(out))


async def refused_by_limiter(rules: Path, lines: list[dict[str, Any]]) -> int:
    """How many of *lines*, which are in the order of their times, a limiter refuses at these times."""
    now = 0.0
    limiter = Limiter(MemoryStore(clock=lambda: now), clock=lambda: now)
    limiter.load(load([rules]).rules)
    refused = 0
    for line in lines:
        now = line["at"]
        values = {"company_id": line["company_id"], "remote_address": line["address"]}
        descriptors = tuple(Descriptor((Entry(key, value),)) for key, value in values.items() if value)
        refused += (await limiter.check(Request("mesh", descriptors))).code is Code.OVER_LIMIT
    return refused


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=50_000, help="lines that a limiter is asked, too")
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    options.svg = options.svg and options.svg.absolute()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    log, sample, new, old = (Path(name) for name in ("access.log", "sample.log", "new.yaml", "old.yaml"))
    write(log, options.lines)
    new.write_text(_RULES.format(company=300))
    old.write_text(_RULES.format(company=500))
    one = run(log, "--config", new)
    two = run(log, "--config", new, "--against", old, *(["--svg", options.svg] if options.svg else []))
    with log.open() as lines:
        first = [line for line, _ in zip(lines, range(options.sample), strict=False)]
    sample.write_text("".join(first))
    parsed = [json.loads(line) for line in first]
    for line in parsed:
        line["at"] = _seconds(line["time"])
    parsed.sort(key=lambda line: float(line["at"]))
    refused = run(sample, "--config", new).report["rules"][0]["refused"]
    by_limiter = asyncio.run(refused_by_limiter(new, parsed))
    print("# What `rls replay` takes\n")
    print("".join(f"- {name}: {value}\n" for name, value in describe().items()))
    print(
        f"{options.lines:,} lines of JSON, {log.stat().st_size >> 20} MiB, by `python -m benches.replay`. Companies have 250 addresses each, so "
        "nearly every line is a request that did not come before.\n"
    )
    print("| rule sets | seconds of CPU | seconds | lines per second of CPU | most memory, MiB | refused |")
    print("| ---: | ---: | ---: | ---: | ---: | --- |")
    for came in (one, two):
        rate = came.report["requests"] / came.cpu
        shown = " and ".join(f"{side['refused']:,}" for side in came.report["rules"])
        print(
            f"| {len(came.report['rules'])} | {came.cpu:.1f} | {came.seconds:.1f} | {rate:,.0f} | {came.memory:.0f} | {shown} |"
        )
    print(
        f"\n`json.loads` alone takes {_parsing(log):.1f} s of CPU for all lines: a measure of how busy the machine was."
    )
    print(f"The first {options.sample:,} lines: `rls replay` refuses {refused:,}, a limiter {by_limiter:,}.")
    assert refused == by_limiter


def _parsing(log: Path) -> float:
    """CPU seconds that `json.loads` takes for all lines."""
    seconds = 0.0
    with log.open("rb") as lines:
        while some := lines.readlines(1 << 22):
            began = time.process_time()
            for line in some:
                json.loads(line)
            seconds += time.process_time() - began
    return seconds


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
