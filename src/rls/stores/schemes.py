"""Which store serves a URL, by its scheme, and how stores from elsewhere are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rls import plugins
from rls.errors import SettingsError
from rls.stores.base import CounterStore, OnBatch
from rls.stores.guarded import GuardedStore

GROUP = "rls.stores"
MEMORY = "memory"
REDIS = ("redis", "rediss", "unix")
REDIS_CLUSTER = ("redis+cluster", "rediss+cluster")
REDIS_SENTINEL = ("redis+sentinel", "rediss+sentinel")
OWN = (MEMORY, *REDIS, *REDIS_CLUSTER, *REDIS_SENTINEL)
"""The schemes of our own stores."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The settings of a server that matter to any store.

    Attributes:
        timeout_seconds: A call has failed if it has no counts after this time; the store must keep it.
        key_prefix: What the keys of all counters begin with. A counter of the store's own, such as that of a ping, has
            it too.
        memory_counters: How many counters a store in this process holds.
        on_batch: To be called with each batch that the store sends; None for nobody. A store that sends none ignores it.
    """

    timeout_seconds: float = 0.01
    key_prefix: str = ""
    memory_counters: int = 1_000_000
    on_batch: OnBatch | None = None


class StoreFactory(Protocol):
    """What an entry point in the group `rls.stores` refers to.

    The name of the entry point is the scheme of the URLs that the store serves in `--backend` and
    `--per-second-backend` (`sqlite` for `sqlite:///var/lib/counters`). The store is opened before the loop runs its
    first call, and closed by `CounterStore.aclose`. `rls.testing.store_conformance` tests whether it keeps its promises.
    """

    def __call__(self, url: str, options: StoreOptions) -> CounterStore:
        """The store at *url*, which may hold a password. It need not be reachable yet.

        Raises:
            SettingsError: No store can be at *url*, whatever there is. The server does not start.
        """


def installed() -> list[str]:
    """The schemes of all stores from elsewhere, in alphabetical order."""
    return [point.name for point in plugins.points(GROUP) if point.name not in OWN]


def open_installed(url: str, options: StoreOptions) -> CounterStore:
    """The store from elsewhere that serves *url*.

    Raises:
        SettingsError: No installed distribution serves its scheme, or its store cannot be at *url*.
    """
    scheme = url.partition("://")[0]
    point = plugins.find(GROUP, scheme)
    if point is None:
        raise SettingsError(f"no installed store serves {scheme}://")
    return GuardedStore(plugins.make(point, CounterStore, url, options), plugins.named(point))
