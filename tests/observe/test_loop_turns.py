import asyncio
import time
from contextlib import suppress

from rls.observe.loop_turns import LoopTurns, register_loop_turn_metrics
from rls.observe.metrics import Metrics
from tests.transport.conftest import until


async def test_a_turn_that_takes_long_is_seen():
    turns, metrics = LoopTurns(), Metrics()
    register_loop_turn_metrics(metrics, turns)
    watching = asyncio.create_task(turns.run())
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be late
    await until(lambda: sum(turns.seconds.counts))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching

    page = b"".join(metrics.page()[1]).decode()
    # Later than 100 ms, the last bound: the timer was due after 10.
    assert 'rls_loop_turn_seconds_bucket{le="0.1"} 0.0' in page
    assert 'rls_loop_turn_seconds_bucket{le="+Inf"} 1.0' in page
    assert turns.seconds.sum > 0.15


async def test_a_timer_that_is_early_counts_as_no_wait():
    """Timers of some loops have whole milliseconds."""
    times = iter([0.0, 0.0095, 1.0])
    turns = LoopTurns(clock=lambda: next(times))
    watching = asyncio.create_task(turns.run())
    await until(lambda: sum(turns.seconds.counts))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert turns.seconds.sum == 0
