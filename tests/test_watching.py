"""What nobody reports is found by looking."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rls.enforcement import EnforcementState, Reason
from rls.observe.logs import configure
from rls.observe.metrics import Metrics
from rls.settings import Settings
from rls.transport.base import Dropped
from rls.watching import Watching


@asynccontextmanager
async def watch(folder: Path, **settings: str) -> AsyncIterator[tuple[Watching, EnforcementState]]:
    enforcement = EnforcementState()
    asked = Settings.model_validate({"config": (folder,), **settings})
    watching = Watching(
        asked, configure("info", "text", io.StringIO()), Metrics(), enforcement, lambda: {"backend": 100, "invalid": 0}
    )
    task = asyncio.create_task(watching.run())
    await asyncio.sleep(0)  # its first look
    try:
        yield watching, enforcement
    finally:
        task.cancel()


@pytest.mark.parametrize(("answer", "weaker"), [("error", True), ("allow", True), ("deny", False)])
@pytest.mark.parametrize("why", [Dropped.SHED, Dropped.QUEUED])
async def test_shed_calls_make_limits_weaker_unless_they_are_refused(
    answer: str, weaker: bool, why: Dropped, tmp_path: Path
) -> None:
    async with watch(tmp_path, on_overload=answer) as (watching, enforcement):
        watching.drops.add(why)
        watching.look()
        assert (enforcement.find(Reason.CALLS_SHED) is not None) is weaker
        assert watching.drops.shed == 1
