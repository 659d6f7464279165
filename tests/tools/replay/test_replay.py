"""A replay refuses what a server refuses, and keeps little."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import wait_for
from rls.api.client import Client
from rls.core.check import Check
from rls.core.model import Code, Descriptor, Entry, Request
from rls.core.rules import RuleSet
from rls.engine.limiter import Limiter
from rls.sources.load import load
from rls.stores.memory import MemoryStore
from rls.tools.replay.logs import Log
from rls.tools.replay.report import report
from rls.tools.replay.run import Options, Replayed, run
from rls.tools.replay.tallies import MOST_BUCKETS, SLOTS, Refused, Timeline
from tests.clock import Clock
from tests.counters import PATIENT
from tests.rls_process import RlsProcess

START = 1_796_000_000
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 7, replaces: [{name: ip}]}
  - key: company_id
    value: acme
    rate_limit: {unit: second, unit_multiplier: 20, requests_per_unit: 3}
  - key: company_id
    value: shadow
    shadow_mode: true
    rate_limit: {unit: hour, requests_per_unit: 5}
  - key: remote_address
    rate_limit: {name: ip, unit: minute, requests_per_unit: 4}
"""
OTHERS = RULES.replace("requests_per_unit: 7", "requests_per_unit: 3").replace("unit: 4", "unit: 6")


def rules(folder: Path, text: str, name: str = "rules.yaml") -> RuleSet:
    (folder / name).write_text(text)
    loaded = load([folder / name])
    assert not loaded.diagnostics
    return loaded.rules


def lines(count: int, seed: int) -> list[dict[str, Any]]:
    """Of an access log, in the order of their times."""
    chance = random.Random(seed)
    found, at = [], float(START)
    for _ in range(count):
        at += chance.expovariate(1)
        company = chance.choice([None, "acme", "beta", "gamma", "shadow", "delta"])
        address = f"10.0.0.{chance.randrange(4)}"
        found.append({"time": round(at, 3), "company_id": company, "address": address, "flags": "-"})
    return found


def asked(line: dict[str, Any]) -> Request:
    company = [Descriptor((Entry("company_id", line["company_id"]),))] if line["company_id"] else []
    return Request("mesh", (*company, Descriptor((Entry("remote_address", line["address"]),))))


async def refused_by_limiter(played: list[dict[str, Any]], in_force: RuleSet) -> list[bool]:
    """Of each line, whether a limiter with that clock refuses it."""
    clock = Clock(START)
    limiter = Limiter(MemoryStore(clock=clock), clock=clock)
    limiter.load(in_force)
    found = []
    for line in played:
        clock.now = line["time"]
        found.append((await limiter.check(asked(line))).code is Code.OVER_LIMIT)
    return found


def replayed(log: Path, text: str, folder: Path, *others: str, **more: Any) -> Replayed:
    sets = {f"{number}": rules(folder, one, f"{number}.yaml") for number, one in enumerate([text, *others])}
    return run([Log(str(log))], sets, Options(), **more)


async def test_it_refuses_what_a_limiter_refuses(tmp_path: Path) -> None:
    """In the order of times, though the log has requests as they ended; under two rule sets, and what differs."""
    played = lines(4_000, seed=15)
    one = await refused_by_limiter(played, rules(tmp_path, RULES))
    two = await refused_by_limiter(played, rules(tmp_path, OTHERS))
    log = tmp_path / "access.log"
    ended = sorted(
        zip(played, one, strict=True), key=lambda item: item[0]["time"] + random.Random(item[0]["time"]).random() * 9
    )
    log.write_text("".join(json.dumps(line | {"flags": "RL" if refused else "-"}) + "\n" for line, refused in ended))
    replay, found, *_ = replayed(log, RULES, tmp_path, OTHERS)
    assert found.out_of_order > 1_000
    assert 200 < sum(one) < 2_000
    assert [side.refused.total for side in replay.sides] == [sum(one), sum(two)]
    assert replay.recorded == (4_000, sum(one), sum(one))  # the same requests, not only as many
    pairs = list(zip(one, two, strict=True))
    assert replay.newly.total == pairs.count((True, False)) > 0
    assert replay.no_longer.total == pairs.count((False, True)) > 0
    gamma = [
        line["time"] for line, refused in zip(played, one, strict=True) if refused and line["company_id"] == "gamma"
    ]
    (who,) = [who for who in replay.sides[0].refused.top(99) if ("company_id", "gamma") in who.entries]
    assert (who.requests, who.first, who.last, who.rule.path) == (len(gamma), gamma[0], gamma[-1], "company_id")


