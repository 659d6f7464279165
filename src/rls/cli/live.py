"""Pages that are drawn again and again in place, as `top` does, and the keys that people press meanwhile."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def is_terminal() -> bool:
    """Whether somebody looks at the output, so that it can be drawn in place."""
    return sys.stdout.isatty()


def show_live(
    draw: Callable[[], RenderableType], seconds: float, press: Callable[[str], bool] = lambda key: key != "q"
) -> None:
    """Draw a page every *seconds* and after each key, until Ctrl-C or until *press* returns False for a key."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    console = Console(highlight=False)
    with suppress(KeyboardInterrupt), _keys() as next_key, Live(console=console, auto_refresh=False) as live:
        due = 0.0
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + seconds
            live.update(draw(), refresh=True)
            while (key := next_key(due - time.monotonic())) is not None:
                if not press(key):
                    return
                live.update(draw(), refresh=True)


@contextmanager
def _keys() -> Iterator[Callable[[float], str | None]]:
    """A function that waits up to so many seconds for a key; without a terminal on stdin none comes."""
    if not sys.stdin.isatty():
        yield _wait
        return
    fileno = sys.stdin.fileno()
    before = termios.tcgetattr(fileno)

    def next_key(seconds: float) -> str | None:
        ready, _, _ = select.select([fileno], [], [], max(0.0, seconds))
        return os.read(fileno, 1).decode("latin-1") if ready else None

    try:
        tty.setcbreak(fileno)
        yield next_key
    finally:
        termios.tcsetattr(fileno, termios.TCSADRAIN, before)


def _wait(seconds: float) -> None:
    time.sleep(max(0.0, seconds))
