"""`rls` as a library: rules, a store, a limiter and a check, inside a Python program of your own.

    rules = load_rules("rules.yaml")
    async with RateLimiter(rules, open_store("redis://localhost:6379")) as limiter:
        decision = await limiter.check("mesh", {"company_id": "acme"})
        if decision.code is Code.OVER_LIMIT:
            print(decision.limited_by)

It counts in the same counters as a server with the same rules, store and `key_prefix`. The names here are the public API:
they change only with a line in the changelog. All of them belong to one event loop, and none is thread-safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rls.core.check import Status
from rls.core.decide import Decision
from rls.core.model import Code, Descriptor, Entry, Request
from rls.core.plan import CountingOptions
from rls.core.rules import OnBackendError, RuleSet
from rls.engine.events import Observer, RequestContext
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.errors import BackendError, ConfigError, Diagnostic, RlsError, SettingsError
from rls.sources.load import load
from rls.sources.paths import missing
from rls.stores.base import CounterStore, StoreBatch
from rls.stores.opening import open_store
from rls.stores.schemes import StoreOptions

__all__ = [
    "BackendError",
    "Code",
    "ConfigError",
    "CounterStore",
    "Decision",
    "Diagnostic",
    "Observer",
    "RateLimiter",
    "RequestContext",
    "RlsError",
    "RuleSet",
    "SettingsError",
    "Status",
    "StoreBatch",
    "StoreOptions",
    "load_rules",
    "open_store",
]


def load_rules(*paths: str | Path) -> RuleSet:
    """The rules of all files and directories at *paths*, in the YAML that `rls serve` takes.

    Raises:
        SettingsError: There is nothing at one of the paths.
        ConfigError: The rules have mistakes; its `problems` has all of them, each with its place.
    """
    if not paths or "" in paths:
        raise SettingsError("expected at least one file or directory with rules, and no empty path")
    wanted = [Path(path) for path in paths]
    for path in missing(wanted):
        raise SettingsError(f"no such file or directory: {path}, expected rules in YAML")
    loaded = load(wanted)
    if loaded.diagnostics:
        raise ConfigError(loaded.diagnostics)
    return loaded.rules


class RateLimiter:
    """Checks requests against *rules*, and counts them in *store*.

    Args:
        rules: From `load_rules`. `load` replaces them.
        store: From `open_store`. It is closed with the limiter.
        on_backend_error: What decides while the store fails, for rules that do not say: `local`, `allow`, `deny` or `error`.
        key_prefix: Goes before the key of every counter; servers that share counters have the same.
        observers: Hear of checks.
    """

    def __init__(
        self,
        rules: RuleSet,
        store: CounterStore,
        *,
        on_backend_error: str = "local",
        key_prefix: str = "",
        observers: Sequence[Observer] = (),
    ) -> None:
        if on_backend_error not in set(OnBackendError):
            raise SettingsError(
                f"on_backend_error is {on_backend_error!r}, expected one of {', '.join(OnBackendError)}"
            )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._store = store
        self._policies = FailurePolicies(store, default=OnBackendError(on_backend_error))
        self._limiter = Limiter(
            store, policies=self._policies, counting=CountingOptions(key_prefix=key_prefix), observers=observers
        )
        self._limiter.load(rules)

    def load(self, rules: RuleSet) -> None:
        """Put *rules* in force, in place of those before. Counters stay."""
        self._limiter.load(rules)

    async def check(self, domain: str, *descriptors: Mapping[str, str], hits: int = 1) -> Decision:
        """Count a request, and decide on it.

        Args:
            domain: As in the rules.
            descriptors: Keys and values, in the order in which the rules nest them.
            hits: How many to count; more than 0.

        Returns:
            The overall `code`, and a status for each check, in the order of the descriptors. `limited_by` is the status that
            is over its limit; None where the code is OK.

        Raises:
            BackendError: The store failed, and the policy of a rule is `error`.
            RuntimeError: The limiter is closed, or was used in another event loop before.
            ValueError: *hits* is less than 1.
        """
        loop = asyncio.get_running_loop()
        if self._closed or self._loop not in (None, loop):
            raise RuntimeError("the limiter is closed" if self._closed else "the limiter belongs to another event loop")
        self._loop = loop
        if hits < 1:
            raise ValueError(f"{hits} hits, expected at least 1")
        asked = tuple(Descriptor(tuple(Entry(*entry) for entry in one.items())) for one in descriptors)
        return await self._limiter.check(Request(domain, asked, hits))

    async def aclose(self) -> None:
        """Send what is still to be sent, and close the store."""
        self._closed = True
        await self._limiter.refunds.aclose()
        await self._policies.aclose()
        await self._store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()
