"""Reload: told by the file system, and once a second by a look of our own, for what it does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from watchfiles import awatch

from rls.config.files import find
from rls.config.load import Loaded, load
from rls.errors import Place, Problem

MAX_SETTLING = 10


class _Look(NamedTuple):
    """What stat says of all files and directories; where two looks are equal, nothing was written in between."""

    files: tuple[tuple[str, int, int, int, int], ...]
    directories: tuple[tuple[str, int], ...]


async def watch(
    paths: Sequence[Path],
    apply: Callable[[Loaded], None],
    loaded: Loaded,
    *,
    look_seconds: float = 1.0,
    settle_seconds: float = 0.1,
) -> None:
    """Load *paths* again when they hold something else than *loaded* was made from; runs until cancelled.

    *apply* is called in the loop's thread with news, good or bad: `Loaded.rules` can always be put in force. Files that
    were only touched are no news. A change is read when nothing was written for *settle_seconds*, so that half of a
    write is not taken for the whole. Only what *apply* raises ends it.
    """
    seen: _Look | None = None
    async with aclosing(_nudges(paths, look_seconds)) as nudges:
        async for look in nudges:
            if look == seen:
                continue
            seen = await _settled(paths, look, settle_seconds)
            new = await asyncio.to_thread(_load, paths, loaded)
            if new.digests != loaded.digests or new.problems != loaded.problems or new.warnings != loaded.warnings:
                loaded = new
                apply(loaded)


async def _nudges(paths: Sequence[Path], seconds: float) -> AsyncGenerator[_Look, None]:
    """Looks: one at once, then one whenever something may have changed, at least every *seconds*."""
    while True:
        look = await asyncio.to_thread(_look, paths)
        yield look
        directories = look.directories
        try:
            async with aclosing(_changes(directories, seconds)) as changes:
                async for _ in changes:
                    look = await asyncio.to_thread(_look, paths)
                    yield look
                    if look.directories != directories:
                        break  # one came, went or was replaced: the file system's watch is on the old ones
        except (OSError, RuntimeError):
            await asyncio.sleep(seconds)  # it went while the watch began, or the system has no watches left


async def _changes(directories: Sequence[tuple[str, int]], seconds: float) -> AsyncGenerator[object, None]:
    milliseconds = round(seconds * 1000)
    names = [name for name, _ in directories]
    if not names:
        await asyncio.sleep(seconds)
        yield None
        return
    changes = awatch(
        *names,
        watch_filter=None,
        debounce=50,
        step=20,
        rust_timeout=milliseconds,
        yield_on_timeout=True,
        recursive=False,
    )
    async with aclosing(changes):
        async for change in changes:
            yield change


async def _settled(paths: Sequence[Path], look: _Look, seconds: float) -> _Look:
    for _ in range(MAX_SETTLING):
        await asyncio.sleep(seconds)
        before, look = look, await asyncio.to_thread(_look, paths)
        if look == before:
            break
    return look


def _look(paths: Sequence[Path]) -> _Look:
    found = find(paths)
    # Of a path to a file its directory is watched: editors and ConfigMaps replace the file itself.
    parents = {str(path.parent) for path in paths if not path.is_dir() and path.parent.is_dir()}
    files = []
    for file in found.files:
        try:
            stat = Path(file).stat()
        except OSError:
            files.append((file, 0, 0, 0, 0))
        else:
            files.append((file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    directories = []
    for directory in sorted(parents.union(found.directories)):
        try:
            directories.append((directory, Path(directory).stat().st_ino))
        except OSError:
            continue
    return _Look(tuple(files), tuple(directories))


def _load(paths: Sequence[Path], loaded: Loaded) -> Loaded:
    try:
        return load(paths, loaded)
    except Exception as error:  # noqa: BLE001
        # A bug of ours must not stop the watch, and must not be silent.
        return replace(loaded, problems=(Problem(Place(str(paths[0]), 1, 1), f"cannot be loaded: {error!r}"),))
