"""Names with several addresses, of which not all are of use.

What names resolve to is the machine's to say, so the resolver's answers stand here; the sockets are real.
"""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.processes import free_port
from rls.errors import BackendError
from rls.stores.redis import RedisClusterStore, RedisSentinelStore, RedisStore, happy_eyeballs
from rls.stores.redis.happy_eyeballs import Address, Preference, resolve, stagger_seconds
from tests.counters import PATIENT, hit, until_works
from tests.redis_cluster import RedisCluster
from tests.redis_sentinel import Sentinels
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect
from tests.stores.redis.test_single_failures import HANGING
from tests.stores.redis.tls import Certified, tls_in_front_of

V4, V6 = socket.AF_INET, socket.AF_INET6
NAME = "counters.test"


def v4(port: int) -> Address:
    return Address(V4, ("127.0.0.1", port))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Address]]:
    """What names resolve to, whatever the port; others as usual."""
    known: dict[str, list[Address]] = {}
    ask = happy_eyeballs._query_resolver

    async def answer(host: str, port: int) -> list[Address]:
        return known[host] if host in known else await ask(host, port)

    monkeypatch.setattr(happy_eyeballs, "_query_resolver", answer)
    return known


@contextmanager
def hole(family: int = V4) -> Iterator[Address]:
    """An address that takes no connection and refuses none: its backlog is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(family))
        listening.bind(("::1" if family == V6 else "127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        time.sleep(0.05)
        yield Address(family, listening.getsockname())


@contextmanager
def refusing(family: int = V4) -> Iterator[Address]:
    yield Address(family, ("::1", free_port(), 0, 0) if family == V6 else ("127.0.0.1", free_port()))


@contextmanager
def mute(family: int = V4) -> Iterator[Address]:
    """An address that takes connections and never says anything, as a process does that was stopped."""
    with socket.socket(family) as listening:
        listening.bind(("::1" if family == V6 else "127.0.0.1", 0))
        listening.listen()
        yield Address(family, listening.getsockname())


@contextmanager
def unreachable(family: int = V4) -> Iterator[Address]:
    """No network at all."""
    yield Address(family, ("2001:db8::1", 1, 0, 0) if family == V6 else ("255.255.255.255", 1))


KINDS = {"hole": hole, "refusing": refusing, "mute": mute, "unreachable": unreachable}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
async def test_another_address_is_tried(
    server: RedisServer, connect: Connect, names: dict[str, list[Address]], kind: str, family: int
) -> None:
    """Long before the time is up in which a connection has to be there."""
    with KINDS[kind](family) as useless:
        names[NAME] = [useless, v4(server.port)]
        backend = connect(f"redis://{NAME}", connect_timeout_seconds=PATIENT)
        async with asyncio.timeout(HANGING):
            assert list(await backend.update([hit()])) == [1]


async def test_three_of_four_are_of_no_use(
    server: RedisServer, connect: Connect, names: dict[str, list[Address]]
) -> None:
    """Within the time limit that is the default: the pauses are shorter where there are many."""
    with hole() as first, hole(V6) as second, mute() as third:
        names[NAME] = [first, second, third, v4(server.port)]
        backend = connect(f"redis://{NAME}", connect_timeout_seconds=0.5)
        await until_works(backend.ping)


async def test_where_all_fail_each_is_told(connect: Connect, names: dict[str, list[Address]]) -> None:
    with hole() as silent, refusing() as closed:
        names[NAME] = [silent, closed]
        backend = connect(f"redis://:secret@{NAME}", connect_timeout_seconds=0.2)
        with pytest.raises(BackendError) as caught:
            await backend.ping()
    texts = str(caught.value).split("; ")
    assert sorted(texts) == sorted(
        [
            f"Redis at redis://{NAME} ({silent}): no connection within 0.2 s",
            f"Redis at redis://{NAME} ({closed}): Connection refused",
        ]
    )


async def test_a_replica_is_left_for_the_primary(
    server: RedisServer, own_server: RedisServer, connect: Connect, names: dict[str, list[Address]]
) -> None:
    """However the resolver orders them: a name of several pods does not say which of them takes writes."""
    with own_server.client() as client:
        client.replicaof("127.0.0.1", "1")
    names[NAME] = [v4(own_server.port), v4(own_server.port), v4(server.port)]
    backend = connect(f"redis://{NAME}")
    await until_works(lambda: backend.update([hit()]))
    for _ in range(20):
        await backend.update([hit()])


async def test_tls_is_asked_for_the_name(
    server: RedisServer, connect: Connect, names: dict[str, list[Address]], tmp_path: Path
) -> None:
    """Not for the address that is tried."""
    certified, stranger = Certified(tmp_path, NAME), tmp_path / "stranger"
    stranger.mkdir()
    async with (
        tls_in_front_of(server.port, certified.context) as port,
        tls_in_front_of(server.port, Certified(stranger, "127.0.0.1").context) as strange,
    ):
        with hole() as silent:
            names[NAME] = [silent, v4(strange), v4(port)]
            backend = connect(f"rediss://{NAME}?ssl_ca_certs={certified.root}", connect_timeout_seconds=PATIENT)
            assert list(await backend.update([hit()])) == [1]
            names[NAME] = [v4(strange)]
            backend = connect(f"rediss://{NAME}?ssl_ca_certs={certified.root}")
            with pytest.raises(BackendError, match=r"(?i)certificate"):
                await backend.ping()


async def test_a_cluster_and_sentinels_by_name(
    cluster: RedisCluster, sentinels: Sentinels, names: dict[str, list[Address]]
) -> None:
    with hole() as silent, mute(V6) as hung:
        names["nodes.test"] = [silent, hung, v4(cluster.servers[1].port)]
        names["sentinels.test"] = [hung, silent, v4(sentinels._sentinels[1].port)]
        options: dict[str, Any] = {"timeout_seconds": PATIENT, "connect_timeout_seconds": 1.0}
        for backend in (
            RedisClusterStore("redis+cluster://nodes.test:7000", **options),
            RedisSentinelStore(f"redis+sentinel://sentinels.test/{sentinels.url.rpartition('/')[2]}", **options),
        ):
            await until_works(partial(backend.update, [hit() for _ in range(10)]))
            await backend.aclose()


async def test_a_resolver_that_hangs_is_not_asked_again_and_again(
    server: RedisServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither calls nor the loop wait for it; once it answers, all is well."""
    asked = 0
    answers = asyncio.Event()

    async def hang(_: str, __: int) -> list[Address]:
        nonlocal asked
        asked += 1
        await answers.wait()
        return [v4(server.port)]

    monkeypatch.setattr(happy_eyeballs, "_query_resolver", hang)
    backend = connect(f"redis://{NAME}", timeout_seconds=0.05, connect_timeout_seconds=0.05)
    deadline = time.monotonic() + 1.0
    with pytest.raises(BackendError, match=r"no connection within 50 ms"):
        await backend.ping()
    while time.monotonic() < deadline:
        with pytest.raises(BackendError):
            backend.update([hit()]).send(None)  # it fails before the loop turns
        await asyncio.sleep(0.01)
    assert asked == 1
    answers.set()
    await until_works(backend.ping)


