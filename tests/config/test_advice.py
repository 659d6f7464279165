"""What `rls check` says of rules that a server takes: of broken ones all, of good ones nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rls.cli import app
from rls.config.advice import never_bites
from rls.config.cost import OVERHEAD_BYTES, costs
from rls.config.findings import KINDS
from rls.core.model import RateLimit, Unit
from rls.sources.load import load
from tests.redis_server import RedisServer, newest_binary, running

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


def test_what_counters_take_in_redis(tmp_path: Path) -> None:
    """The estimate, and what a real server says."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "domain: mesh\ndescriptors: [{key: company_id, rate_limit: {unit: minute, requests_per_unit: 3}}]\n"
    )
    (cost,) = costs(load([path]).rules.domains["mesh"])
    name = f"r1|mesh|company_id={'x' * 16}|60|1795492380"
    assert (cost.key_bytes, cost.counter_bytes) == (len(name), len(name) + OVERHEAD_BYTES)
    with running(RedisServer(tmp_path, newest_binary())) as server, server.client() as client:
        before, counters = client.info("memory")["used_memory"], 1 << 14
        pipeline = client.pipeline(transaction=False)
        for number in range(counters):
            pipeline.set(name.replace("x" * 16, f"{number:016}"), 5, ex=1000)
        pipeline.execute()
        each = (client.info("memory")["used_memory"] - before) / counters
    assert 0.6 * cost.counter_bytes < each < 1.6 * cost.counter_bytes


def test_each_kind_is_explained() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [code for code in KINDS if f"| `{code}` |" not in page] == []
