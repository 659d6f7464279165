"""Rules in files: loaded at the start, on request, and when files change.

Files are polled twice a second. Notifications of the file system would not do: they come for every write beside the
files as well, and a log that is written in the same directory would cost more than all checks; they do not come on
network file systems; and their watches can run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from rls.engine.layers import Layer
from rls.engine.old_rules import OldRules
from rls.errors import Diagnostic, SettingsError, SourceLocation
from rls.slices import Steps, run
from rls.sources.base import Publish
from rls.sources.compiling import compile_pieces
from rls.sources.contents import Content, read_contents
from rls.sources.disk import Disk
from rls.sources.load import LoadResult, combine, to_compile
from rls.sources.paths import FileSet, find, missing
from rls.sources.watchdog import NoThreadError, Watchdog

MAX_DEBOUNCES = 10

T = TypeVar("T")

_Poll: TypeAlias = tuple[object, ...]
"""What there is to load; equal where nothing changed in between."""


class FileSource:
    """Loads *paths*, one load after the other, each from what the one before left; a `RuleSource`.

    The disk is asked in threads of a `Watchdog`: files on a volume that does not answer keep their last good rules, and
    neither hold up the others nor the end of the process.

    Attributes:
        loaded: What the last load came to.
        polled_at: When the last poll of all files ended, in Unix seconds; 0 before the first.

    Args:
        paths: Files and directories.
        loaded: What is in force already.
        allow_no_rules: Whether a path without rules is no problem.
        disk: Where the files are.
        answer_seconds: Longest that one operation on the disk may take.
        poll_seconds: Time between two polls.
        before_load: Called before each load.
        old_rules: Frees what is replaced: that of the rulebook that gets the rules; None for one of its own.
        quiet_seconds: Time without a write after which a change is read, so that half of a write is not taken for the
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
        poll_seconds: float = 0.5,
        quiet_seconds: float = 0.1,
        before_load: Callable[[], None] = lambda: None,
        old_rules: OldRules | None = None,
    ) -> None:
        self.loaded = loaded or LoadResult()
        self.polled_at = 0.0
        self._paths = tuple(paths)
        self._allow_no_rules = allow_no_rules
        self._watchdog = Watchdog(disk, seconds=answer_seconds)
        self._poll_seconds = poll_seconds
        self._quiet_seconds = quiet_seconds
        self._before_load = before_load
        self._requested = asyncio.Event()
        self._generation = 0
        self._old_rules = OldRules() if old_rules is None else old_rules

    async def start(self) -> Layer:
        """Load for the first time; must end before `run`.

        Raises:
            SettingsError: There is nothing at one of the paths.
        """
        absent = await self._watchdog.run(lambda disk: missing(self._paths, disk))
        if absent:
            raise SettingsError(f"no such file or directory: {absent[0]}, expected rules in YAML")
        loaded = await self._load(is_start=True)
        if isinstance(loaded, Exception):
            raise loaded
        self.loaded = loaded
        self.polled_at = time.time()
        return self.layer()

    def request(self) -> None:
        """Load once more, even if no file seems to have changed. While a load runs, any number of requests are one."""
        self._requested.set()

    async def run(self, publish: Publish) -> None:
        """Load on request and when files change; runs until cancelled.

        *publish* gets what was requested, and news, good or bad. Files that were only touched are no news. Only what
        *publish* raises ends it.
        """
        seen: _Poll | None = None
        while True:
            poll = await self._poll()
            if poll != seen:
                poll = await self._debounce(poll)
            # From here on a request is for the load after this one.
            requested = self._requested.is_set()
            self._requested.clear()
            if requested or poll != seen:
                seen = poll
                before, self.loaded = self.loaded, await self._load_again(read_all=requested)
                if requested or _said(self.loaded) != _said(before):
                    await publish(self.layer())
                self._free(before)
                del before
            await self._pause(self._poll_seconds)

    def layer(self) -> Layer:
        """What the last load came to, for the rulebook."""
        loaded = self.loaded
        return Layer(
            loaded.rules,
            generation=self._generation,
            rejected=bool(loaded.diagnostics) and not loaded.files,
            files=loaded.files,
            mistakes=loaded.mistakes,
            lost=loaded.lost,
            unread=loaded.unread,
            empty=loaded.empty,
            warnings=loaded.warnings,
        )

    async def _debounce(self, poll: _Poll) -> _Poll:
        """The poll after which nothing was written for a while; at once where a load is requested."""
        for _ in range(MAX_DEBOUNCES):
            await self._pause(self._quiet_seconds)
            before, poll = poll, await self._poll()
            if poll == before or self._requested.is_set():
                break
        return poll

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless a load is requested."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._requested.wait()

    async def _poll(self) -> _Poll:
        poll = await self._try(self._fingerprints)
        self.polled_at = time.time()
        return (repr(poll),) if isinstance(poll, Exception) else poll  # loading will tell

    def _fingerprints(self, disk: Disk) -> _Poll:
        found = find(self._paths, self.loaded.files, disk)
        # A path that did not answer while it was loaded, and does now, looks as it did before.
        return (self._watchdog.answered, found.files, found.diagnostics, found.warnings)

    async def _load_again(self, *, read_all: bool) -> LoadResult:
        """What a load comes to; where it fails, for a bug or a lack of threads, what was loaded before, and why."""
        loaded = await self._load(read_all=read_all)
        if not isinstance(loaded, Exception):
            return loaded
        mistake = (Diagnostic(SourceLocation(str(self._paths[0]), 1, 1), f"cannot be loaded: {loaded!r}"),)
        return replace(self.loaded, diagnostics=mistake, mistakes=mistake, lost=(), unread=(), empty=())

    async def _load(self, *, is_start: bool = False, read_all: bool = True) -> LoadResult | Exception:
        self._generation += 1
        self._before_load()
        previous = self.loaded

        def find_and_read(disk: Disk) -> tuple[FileSet, dict[str, Content]]:
            found = find(self._paths, previous.files, disk)
            return found, read_contents(found, previous.contents, disk, trust_fingerprints=not read_all)

        read = await self._try(find_and_read)
        if isinstance(read, Exception):
            return read
        found, contents = read
        compiled = {file: await compile_pieces(file, pieces, eager=is_start) for file, pieces in to_compile(contents)}
        steps = combine(self._paths, previous, found, contents, compiled, allow_no_rules=self._allow_no_rules)
        return await run(_guarded(steps), eager=is_start)

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

    def _free(self, before: LoadResult) -> None:
        """Free the documents of files that have others now."""
        for file, good in before.good.items():
            if self.loaded.good.get(file) is not good:
                self._old_rules.free(document.root for document in good.documents)


def _guarded(steps: Steps[T]) -> Steps[T | Exception]:
    """What *steps* return or raise. Errors that come from elsewhere, while the loop waits, are not theirs."""
    try:
        return (yield from steps)
    except Exception as error:  # noqa: BLE001 - as for `_try`
        return error


def _said(loaded: LoadResult) -> tuple[object, ...]:
    return ({file: content.digest for file, content in loaded.contents.items()}, loaded.diagnostics, loaded.warnings)
