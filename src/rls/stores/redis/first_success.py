"""The first success of several attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from rls.errors import BackendError
from rls.stores.base import kind_of

_Result = TypeVar("_Result")


async def first_success(
    attempts: Iterable[Coroutine[Any, Any, _Result]],
    *,
    stagger_seconds: float = 0.0,
    discard: Callable[[_Result], None] = lambda _: None,
) -> _Result:
    """Start the attempts in the given order until one succeeds; then cancel the others.

    Args:
        attempts: What to try.
        stagger_seconds: Pause before the next attempt starts beside those under way; an attempt that fails ends the pause.
            With 0, all start at once.
        discard: Called with each result that came too late.

    Raises:
        BackendError: All failed; its text has each of their texts once.
    """
    waiting = list(attempts)
    started: list[asyncio.Task[_Result]] = []
    winner: asyncio.Task[_Result] | None = None

    try:
        while winner is None:
            if waiting:
                started.append(asyncio.create_task(waiting.pop(0)))
                if waiting and not stagger_seconds:
                    continue
            under_way = [task for task in started if not task.done()]
            if under_way:
                pause = stagger_seconds if waiting else None
                await asyncio.wait(under_way, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in started if task.done() and task.exception() is None), None)
            if winner is None and not waiting and all(task.done() for task in started):
                raise _failure([task.exception() for task in started])
        return winner.result()
    finally:
        for attempt in waiting:
            attempt.close()
        for task in started:
            if task is not winner:
                task.add_done_callback(lambda late: _discard(late, discard))
                task.cancel()


def _failure(errors: list[BaseException | None]) -> BackendError:
    # In one order: the same failures are the same text, whatever was tried first.
    texts = sorted({str(error) for error in errors})
    kind = kind_of([error for error in errors if isinstance(error, BackendError)])
    error = kind("; ".join(texts) or "there is no address to try")
    error.__cause__ = next(iter(errors), None)
    return error


def _discard(task: asyncio.Task[_Result], discard: Callable[[_Result], None]) -> None:
    # asyncio logs exceptions that were never retrieved.
    if not task.cancelled() and task.exception() is None:
        discard(task.result())
