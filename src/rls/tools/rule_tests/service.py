"""The settings of a test → a service that answers by its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rls.api.encode import ResponseOptions
from rls.api.service import Service
from rls.core.decide import Modes
from rls.core.headers import HeaderNames
from rls.core.keys import KeyFormat
from rls.core.plan import CountingOptions
from rls.core.pseudonyms import Hide, plain
from rls.core.rules import OnBackendError
from rls.engine.events import Observer
from rls.engine.failure_policies import FailurePolicies
from rls.engine.limiter import Limiter
from rls.stores.base import CounterStore


def service_of(
    settings: Mapping[str, Any],
    backend: CounterStore,
    *,
    observers: Sequence[Observer] = (),
    hide: Hide = plain,
    clock: Callable[[], float] = time.time,
    on_store_change: Callable[[str], None] = lambda _: None,
) -> tuple[Limiter, Service]:
    """A service with the *settings* of a test, which shows and stores of values what *hide* makes of them.

    Those of `CountingOptions`, `Modes`, `FailurePolicies` and `ResponseOptions`, by name. *on_store_change* is the `on_change` of `FailurePolicies`.
    """
    rest = dict(settings)
    modes = Modes(rest.pop("shadow_mode", False), rest.pop("quota_mode", False))
    counting = CountingOptions(
        near_limit_ratio=rest.pop("near_limit_ratio", 0.8),
        key_format=KeyFormat(rest.pop("key_format", "v1")),
        key_prefix=rest.pop("key_prefix", ""),
        refund_over_limit=rest.pop("refund_over_limit", False),
        hide=hide,
    )
    names = rest.pop("limit_headers", None)
    headers = HeaderNames() if names is True else HeaderNames(*names) if names else None
    policies = FailurePolicies(
        backend,
        default=OnBackendError(rest.pop("on_backend_error", "local")),
        replicas=partial(int, rest.pop("replicas", 1)),
        probe_seconds=0.01,
        on_change=on_store_change,
        clock=clock,
    )
    limiter = Limiter(backend, counting=counting, modes=modes, policies=policies, observers=observers, clock=clock)
    return limiter, Service(limiter, answers=ResponseOptions(limit_headers=headers, **rest))
