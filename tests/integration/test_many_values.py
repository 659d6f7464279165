"""A server is asked about very many values: what it keeps stays bounded, and it still knows who is refused most.

`pytest tests/integration/test_many_values.py --values 1000000` for a million.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from random import Random

from rls.api.client import Client
from tests.integration.conftest import VALUES
from tests.memory import memory
from tests.rls_process import RlsProcess
from tests.tries import descriptor, request

LIMIT = 100
RULES = f"""\
domain: mesh
descriptors:
  - key: company_id
    detailed_metric: true
    rate_limit: {{unit: year, requests_per_unit: {LIMIT}}}
"""
VALUES_OF_A_CALL = 32
COUNTERS = 20_000
FAMILIES = 4
"""Hits, and those over, near and within the limit: each of 1,000 values has a series in each, and all others share one."""


def series(process: RlsProcess) -> int:
    """Series of rules and their values."""
    return process.get("/metrics").body.decode().count('domain="mesh"')


def test_very_many_values(tmp_path: Path, pytestconfig) -> None:
    """Half of what is asked for is new, half follows Zipf's law."""
    values = pytestconfig.getoption("--values", VALUES)
    random, new = Random(1), itertools.count()
    weights = list(itertools.accumulate(1 / rank for rank in range(1, values + 1)))
    asked: Counter[str] = Counter()
    with (
        RlsProcess(tmp_path, "--memory-counters", str(COUNTERS), rules=RULES) as process,
        Client(process.addresses["grpc"]) as client,
    ):

        def ask_about(number: int) -> None:
            for _ in range(number // VALUES_OF_A_CALL):
                often = random.choices(range(values), cum_weights=weights, k=VALUES_OF_A_CALL)
                some = [f"company-{value}" for value in (*often, *itertools.islice(new, VALUES_OF_A_CALL))]
                asked.update(some)
                asked_for = [descriptor(("company_id", value)) for value in some]
                client.check(request(*asked_for, domain="mesh"), timeout=30)

        ask_about(values // 2)
        memory_before = memory(process.pid)
        ask_about(values // 2)
        assert 1_000 < series(process) < FAMILIES * 1_000 + 100
        assert memory(process.pid) - memory_before < 64 << 20
        assert len(asked) > 0.99 * values
        top = process.get("/api/v1/top?by=refused&window=start&limit=10", of="admin").json()

    refused = {value: max(0, count - LIMIT) for value, count in asked.items()}
    rows = {row["entries"][0]["value"]: row for row in top["rows"]}
    assert list(rows) == sorted(rows, key=lambda value: -rows[value]["count"])
    for value, row in rows.items():
        assert row["count"] <= refused[value] <= row["count"] + row["error"] + row["left_out"], row
    uncertain = max(row["error"] + row["left_out"] for row in rows.values())
    least = min(refused[value] for value in rows)
    assert {value for value, count in refused.items() if count > least + uncertain} <= rows.keys()
