"""Plug-ins that fail: an algorithm that judges nothing, and a source of rules that ends again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rls.core.algorithms.fixed_window import FixedWindow
from rls.core.check import Check
from rls.engine.layers import Layer


class FailingAlgorithm(FixedWindow):
    """Counts as the fixed window does, and then has no verdict."""

    name = "failing"

    def judge(self, check: Check, counts: Sequence[int], now: int) -> NoReturn:
        raise ArithmeticError(f"no verdict on {check.descriptor.text}")


FAILING_ALGORITHM = FailingAlgorithm()


class FailingSource:
    """`failing:///path`: offers no rules. It fails while the file at the path says `fail`, and does not start with `start`."""

    polled_at = float("inf")

    def __init__(self, url: str) -> None:
        self._file = Path(url.removeprefix("failing://"))

    async def start(self) -> Layer:
        if self._file.read_text() == "start":
            raise KeyError("start")
        return Layer()

    async def run(self, publish: Any) -> None:
        if self._file.read_text() == "fail":
            raise LookupError("run")
        await publish(Layer())
        while self._file.read_text() != "fail":  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)

    def request(self) -> None:
        """It publishes whenever it runs."""
