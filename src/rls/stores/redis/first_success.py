"""The first answer of several questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from rls.errors import BackendError
from rls.stores.base import kind_of

_Answer = TypeVar("_Answer")


async def first(
    questions: Iterable[Coroutine[Any, Any, _Answer]],
    *,
    stagger_seconds: float = 0.0,
    discard: Callable[[_Answer], None] = lambda _: None,
) -> _Answer:
    """Ask in the given order until there is an answer; then give the other questions up.

    Args:
        questions: What to ask.
        stagger_seconds: Pause before the next question is asked as well; a question that fails ends the pause. With 0, all
            are asked at once.
        discard: Called with each answer that came too late.

    Raises:
        BackendError: All failed; its text has each of their texts once.
    """
    waiting = list(questions)
    asked: list[asyncio.Task[_Answer]] = []
    answer: asyncio.Task[_Answer] | None = None

    try:
        while answer is None:
            if waiting:
                asked.append(asyncio.create_task(waiting.pop(0)))
                if waiting and not stagger_seconds:
                    continue
            under_way = [task for task in asked if not task.done()]
            if under_way:
                pause = stagger_seconds if waiting else None
                await asyncio.wait(under_way, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            answer = next((task for task in asked if task.done() and task.exception() is None), None)
            if answer is None and not waiting and all(task.done() for task in asked):
                raise _failure([task.exception() for task in asked])
        return answer.result()
    finally:
        for question in waiting:
            question.close()
        for task in asked:
            if task is not answer:
                task.add_done_callback(lambda late: _discard(late, discard))
                task.cancel()


def _failure(errors: list[BaseException | None]) -> BackendError:
    # In one order: the same failures are the same text, whatever was tried first.
    texts = sorted({str(error) for error in errors})
    kind = kind_of([error for error in errors if isinstance(error, BackendError)])
    error = kind("; ".join(texts) or "there is nobody to ask")
    error.__cause__ = next(iter(errors), None)
    return error


def _discard(task: asyncio.Task[_Answer], discard: Callable[[_Answer], None]) -> None:
    # asyncio complains of errors that nobody looked at.
    if not task.cancelled() and task.exception() is None:
        discard(task.result())
