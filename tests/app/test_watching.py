"""What nobody reports is found by looking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rls.app.telemetry import Telemetry
from rls.app.watching import Watching
from rls.engine.enforcement import EnforcementState, Reason
from rls.observe.cpu import CpuStat
from rls.settings import Settings
from rls.stores.redis import Inspection
from rls.transport.base import Dropped

STAT = "nr_periods {}\nnr_throttled {}\nthrottled_usec 1\n"


@asynccontextmanager
async def watch(
    folder: Path, *, cpu: CpuStat | None = None, **settings: str
) -> AsyncIterator[tuple[Watching, EnforcementState]]:
    asked = Settings.model_validate({"config": (folder,), **settings})
    telemetry = Telemetry(asked)
    enforcement = telemetry.enforcement
    inspection = Inspection(on_skew=lambda _: None, on_evictions=lambda _: None, on_lost=lambda _: None)
    watching = Watching(asked, telemetry, inspection, lambda: {"backend": 100, "invalid": 0}, cpu=cpu)
    task = asyncio.create_task(watching.run())
    await asyncio.sleep(0)  # its first look
    try:
        yield watching, enforcement
    finally:
        task.cancel()


@pytest.mark.parametrize(("answer", "weaker"), [("error", True), ("allow", True), ("deny", False)])
@pytest.mark.parametrize("why", [Dropped.SHED, Dropped.QUEUED, Dropped.LARGE, Dropped.INCOMPLETE])
async def test_shed_calls_make_limits_weaker_unless_they_are_refused(
    answer: str, weaker: bool, why: Dropped, tmp_path: Path
) -> None:
    async with watch(tmp_path, on_overload=answer) as (watching, enforcement):
        watching.drops.add(why)
        watching.poll()
        assert (enforcement.find(Reason.CALLS_SHED) is not None) is weaker
        assert watching.drops.shed == 1


async def test_a_stream_that_is_shed_weakens_no_limit(tmp_path: Path) -> None:
    """It is a watch of health, or another method that counts nothing."""
    async with watch(tmp_path) as (watching, enforcement):
        watching.drops.add(Dropped.STREAM)
        watching.poll()
        assert enforcement.find(Reason.CALLS_SHED) is None
        assert watching.drops.shed == 0


def test_dropped_calls_are_counted_by_class_and_reason() -> None:
    assert {why: (why.kind, why.reason) for why in Dropped} == {
        "shed": ("check", "shed"),
        "queued": ("check", "queued"),
        "expired": ("check", "expired"),
        "late": ("check", "late"),
        "cancelled": ("check", "cancelled"),
        "large": ("large", "shed"),
        "incomplete": ("incomplete", "shed"),
        "stream": ("stream", "shed"),
    }


@pytest.mark.parametrize(
    ("throttled", "periods", "percent"), [(10, 200, ""), (11, 200, "5"), (9, 10, ""), (60, 200, "25"), (600, 600, "50")]
)
async def test_a_cpu_limit_that_stops_the_process_in_more_than_five_percent_of_its_periods(
    throttled: int, periods: int, percent: str, tmp_path: Path
) -> None:
    """Not in fewer than ten of them, as in a start."""
    file = tmp_path / "sys/fs/cgroup/cpu.stat"
    for path, text in ((tmp_path / "proc/self/cgroup", "0::/\n"), (file, STAT.format(7_000, 6_000))):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    async with watch(tmp_path, cpu=CpuStat(tmp_path)) as (watching, enforcement):
        file.write_text(STAT.format(7_000 + periods, 6_000 + throttled))
        watching.poll()
        found = enforcement.find(Reason.CPU_THROTTLED)
        assert (found is not None) == bool(percent)
        assert found is None or f"more than {percent} % of the periods" in found.text


@pytest.mark.parametrize("why", [Dropped.EXPIRED, Dropped.LATE, Dropped.CANCELLED])
@pytest.mark.parametrize(("late", "weaker"), [(9, False), (10, True)])
@pytest.mark.parametrize("answer", ["error", "deny"])
async def test_calls_whose_callers_gave_up_are_reported_from_ten_on(
    why: Dropped, late: int, weaker: bool, answer: str, tmp_path: Path
) -> None:
    """Whatever shed calls are answered with: these got no answer."""
    async with watch(tmp_path, on_overload=answer) as (watching, enforcement):
        for _ in range(late):
            watching.drops.add(why)
        watching.poll()
        assert (enforcement.find(Reason.CALLS_LATE) is not None) is weaker
        assert enforcement.find(Reason.CALLS_SHED) is None