async def test_a_name_that_is_not_there_is_told(connect: Connect) -> None:
    backend = connect("redis://no.such.host.invalid")
    with pytest.raises(BackendError, match=r"^Redis at redis://no\.such\.host\.invalid: .*-[0-9]"):
        await backend.ping()


async def test_a_real_name(server: RedisServer) -> None:
    """As this machine resolves it, where IPv6 may come first."""
    backend = RedisStore(f"redis://localhost:{server.port}", timeout_seconds=PATIENT)
    assert list(await backend.update([hit()])) == [1]
    await backend.aclose()


async def test_addresses_are_never_asked_for() -> None:
    assert list(await resolve("127.0.0.1", 7)) == [Address(V4, ("127.0.0.1", 7))]
    assert [str(address) for address in await resolve("::1", 7)] == ["[::1]:7"]


def test_families_take_turns() -> None:
    """RFC 8305, section 4; what the resolver says twice is tried once."""
    found = [(V6, 1, 6, "", ("a",)), (V6, 1, 6, "", ("b",)), (V4, 1, 6, "", ("c",)), (V6, 1, 6, "", ("a",))]
    assert [one.address for one in happy_eyeballs._in_turn(found)] == [("a",), ("c",), ("b",)]


@pytest.mark.parametrize(("addresses", "seconds", "pause"), [(1, 0.5, 0.1), (4, 0.5, 0.0625), (1000, 0.5, 0.01)])
def test_pauses_are_short_enough_for_all(addresses: int, seconds: float, pause: float) -> None:
    assert stagger_seconds(addresses, seconds) == pause


def test_what_was_left_is_tried_last() -> None:
    one, two, three = (v4(port) for port in (1, 2, 3))
    preference = Preference()
    assert preference.order([one, two, three]) == [one, two, three]
    preference.abandon(one)
    preference.abandon(two)
    assert preference.order([one, two, three]) == [three, one, two]
    preference.abandon(three)
    assert preference.order([one, two, three]) == [one, two, three]
