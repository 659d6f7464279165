"""What `rls check` says of rules that a server takes: of broken ones all, of good ones nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rls.cli import app
from rls.config.advice import never_bites
from rls.config.cost import JITTER_SECONDS, OVERHEAD_BYTES, costs
from rls.config.findings import KINDS
from rls.core.model import RateLimit, Unit
from rls.settings.schema import Settings
from rls.sources.load import load
from tests.redis_server import RedisServer, redis_binaries, redis_binary, running

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BROKEN = sorted((HERE / "advised").glob("*.yaml"))
DOCUMENTED = sorted((HERE / "documented").glob("*.yaml"))
OWN = sorted(
    path
    for folder in ("config", "examples", "k8s", "istio", "tests/mesh")
    for path in (ROOT / folder).rglob("*.yaml")
    if "\ndomain:" in (text := f"\n{path.read_text()}") and "\ndescriptors:" in text
)


def checked(path: Path, *options: str) -> list[str]:
    return CliRunner().invoke(app, ["check", *options, path.name]).stdout.splitlines()


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_of_broken_rules_each_fault_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lines of a file are all that is said of it."""
    monkeypatch.chdir(path.parent)
    expected = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert expected
    assert checked(path) == [f"{path.name}:{line.removeprefix('# ')}" for line in expected]


@pytest.mark.parametrize("path", [*DOCUMENTED, *OWN], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_of_good_rules_nothing_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of documented examples of the Go server's users, and our own."""
    monkeypatch.chdir(path.parent)
    assert checked(path) == []


def test_there_are_enough_of_both() -> None:
    assert len(BROKEN) >= 20
    assert len(DOCUMENTED) >= 5
    assert {path.relative_to(ROOT).parts[0] for path in OWN} == {"config", "examples", "tests"}


LIMITS = st.builds(
    RateLimit, st.integers(0, 4), st.sampled_from([Unit.SECOND, Unit.MINUTE]), st.sampled_from([1, 2, 3, 30])
)


@settings(max_examples=50)
@given(LIMITS, LIMITS, st.lists(st.tuples(st.integers(0, 130), st.booleans()), max_size=20))
def test_a_limit_that_never_bites_refuses_nothing_alone(
    inner: RateLimit, outer: RateLimit, hits: list[tuple[int, bool]]
) -> None:
    """Hits at some seconds, of which some are of the inner limit, too; counted as fixed windows are."""
    if not never_bites(inner, outer):
        return
    counts: dict[tuple[str, int], int] = {}
    for second, both in sorted(hits):
        limits = [("outer", outer), ("inner", inner)] if both else [("outer", outer)]
        over = {}
        for name, limit in limits:
            window = (name, second // limit.window_seconds)
            counts[window] = counts.get(window, 0) + 1
            over[name] = counts[window] > limit.requests_per_unit
        assert over["outer"] or not over.get("inner")


COUNTERS = 18_750
"""As full as 300,000, with which docs/scaling.md was measured, make the tables of Redis: a sixteenth, of a sixteenth."""


@pytest.mark.parametrize("length", [16, 32, 64])
@pytest.mark.parametrize("name", redis_binaries() or [""])
def test_what_counters_take_in_redis(tmp_path: Path, name: str, length: int) -> None:
    """A real server takes a tenth more than the estimate at most; Valkey 9 takes a third less."""
    path = tmp_path / "rules.yaml"
    key = "company_id".ljust(length - 16 + len("company_id"), "_")
    path.write_text(
        f"domain: mesh\ndescriptors: [{{key: {key}, rate_limit: {{unit: minute, requests_per_unit: 3}}}}]\n"
    )
    (cost,) = costs(load([path]).rules.domains["mesh"])
    counter = f"r1|mesh|{key}={'x' * 16}|60|1795492380"
    assert (cost.key_bytes, cost.counter_bytes) == (len(counter), len(counter) + OVERHEAD_BYTES)
    binary = redis_binaries()[name] if name else redis_binary()
    with running(RedisServer(tmp_path, binary)) as server, server.client() as client:
        before = client.info("memory")["used_memory"]
        for first in range(0, COUNTERS, 750):
            pipeline = client.pipeline(transaction=False)
            for number in range(first, first + 750):
                pipeline.set(counter.replace("x" * 16, f"{number:016}"), 5, ex=1000)
            pipeline.execute()
        each = (client.info("memory")["used_memory"] - before) / COUNTERS
    assert 0.65 * cost.counter_bytes < each < 1.1 * cost.counter_bytes


def test_the_estimate_is_what_the_page_has_measured() -> None:
    rows = [
        row.split("|") for row in (ROOT / "docs" / "scaling.md").read_text().splitlines() if row.startswith("| v1, ")
    ]
    assert len(rows) == 3
    for row in rows:
        name, measured = int(row[2]), int(row[4])
        assert abs(name + OVERHEAD_BYTES - measured) <= 0.02 * measured


def test_counters_are_kept_as_long_as_the_settings_say() -> None:
    assert Settings.model_fields["expiration_jitter"].default == JITTER_SECONDS


def test_each_kind_is_explained() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [code for code in KINDS if f"| `{code}` |" not in page] == []
