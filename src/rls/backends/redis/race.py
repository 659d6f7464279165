"""The first answer of several that are asked the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from rls.errors import BackendError

_Answer = TypeVar("_Answer")


async def first(questions: Iterable[Coroutine[Any, Any, _Answer]]) -> _Answer:
    """Ask all at once; the other questions are given up as soon as there is an answer.

    Raises:
        BackendError: All failed so.
    """
    tasks = {asyncio.create_task(question) for question in questions}
    error: BaseException = BackendError("there is nobody to ask")
    try:
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            errors = [task.exception() for task in done]
            for task, failed in zip(done, errors, strict=True):
                if failed is None:
                    return task.result()
                error = failed
        raise BackendError(str(error)) from error
    finally:
        for task in tasks:
            task.add_done_callback(_look)
            task.cancel()


def _look(task: asyncio.Task[Any]) -> None:
    """asyncio tells of errors that nobody looked at."""
    if not task.cancelled():
        task.exception()
