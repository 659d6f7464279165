"""`python -m benches.counters`: what a counter takes in Redis, by the format of its key and the length of its window.

With `--cluster` it is ten million of them, spread over three primaries.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from redis import Redis

from benches import processes
from rls.core.keys import KeyFormat, counter_key
from rls.core.model import Entry
from rls.core.update import CounterUpdate
from rls.stores.redis import RedisClusterStore, RedisStore

_AT_ONCE = 500
_TELL_EACH = 1_000_000
GIB = 2**30


def hits(key_format: KeyFormat, entries: Sequence[Entry], window: int, count: int) -> Iterator[CounterUpdate]:
    """One on each of *count* counters, of as many companies, in windows that do not end meanwhile."""
    start = int(time.time()) // window * window
    until = max(start + window, int(time.time()) + 3600)
    for number in range(count):
        own = [Entry(entries[0].key, f"company-{number:07}"), *entries[1:]]
        key = counter_key(key_format, "", "mesh", own, [None] * len(own), window)
        yield CounterUpdate(key + b"%d" % start, 1, 100, until, window)


async def fill(backend: RedisStore | RedisClusterStore, counted: Iterable[CounterUpdate]) -> None:
    rest = iter(counted)
    number = 0
    while some := list(islice(rest, _AT_ONCE)):
        await backend.update(some)
        number += len(some)
        if number % _TELL_EACH == 0:
            print(f"{number:,} counters", file=sys.stderr, flush=True)
    await backend.aclose()


def measure(url: str, counted: Sequence[CounterUpdate]) -> tuple[float, int, int]:
    """Bytes a counter by what Redis has in use, by MEMORY USAGE of one, and bytes of its key."""
    with Redis.from_url(url) as redis:
        redis.flushall()
        before: Any = redis.info("memory")
        asyncio.run(fill(RedisStore(url, timeout_seconds=30), counted))
        after: Any = redis.info("memory")
        one: Any = redis.memory_usage(counted[0].key)
    return (after["used_memory"] - before["used_memory"]) / len(counted), one, len(counted[0].key)


def in_one_redis(count: int) -> None:
    """A table of all formats and windows."""
    company, path = Entry("company_id", ""), Entry("path", "/v1/orders")
    print("| key | bytes of the key | `MEMORY USAGE` | bytes in use a counter | counters a GiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder, processes.redis(Path(folder)) as redis:
        for key_format in KeyFormat:
            for entries, window in (([company], 1), ([company], 3600), ([company, path], 3600)):
                counted = list(hits(key_format, entries, window, count))
                used, one, length = measure(f"redis://{redis.address}", counted)
                shown = counted[0].key.decode()
                print(
                    f"| `{shown.replace('|', '¦')}` ({key_format}) | {length} | {one} | {used:.0f} | {GIB / used:,.0f} |"
                )


def in_a_cluster(count: int) -> None:
    """A table of what each primary has."""
    print("| primary | counters | share | without a TTL | bytes in use a counter |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as folder, processes.cluster(Path(folder)) as nodes:
        clients: list[Any] = [Redis.from_url(f"redis://{node.address}") for node in nodes]
        before = [client.info("memory")["used_memory"] for client in clients]
        backend = RedisClusterStore(f"redis+cluster://{nodes[0].address}", timeout_seconds=30)
        asyncio.run(fill(backend, hits(KeyFormat.V1, [Entry("company_id", "")], 3600, count)))
        for number, (client, empty) in enumerate(zip(clients, before, strict=True), 1):
            used = client.info("memory")["used_memory"] - empty
            keys = client.info("keyspace")["db0"]
            forever = keys["keys"] - keys["expires"]
            print(
                f"| {number} | {keys['keys']:,} | {100 * keys['keys'] / count:.1f} % | {forever} | {used / keys['keys']:.0f} |"
            )
            client.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benches.counters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counters", type=int, help="how many; 300,000 of each kind, or 10,000,000 in a cluster")
    parser.add_argument("--cluster", action="store_true", help="in a cluster of three, which takes 2 GiB and minutes")
    arguments = parser.parse_args()
    if arguments.cluster:
        in_a_cluster(arguments.counters or 10_000_000)
    else:
        in_one_redis(arguments.counters or 300_000)


if __name__ == "__main__":
    main()
