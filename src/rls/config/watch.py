"""Reload: a look at the files twice a second.

Not told by the file system: it would tell of every write beside the files as well, and a log that is written in the same
directory would cost more than all checks; it tells nothing on network file systems; and its watches can run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from rls.config.files import find
from rls.config.load import Loaded, load
from rls.errors import Place, Problem

MAX_SETTLING = 10

Look: TypeAlias = tuple[tuple[str, int, int, int, int], ...]
"""What stat says of all files; where two looks are equal, nothing was written in between."""


async def watch(
    paths: Sequence[Path],
    apply: Callable[[Loaded], None],
    loaded: Loaded,
    *,
    look_seconds: float = 0.5,
    settle_seconds: float = 0.1,
) -> None:
    """Load *paths* again when they hold something else than *loaded* was made from; runs until cancelled.

    *apply* is called in the loop's thread with news, good or bad: `Loaded.rules` can always be put in force. Files that
    were only touched are no news. A change is read when nothing was written for *settle_seconds*, so that half of a
    write is not taken for the whole. Only what *apply* raises ends it.
    """
    seen: Look | None = None
    while True:
        look = await asyncio.to_thread(_look, paths)
        if look != seen:
            seen = await _settled(paths, look, settle_seconds)
            new = await asyncio.to_thread(_load, paths, loaded)
            if (new.digests, new.problems, new.warnings) != (loaded.digests, loaded.problems, loaded.warnings):
                loaded = new
                apply(loaded)
        await asyncio.sleep(look_seconds)


async def _settled(paths: Sequence[Path], look: Look, seconds: float) -> Look:
    for _ in range(MAX_SETTLING):
        await asyncio.sleep(seconds)
        before, look = look, await asyncio.to_thread(_look, paths)
        if look == before:
            break
    return look


def _look(paths: Sequence[Path]) -> Look:
    look = []
    for file in find(paths).files:
        try:
            stat = Path(file).stat()
        except OSError:
            look.append((file, 0, 0, 0, 0))
        else:
            look.append((file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(look)


def _load(paths: Sequence[Path], loaded: Loaded) -> Loaded:
    try:
        return load(paths, loaded)
    except Exception as error:  # noqa: BLE001
        # A bug of ours must not stop the watch, and must not be silent.
        return replace(loaded, problems=(Problem(Place(str(paths[0]), 1, 1), f"cannot be loaded: {error!r}"),))