def test_a_decision_log_of_a_server_is_refused_again(tmp_path: Path) -> None:
    """Request by request, whether rules were in shadow mode or not, with hits of their own."""
    log = tmp_path / "decisions"
    server = RlsProcess(
        tmp_path, "--decision-log", str(log), "--decision-log-share", "1", "--decision-log-rate", "1000", rules=RULES
    )
    chance, answers = random.Random(7), []
    try:
        with Client(server.addresses["grpc"]) as client:
            for number in range(150):
                company = chance.choice(["acme", "beta", "shadow", "gamma"])
                descriptor = Descriptor((Entry("company_id", company),), hits_addend=chance.choice([None, None, 0, 2]))
                answers.append(client.check(Request("mesh", (descriptor,)), timeout=PATIENT).code)
                if number % 50 == 49:
                    wait_for(lambda: len(log.read_bytes().splitlines()) == len(answers), "all lines", seconds=PATIENT)
    finally:
        server.kill()
    replay, found, decisions, refusals_only = replayed(log, RULES, tmp_path)
    assert (found.unreadable, replay.requests, decisions, refusals_only) == (0, 150, True, False)
    refused = answers.count("OVER_LIMIT")
    assert replay.recorded == (150, refused, refused)
    assert replay.sides[0].refused.total == refused > 20
    shadow = replay.sides[0].tallies["mesh|company_id_shadow"].shadow
    assert shadow is not None
    assert shadow.count == sum(json.loads(line)["outcome"] == "shadow" for line in log.read_text().splitlines())


def test_room_is_bounded(tmp_path: Path) -> None:
    """Counters make room for others, and what finds no room is refused; as in a server's memory."""
    log = tmp_path / "access.log"
    played = [{"time": START, "address": f"10.{n >> 8}.{n & 255}.1", "company_id": None} for n in range(3_000)]
    log.write_text("".join(json.dumps(line) + "\n" for line in played))
    replay, *_ = replayed(log, RULES, tmp_path, counters=100)
    side = replay.sides[0]
    assert len(side.simulation.counters) <= 100
    assert side.evicted + side.no_room >= 2_900


def test_who_is_counted_in_bounded_memory() -> None:
    refused = Refused()
    often = Check(Descriptor((Entry("ip", "often"),)), rule_id="d|ip")
    for number in range(4 * SLOTS):
        refused.note("d", Check(Descriptor((Entry("ip", str(number)),)), rule_id="d|ip"), START + number)
        if number % 2:
            refused.note("d", often, START + number)
    assert len(refused._spans) <= 2 * SLOTS + 1
    (first,) = refused.top(1)
    assert first.entries == (("ip", "often"),)
    assert first.requests <= 2 * SLOTS <= first.requests + refused.error
    assert (refused.total, first.last) == (6 * SLOTS, START + 4 * SLOTS - 1)


@pytest.mark.parametrize("span", [1, 200, 3_600, 86_400, 40_000_000])
def test_a_timeline_has_few_buckets_and_forgets_nothing(span: int) -> None:
    timeline = Timeline()
    chance = random.Random(span)
    for _ in range(2_000):
        bucket = timeline.at(START + chance.random() * span)
        bucket.requests += 1
        bucket.refused[0] += 1
    rows = timeline.rows()
    assert len(rows) <= MOST_BUCKETS
    assert timeline.requests == sum(bucket.refused[0] for _, bucket in rows) == 2_000
    assert rows[0][0] <= START + timeline.width
    assert rows[-1][0] + timeline.width > START


def test_a_report_says_when(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines(500, seed=1)))
    came = replayed(log, RULES, tmp_path)
    found = report(came.replay, came.lines, ["access.log"], 3)
    assert json.loads(json.dumps(found)) == found
    assert found["requests"] == sum(row["requests"] for row in found["timeline"]["buckets"]) == 500
    assert datetime.fromisoformat(found["first"]) >= datetime.fromtimestamp(START, UTC)
    side = found["rules"][0]
    assert side["refused"] == sum(row["refused"]["count"] for row in side["by_rule"] if row["refused"])
    assert len(side["top"]) == 3
