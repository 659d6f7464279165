"""Plays a test: its steps, on a clock that they set, against a service with its rules and settings."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rls.api.messages import decoded, encoded
from rls.core.decide import Decision
from rls.core.model import Descriptor, Entry, RateLimit, Request
from rls.core.pseudonyms import Hide, plain
from rls.engine.events import Observer, RequestContext
from rls.errors import RlsError, SourceLocation
from rls.sources.load import LoadResult, load
from rls.sources.paths import missing
from rls.stores.base import CounterStore
from rls.stores.memory import MemoryStore
from rls.stores.over_limit_cache import OverLimitCache
from rls.tools.rule_tests.grammar import RuleTest
from rls.tools.rule_tests.judge import Came, Failure, judge, notes_on
from rls.tools.rule_tests.mistakes import Located
from rls.tools.rule_tests.recorded import Recorded
from rls.tools.rule_tests.service import service_of
from rls.transport.status import status_of

_PATIENCE = 20.0


class Player:
    """One test under way.

    Args:
        test: The test.
        folder: For the files of its rules.
        config: Paths of rules for a test that names none.
        hide: What stands for values of requests.
        unseen: Expectations that are not compared.
    """

    def __init__(
        self,
        test: RuleTest,
        folder: Path,
        *,
        config: Sequence[Path] = (),
        hide: Hide = plain,
        unseen: Collection[str] = (),
    ) -> None:
        self.test = test
        self.now = test.start
        self._folder = folder
        self._config = config
        self._hide = hide
        self._unseen = unseen
        self._loaded: LoadResult | None = None
        self._last = _Last()
        self._domain = "mesh"

    def clock(self) -> float:
        """The time of the test, in Unix seconds."""
        return self.now

    async def play(self, backend: CounterStore, *, over_limit_cache: bool = False) -> list[Failure]:
        """Take every step, and return what was not as expected. *backend* counts by `clock`."""
        self._recorded = Recorded(backend)
        counters = OverLimitCache(self._recorded, clock=self.clock) if over_limit_cache else self._recorded
        self._is_back = asyncio.Event()
        self._limiter, self._service = service_of(
            self.test.fields.get("settings", {}),
            counters,
            observers=[self._last],
            hide=self._hide,
            clock=self.clock,
            on_store_change=lambda reason: None if reason else self._is_back.set(),
        )
        failures = self._load_first()
        try:
            if not failures:
                for step in self.test.steps:
                    failures += [failure async for failure in self._take(step)]
        finally:
            await self._limiter.policies.aclose()
        return failures

    def _load_first(self) -> list[Failure]:
        """Put the rules of the test in force."""
        fields = self.test.fields
        if "rules" in fields:
            if fields["rules"]:
                return self._load(fields["rules"], [], fields.where("rules"))
            return []
        paths = self.test.config or self._config
        place = fields.where("config")
        if not paths:
            return [Failure(place, "rules", "`rules` or `config` here, or --config", "none of them")]
        if absent := missing(paths):
            return [Failure(place, "config", "rules", f"no such file or directory: {absent[0]}")]
        return self._take_over(load(paths), [], place, "")

    def _load(self, rules: str | Mapping[str, str], problems: Sequence[str], place: SourceLocation) -> list[Failure]:
        """Write the files, and load them as a reload does."""
        files = {"rules.yaml": rules} if isinstance(rules, str) else rules
        for name, text in files.items():
            (self._folder / name).write_text(text)
        for path in self._folder.iterdir():
            if path.name not in files:
                path.unlink()
        return self._take_over(load([self._folder], self._loaded), problems, place, f"{self._folder}/")

    def _take_over(
        self, loaded: LoadResult, problems: Sequence[str], place: SourceLocation, folder: str
    ) -> list[Failure]:
        first = self._loaded is None
        self._loaded = loaded
        found = [f"{problem}".removeprefix(folder) for problem in loaded.diagnostics]
        told = len(found) == len(problems) and all(map(str.__contains__, found, problems))
        if first and "domain" not in self.test.fields and len(loaded.rules.domains) == 1:
            self._domain = next(iter(loaded.rules.domains))
        self._limiter.load(loaded.rules)
        expected = "; ".join(problems) or "rules without mistakes"
        return [] if told else [Failure(place, "problems", expected, "; ".join(found) or "no mistakes")]

    async def _take(self, step: Located) -> AsyncIterator[Failure]:
        """One step; a request that fails is not repeated."""
        self.now = self.test.start + step.get("at", self.now - self.test.start)
        if "load" in step:
            for failure in self._load(step["load"], step.get("problems", []), step.where("load")):
                yield failure
        if "backend" in step:
            await self._move_backend(step["backend"])
        if "ask" not in step:
            return
        request = self._request(step)
        times = step.get("times", 1)
        for turn in range(times):
            came = await self._ask(request)
            failures = list(judge(step, came, self._unseen))
            notes = self._notes(request, came.decision, turn + 1 if times > 1 else 0) if failures else []
            for failure in failures:
                yield failure._replace(notes=notes)
            if failures:
                return

    async def _move_backend(self, to: str) -> None:
        """Take the backend away; or bring it back, and wait until that has been seen."""
        self._recorded.away = to == "away"
        if to == "back" and self._limiter.policies.reason:
            self._is_back.clear()
            await asyncio.wait_for(self._is_back.wait(), _PATIENCE)

    def _request(self, step: Mapping[str, Any]) -> Request:
        domain = step.get("domain", self.test.fields.get("domain", self._domain))
        return Request(domain, tuple(map(_descriptor, step["ask"])), step.get("hits_addend", 0))

    async def _ask(self, request: Request) -> Came:
        self._recorded.hits.clear()
        self._last.decision = None
        await asyncio.sleep(0)  # as between two calls of a client
        try:
            answer = decoded(await self._service.answer(encoded(request)))
        except RlsError as error:
            code, text = status_of(error)
            return Came(f"{int(code)} {text}")
        metadata = dict(answer.metadata)
        if "place" in metadata:
            metadata["place"] = metadata["place"].removeprefix(f"{self._folder}/")
        return Came("", answer, self._last.decision, metadata, self._recorded.keys)

    def _notes(self, request: Request, decision: Decision | None, turn: int) -> list[str]:
        """Lines on a request: the time, and what each descriptor came to."""
        passed = f"{self.now - self.test.start:g} s after the start"
        asked = f"asked in the domain {request.domain}, {passed}" + (f", request {turn} of the step" if turn else "")
        if decision is not None and not decision.plan.known:
            domains = ", ".join(self._limiter.rules.domains) or "none"
            return [asked, f"no rules for the domain {request.domain}; there are rules for: {domains}"]
        found = [] if decision is None else notes_on(decision)
        return [asked, *(line.replace(f"{self._folder}/", "") for line in found)]


class _Last(Observer):
    """Keeps the last decision: what a response does not show stands there."""

    decision: Decision | None = None

    def decided(self, request: RequestContext) -> None:
        self.decision = request.decision


def _descriptor(asked: Located) -> Descriptor:
    whole = "entries" in asked or not asked
    entries = asked.get("entries", []) if whole else asked.items()
    rest: Mapping[str, Any] = asked if whole else {}
    limit: RateLimit | None = rest.get("limit")
    return Descriptor(
        tuple(Entry(key, value) for key, value in entries),
        limit,
        rest.get("hits_addend"),
        rest.get("is_negative_hits", False),
    )


async def play_in_memory(test: RuleTest, config: Sequence[Path] = ()) -> list[Failure]:
    """Play *test* with counters in memory; see `Player`."""
    with tempfile.TemporaryDirectory(prefix="rls-test-") as folder:
        player = Player(test, Path(folder), config=config)
        return await player.play(MemoryStore(clock=player.clock))
