"""The one place that loads rules: at the start, on request, and when files change.

Files are looked at twice a second. The file system is not asked to tell of changes: it would tell of every write beside
the files as well, and a log that is written in the same directory would cost more than all checks; it tells nothing on
network file systems; and its watches can run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from rls.errors import Diagnostic, SettingsError, SourceLocation
from rls.sources.disk import Disk
from rls.sources.load import LoadResult, load
from rls.sources.paths import find, missing
from rls.sources.watchdog import NoThreadError, Watchdog

MAX_SETTLING = 10

T = TypeVar("T")

_Look: TypeAlias = tuple[object, ...]
"""What there is to load; equal where nothing changed in between."""


class Loader:
    """Loads *paths*, one load after the other, each from what the one before left.

    So no load is overtaken by an earlier one. Reading is done in threads of a `Watchdog`: files on a volume that does not
    answer keep their last good rules, and neither hold up the others nor the end of the process.

    Attributes:
        loaded: What the last load came to.
        looked_at: When the last look at all files ended, in Unix seconds; 0 before the first.

    Args:
        paths: Files and directories.
        loaded: What is in force already.
        allow_no_rules: Whether a path without rules is no problem.
        disk: Where the files are.
        answer_seconds: Longest that one operation on the disk may take.
        look_seconds: Time between two looks at the files.
        settle_seconds: Time without a write after which a change is read, so that half of a write is not taken for the
            whole.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        loaded: LoadResult | None = None,
        allow_no_rules: bool = False,
        disk: Disk | None = None,
        answer_seconds: float = 5.0,
        look_seconds: float = 0.5,
        settle_seconds: float = 0.1,
    ) -> None:
        self.loaded = loaded or LoadResult()
        self.looked_at = 0.0
        self._paths = tuple(paths)
        self._allow_no_rules = allow_no_rules
        self._watchdog = Watchdog(disk, seconds=answer_seconds)
        self._look_seconds = look_seconds
        self._settle_seconds = settle_seconds
        self._requested = asyncio.Event()

    async def start(self) -> LoadResult:
        """Load for the first time; must end before `run`.

        Raises:
            SettingsError: There is nothing at one of the paths.
        """
        absent = await self._watchdog.run(lambda disk: missing(self._paths, disk))
        if absent:
            raise SettingsError(f"no such file or directory: {absent[0]}, expected rules in YAML")
        self.loaded = await self._watchdog.run(self._load)
        self.looked_at = time.time()
        return self.loaded

    def request(self) -> None:
        """Load once more, even if no file seems to have changed. While a load runs, any number of requests are one."""
        self._requested.set()

    async def run(self, apply: Callable[[LoadResult], Awaitable[None]]) -> None:
        """Load on request and when files change; runs until cancelled.

        *apply* is called with what was requested, and with news, good or bad; `LoadResult.rules` can
        always be put in force. Files that were only touched are no news. Only what *apply* raises ends it.
        """
        seen: _Look | None = None
        while True:
            look = await self._look_again()
            if look != seen:
                look = await self._settled(look)
            # From here on a request is for the load after this one.
            requested = self._requested.is_set()
            self._requested.clear()
            if requested or look != seen:
                seen = look
                before, self.loaded = self.loaded, await self._load_again()
                if requested or _content(self.loaded) != _content(before):
                    await apply(self.loaded)
            await self._pause(self._look_seconds)

    async def _settled(self, look: _Look) -> _Look:
        """The look after which nothing was written for a while; at once where a load is requested."""
        for _ in range(MAX_SETTLING):
            await self._pause(self._settle_seconds)
            before, look = look, await self._look_again()
            if look == before or self._requested.is_set():
                break
        return look

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless a load is requested."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._requested.wait()

    async def _look_again(self) -> _Look:
        look = await self._try(self._look)
        self.looked_at = time.time()
        return (repr(look),) if isinstance(look, Exception) else look  # loading will tell

    async def _load_again(self) -> LoadResult:
        loaded = await self._try(self._load)
        if not isinstance(loaded, Exception):
            return loaded
        problem = Diagnostic(SourceLocation(str(self._paths[0]), 1, 1), f"cannot be loaded: {loaded!r}")
        return replace(self.loaded, problems=(problem,), lost=(), unread=(), empty=())

    async def _try(self, job: Callable[[Disk], T]) -> T | Exception:
        """What *job* returns, or why it does not: a bug of ours, or a lack of threads, must not end reloads."""

        def guarded(disk: Disk) -> T | Exception:
            try:
                return job(disk)
            except Exception as error:  # noqa: BLE001
                return error

        try:
            return await self._watchdog.run(guarded)
        except NoThreadError as error:
            return error

    def _load(self, disk: Disk) -> LoadResult:
        return load(self._paths, self.loaded, allow_no_rules=self._allow_no_rules, disk=disk)

    def _look(self, disk: Disk) -> _Look:
        found = find(self._paths, self.loaded.files, disk)
        # A path that did not answer while it was loaded, and does now, looks as it did before.
        return (self._watchdog.answered, found.files, found.problems, found.warnings)


def _content(loaded: LoadResult) -> tuple[object, ...]:
    return (loaded.digests, loaded.problems, loaded.warnings)
