"""Asks Redis what the server asks it: a write, its rights, its clock, its policy of eviction; and measures."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from rls.addresses import redacted
from rls.errors import BackendError, SettingsError
from rls.settings.values import explained, parse_backend
from rls.stores.opening import open_store
from rls.stores.redis.handshake import packed
from rls.stores.schemes import MEMORY, StoreOptions
from rls.tools.doctor.result import Result, bad, good, milliseconds, unknown
from rls.tools.doctor.server import clock

WRITES = 50
"""Writes that are measured."""
_CONNECT_SECONDS = 2.0
_KEY = b"doctor"
_REFUSES_US = "NOPERM|WRONGPASS|NOAUTH"
_RIGHTS = (
    ("GET", ("GET",), "requests with `hits_addend: 0` fail"),
    ("SET", ("SET", "0", "EX", "1"), "no TTL of a counter is certain, and lost counters are not noticed"),
    ("DECRBY", ("DECRBY", "0"), "refunds fail"),
    ("EVAL", ("EVAL",), "refunds fail"),
    ("EXPIRE", ("EXPIRE", "1"), "counters stay for ever"),
)
"""Command, how to try it on a key of ours, and what fails without it; docs/settings.md has the table. The key expires."""


class Redis:
    """The backend at *url*, whose writes must take no longer than *timeout* seconds."""

    def __init__(self, url: str, *, key_prefix: str, timeout: float) -> None:
        self._url = url
        self._prefix = key_prefix
        self._timeout = timeout
        self._name = redacted(url)

    async def look(self) -> AsyncIterator[Result]:
        """Ask."""
        if self._url.partition("://")[0] == MEMORY:
            yield unknown(
                "redis", "the backend is memory://: each pod counts for itself", "--backend redis://… shares limits"
            )
            return
        options = StoreOptions(timeout_seconds=_CONNECT_SECONDS, key_prefix=self._prefix)
        try:
            parse_backend(self._url)
        except ValueError as error:
            yield bad("redis", explained("--redis", self._name, str(error)), "correct --redis")
            return
        try:
            store: Any = open_store(self._url, options)
        except SettingsError as error:
            yield bad("redis", str(error), "correct --redis")
            return
        try:
            try:
                await self._first(store)
            except BackendError as error:
                yield bad("redis", f"{self._name} does not count: {error}", _advice(str(error)))
                return
            yield await self._latency(store)
            for node in getattr(store, "nodes", ()):
                async for result in self._node(store, node):
                    yield result
        finally:
            await store.aclose()

    async def _first(self, store: Any) -> None:
        """A write. A connection takes longer than a call waits for it, so it is tried until the time is over."""
        end = time.monotonic() + _CONNECT_SECONDS
        while True:
            try:
                return await store.ping()  # type: ignore[no-any-return]
            except BackendError as error:
                if time.monotonic() > end or re.search(_REFUSES_US, str(error)):
                    raise
            await asyncio.sleep(0.05)

    async def _latency(self, store: Any) -> Result:
        seconds = []
        for _ in range(WRITES):
            began = time.perf_counter()
            await store.ping()
            seconds.append(time.perf_counter() - began)
        slow = sorted(seconds)[WRITES * 98 // 100 - 1]
        text = f"{self._name} takes writes; the slowest but one of {WRITES}: {milliseconds(slow)}"
        if slow > self._timeout:
            advice = (
                "move Redis nearer, or give it CPU; a longer --backend-timeout must stay below half of Envoy's timeout"
            )
            return bad("redis", f"{text}, and a call waits {milliseconds(self._timeout)}", advice)
        return good("redis", text)

    async def _node(self, store: Any, node: Any) -> AsyncIterator[Result]:
        address = node.endpoint.address
        async for result in self._rights(store, node, address):
            yield result
        yield await self._version(node, address)
        yield await self._policy(node, address)
        before = time.time()
        try:
            seconds, microseconds = await node.query(packed("TIME"))
        except (BackendError, ValueError, TypeError):
            yield unknown("clock", f"{address} does not say its time", "ACL SETUSER … +time")
            return
        yield clock(f"Redis at {address}", int(seconds) + int(microseconds) / 1e6, before, time.time())

    async def _rights(self, store: Any, node: Any, address: str) -> AsyncIterator[Result]:
        key = store.own_key(node, _KEY)
        if key is None:
            yield unknown("redis rights", f"{address} serves no key to try them on")
            return
        is_good = True
        for command, (name, *rest), effect in _RIGHTS:
            arguments = ["return 1", "1", key] if command == "EVAL" else [key, *rest]
            try:
                await node.query(packed(name, *arguments))
            except BackendError as error:
                is_good = False
                if re.search(r"NOPERM|unknown command", str(error)):
                    advice = f"ACL SETUSER … +{command.lower()} (docs/settings.md lists all)"
                    yield bad("redis rights", f"{address} refuses {command}: {effect}", advice)
                else:
                    yield unknown("redis rights", f"{address} does not say whether it allows {command}: {error}")
        if is_good:
            yield good("redis rights", f"{address} allows all that rls needs")

    async def _version(self, node: Any, address: str) -> Result:
        try:
            info = _fields(await node.query(packed("INFO", "server")))
        except (BackendError, AttributeError):
            return unknown("redis version", f"{address} does not say its version", "ACL SETUSER … +info")
        name = "Valkey" if "valkey_version" in info else "Redis"
        return good(
            "redis version", f"{address} is {name} {info.get('valkey_version') or info.get('redis_version', '')}"
        )

    async def _policy(self, node: Any, address: str) -> Result:
        try:
            info = _fields(await node.query(packed("INFO", "memory")))
        except (BackendError, AttributeError):
            return unknown("redis memory", f"{address} does not say its memory", "ACL SETUSER … +info")
        policy, limit = info.get("maxmemory_policy", ""), int(info.get("maxmemory") or 0)
        if not policy and limit:
            return unknown("redis memory", f"{address} does not say what it does at its maxmemory of {limit}")
        if policy == "noeviction" or not limit:
            return good(
                "redis memory",
                f"{address} evicts nothing (maxmemory {limit or 'without limit'}, {policy or 'no policy'})",
            )
        share = int(info.get("used_memory") or 0) / limit
        text = f"{address} uses {share:.0%} of maxmemory, with {policy}"
        if share > 0.9:
            return bad("redis memory", f"{text}: counters are evicted, and begin at 0 again", "raise maxmemory")
        return good("redis memory", text)


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def _advice(text: str) -> str:
    if "NOPERM" in text:
        return "give the user +get +set +incrby +expire +eval +decrby and ~PREFIX* (docs/settings.md lists all)"
    if "WRONGPASS" in text or "NOAUTH" in text:
        return "correct the user and the password in the URL, or in its password_file"
    if "OOM" in text:
        return "raise maxmemory"
    return "start it, or correct --redis; checks are answered by on_backend_error meanwhile"
