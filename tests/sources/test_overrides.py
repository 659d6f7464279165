"""Overrides in a store that several servers use, with a clock of the test's own."""

import asyncio
import json

import pytest

from rls.core.model import Entry, RateLimit, Unit
from rls.core.overrides import Override
from rls.errors import BackendError
from rls.sources.overrides import NAME, OverrideRefused, OverrideSource
from rls.stores.memory import MemoryStore
from tests.clock import Clock

NOW = 1_800_000_000.0
LIMIT = RateLimit(50, Unit.MINUTE)


class Store(MemoryStore):
    """One that may be out, or lose what it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.out = False
        self.stalls = 0
        """Answers that do not come, from now on."""
        self.lost = 0
        """Changes that it takes, and whose answer does not come."""

    async def load_record(self, name: bytes) -> bytes | None:
        self.stalls = max(0, (stalls := self.stalls) - 1)
        if self.out or stalls:
            raise BackendError("it is out")
        return await super().load_record(name)

    async def replace_record(self, name: bytes, before: bytes | None, after: bytes, seconds: int) -> bool:
        found = await super().replace_record(name, before, after, seconds)
        self.lost = max(0, (lost := self.lost) - 1)
        if lost:
            raise BackendError("no answer within 10 ms")
        return found

    async def put(self, raw: bytes) -> None:
        assert await self.replace_record(NAME, await super().load_record(NAME), raw, 60)


class Server:
    """What one server knows."""

    def __init__(
        self, store: Store, clock: Clock, *, is_down: bool = False, most: int = 100, patience: float = 0.0
    ) -> None:
        self.published: list[list[str]] = []
        self.reason = ""
        self.source = OverrideSource(
            store, self.publish, self.report, is_down=lambda: is_down, most=most, patience=patience, clock=clock
        )

    async def publish(self, overrides) -> None:
        self.published.append([one.id for one in overrides])

    def report(self, reason: str) -> None:
        self.reason = reason

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.source.in_force]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def server(store, clock) -> Server:
    return Server(store, clock)


def override(name: str, *, value: str = "", seconds: float = 60) -> Override:
    entries = (Entry("company", value or name),)
    return Override(name, "domain", entries, LIMIT, NOW, NOW + seconds, "alice", "T-1", "company")


async def test_another_server_sees_it_at_its_next_poll_and_only_changes_are_published(store, clock, server) -> None:
    other = Server(store, clock)
    assert await server.source.set(override("a")) is None
    assert server.published == [["a"]]
    for _ in range(3):
        await other.source.poll()
    assert other.published == [["a"]]
    assert other.source.in_force == (override("a"),)
    assert await other.source.end("a") == override("a")
    await server.source.poll()
    assert server.published == [["a"], []]


async def test_one_for_the_same_entries_takes_the_place(server) -> None:
    await server.source.set(override("a", value="acme"))
    await server.source.set(override("b"))
    assert await server.source.set(override("c", value="acme")) == override("a", value="acme")
    assert server.ids == ["b", "c"]


async def test_what_has_ended_makes_room(server, clock) -> None:
    server.source.most = 2
    await server.source.set(override("a", seconds=5))
    await server.source.set(override("b"))
    with pytest.raises(OverrideRefused, match="2 overrides hold"):
        await server.source.set(override("c"))
    clock.now += 6
    await server.source.set(override("c"))
    assert server.ids == ["b", "c"]
    with pytest.raises(OverrideRefused, match="no override in force has the id a"):
        await server.source.end("a")


async def test_two_servers_that_set_at_once_lose_nothing(store, clock) -> None:
    servers = [Server(store, clock) for _ in range(4)]
    await asyncio.gather(*(one.source.set(override(str(n))) for n, one in enumerate(servers)))
    for one in servers:
        await one.source.poll()
        assert sorted(one.ids) == ["0", "1", "2", "3"]


async def test_while_the_store_is_out_the_last_known_hold_and_end(store, clock, server) -> None:
    await server.source.set(override("a", seconds=5))
    await server.source.set(override("b"))
    store.out = True
    for _ in range(3):
        assert server.reason == ""
        await server.source.poll()
    assert server.reason == (
        "overrides could not be read since 2027-01-15T08:00:00Z: later changes are not in force; the 2 known ones stay in "
        "force until they end: it is out"
    )
    clock.now += 6
    await server.source.poll()
    assert server.ids == ["b"]
    with pytest.raises(BackendError):
        await server.source.set(override("c"))
    assert server.ids == ["b"]
    store.out = False
    await server.source.poll()
    assert (server.reason, server.source.error) == ("", "")


async def test_an_outage_that_hides_nothing_needs_no_second_reason(store, clock) -> None:
    known, unknown = Server(store, clock, is_down=True), Server(store, clock)
    store.out = True
    for _ in range(3):
        await known.source.poll()
        await unknown.source.poll()
    assert known.reason == ""
    assert unknown.reason == "overrides could not be read yet: later changes are not in force: it is out"


@pytest.mark.parametrize("lost", [b'{"version": 0, "overrides": []}', b'{"version": 1, "overrides": []}'])
async def test_a_store_that_goes_back_gets_them_again(store, clock, server, lost) -> None:
    await server.source.set(override("a"))
    await server.source.set(override("b"))
    await store.put(lost)
    other = Server(store, clock)
    await server.source.poll()
    await other.source.poll()
    assert server.ids == other.ids == ["a", "b"]


async def test_what_is_over_is_not_put_back(store, clock, server) -> None:
    await server.source.set(override("a", seconds=5))
    clock.now += 6
    await store.put(b'{"version": 0, "overrides": []}')
    await server.source.poll()
    assert server.ids == []
    assert json.loads(await store.load_record(NAME) or b"")["version"] == 0


async def test_what_a_newer_version_writes_is_kept(store, clock, server) -> None:
    """It reads what it understands, and leaves the rest as it is."""
    await server.source.set(override("a"))
    record = json.loads(await store.load_record(NAME) or b"")
    record["later"] = 1
    record["overrides"][0]["later"] = 2
    record["overrides"].append({"id": "x", "limit": "5/lightyear"})
    await store.put(json.dumps(record).encode())
    await server.source.set(override("b"))
    assert server.ids == ["a", "b"]
    written = json.loads(await store.load_record(NAME) or b"")["overrides"]
    assert [one["id"] for one in written] == ["a", "x", "b"]
    assert written[0]["later"] == 2


@pytest.mark.parametrize("raw", [b"", b"no", b"[]", b'{"version": 1}', b"[" * 5_000, b" " * (1 << 20) + b"{}"])
async def test_a_record_that_is_none_changes_nothing(store, clock, server, raw) -> None:
    await server.source.set(override("a"))
    await store.put(raw)
    for _ in range(3):
        await server.source.poll()
    assert server.ids == ["a"]
    assert "the record of overrides" in server.reason
    with pytest.raises(BackendError, match="the record of overrides"):
        await server.source.set(override("b"))


async def test_more_than_may_be_are_not_taken(store, clock, server) -> None:
    for name in "abcd":
        await server.source.set(override(name))
    bounded = Server(store, clock, most=2)
    await bounded.source.poll()
    assert bounded.ids == ["a", "b"]


async def test_without_a_store_that_keeps_records_there_are_none(clock) -> None:
    async def publish(_) -> None: ...

    source = OverrideSource(None, publish)
    await source.poll()
    assert not source.can_keep
    with pytest.raises(OverrideRefused, match="keeps no overrides"):
        await source.set(override("a"))


async def test_a_bug_on_the_way_does_not_end_it(store, clock) -> None:
    async def publish(_) -> None:
        raise RuntimeError("bug")

    source = OverrideSource(store, publish, clock=clock)
    await Server(store, clock).source.set(override("a"))
    running = asyncio.create_task(source.run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert "internal error (please report): RuntimeError('bug')" in source.error
    assert not running.done()
    running.cancel()


async def test_a_store_that_stalls_for_a_moment_is_asked_again(store, clock) -> None:
    server = Server(store, clock, patience=60)
    store.stalls = 3
    assert await server.source.set(override("a")) is None
    store.stalls = 3
    assert await server.source.end("a") == override("a")
    assert server.published == [["a"], []]


async def test_a_change_whose_answer_is_lost_is_made_once(store, clock) -> None:
    server, other = Server(store, clock, patience=60), Server(store, clock)
    await server.source.set(override("old", value="acme"))
    store.lost = 1
    assert await server.source.set(override("new", value="acme")) == override("old", value="acme")
    store.lost = 1
    ended = asyncio.create_task(server.source.end("new"))
    await asyncio.sleep(0)
    await other.source.set(override("b"))  # so that the record is no longer what was written
    assert await ended == override("new", value="acme")
    await server.source.poll()
    assert server.ids == ["b"]


async def test_a_change_that_may_have_been_made_is_said_to_be(store, clock, server) -> None:
    store.lost = 1
    with pytest.raises(BackendError, match="no answer within 10 ms; it may have taken the change all the same"):
        await server.source.set(override("a"))
    await server.source.poll()
    assert server.ids == ["a"]


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"7", b'{"version": Infinity, "overrides": []}', b"[" * 100_000, b'{"version": 1}']
)
async def test_a_record_that_is_something_else_is_said_and_known_ones_stay(store, server, raw: bytes) -> None:
    await server.source.set(override("a"))
    await store.put(raw)
    await server.source.poll()
    assert server.ids == ["a"]
    assert server.source.error.startswith("the record of overrides is malformed")
