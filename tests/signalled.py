"""`rls` that sends itself a signal while it starts: `python -m tests.signalled SIGNAL WHERE serve …`.

WHERE is a module, for the moment before it is imported; or `load`, for the moment in which the rules are read, which then
takes an hour, unless the signal is SIGHUP.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any


class Tripwire(MetaPathFinder):
    """Finds nothing, but calls back before a module is first imported."""

    def __init__(self, module: str, number: signal.Signals) -> None:
        self._module = module
        self._number = number

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name == self._module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), self._number)


def signal_during_load(number: signal.Signals) -> None:
    from rls.app.loading import Loading

    start = Loading.start

    async def signal_and_start(self: Loading) -> None:
        os.kill(os.getpid(), number)
        if number != signal.SIGHUP:
            await asyncio.sleep(3600)
        await start(self)

    Loading.start = signal_and_start  # type: ignore[method-assign]


def main() -> None:
    name, where, *arguments = sys.argv[1:]
    number = signal.Signals[name]
    sys.argv[1:] = arguments
    if where != "load":
        sys.meta_path.insert(0, Tripwire(where, number))
    else:
        signal_during_load(number)
    from rls.__main__ import main as rls

    rls()


if __name__ == "__main__":
    main()
