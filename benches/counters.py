"""`python -m benches.counters`: what a counter takes in Redis, by the format of its key and the length of its window."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from benches import processes
from rls.backends.base import Hit
from rls.backends.redis import RedisBackend
from rls.core.keys import KeyFormat, counter_key
from rls.core.model import Entry

_AT_ONCE = 500
GIB = 2**30


def hits(key_format: KeyFormat, entries: Sequence[Entry], window: int, count: int) -> list[Hit]:
    """One on each of *count* counters, of as many companies, in windows that do not end meanwhile."""
    start = int(time.time()) // window * window
    until = max(start + window, int(time.time()) + 3600)
    found = []
    for number in range(count):
        own = [Entry(entries[0].key, f"company-{number:07}"), *entries[1:]]
        key = counter_key(key_format, "", "mesh", own, [None] * len(own), window)
        found.append(Hit(key + b"%d" % start, 1, 100, until, window))
    return found


async def fill(url: str, counted: Sequence[Hit]) -> None:
    backend = RedisBackend(url, timeout_seconds=30)
    for first in range(0, len(counted), _AT_ONCE):
        await backend.hit(counted[first : first + _AT_ONCE])
    await backend.aclose()


def measure(url: str, counted: Sequence[Hit]) -> tuple[float, int, int]:
    """Bytes a counter by what Redis has in use, by MEMORY USAGE of one, and bytes of its key."""
    with Redis.from_url(url) as redis:
        redis.flushall()
        before: Any = redis.info("memory")
        asyncio.run(fill(url, counted))
        after: Any = redis.info("memory")
        one: Any = redis.memory_usage(counted[0].key)
    return (after["used_memory"] - before["used_memory"]) / len(counted), one, len(counted[0].key)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.counters", description=__doc__)
    parser.add_argument("--counters", type=int, default=300_000)
    count = parser.parse_args().counters
    company, path = Entry("company_id", ""), Entry("path", "/v1/orders")
    print("| key | bytes of the key | `MEMORY USAGE` | bytes in use a counter | counters a GiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder, processes.redis(Path(folder)) as redis:
        for key_format in KeyFormat:
            for entries, window in (([company], 1), ([company], 3600), ([company, path], 3600)):
                counted = hits(key_format, entries, window, count)
                used, one, length = measure(f"redis://{redis.address}", counted)
                shown = counted[0].key.decode()
                print(
                    f"| `{shown.replace('|', '¦')}` ({key_format}) | {length} | {one} | {used:.0f} | {GIB / used:,.0f} |"
                )


if __name__ == "__main__":
    main()
