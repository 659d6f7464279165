"""When connections that were held back are read again."""

from rls.transport.native.held_back import HeldBack
from tests.transport.conftest import until

SOON, NEVER = 0.005, 3_600.0


def held(seconds: float) -> tuple[HeldBack[str], list[str]]:
    read: list[str] = []
    return HeldBack(seconds, read.append), read


async def test_connections_are_read_again_when_their_time_is_over():
    held_back, read = held(SOON)
    for name in ("a", "b"):
        held_back.add(name)
    held_back.end_turn(wanted=False)
    held_back.add("c")
    held_back.end_turn(wanted=False)
    assert read == []
    await until(lambda: read == ["a", "b", "c"])
    held_back.end_turn(wanted=True)
    assert read == ["a", "b", "c"]


async def test_when_calls_are_wanted_those_of_the_oldest_turn_are_read_again():
    held_back, read = held(NEVER)
    for name in ("a", "b"):
        held_back.add(name)
    held_back.end_turn(wanted=False)
    held_back.add("c")
    held_back.end_turn(wanted=True)
    assert read == ["a", "b"]
    held_back.end_turn(wanted=True)
    assert read == ["a", "b", "c"]
    held_back.end_turn(wanted=True)
    held_back.add("a")
    held_back.end_turn(wanted=True)
    assert read == ["a", "b", "c", "a"]


async def test_connection_is_read_again_that_is_held_back_late_in_a_long_turn():
    """Where the time of those that came before it in this turn is over."""
    held_back, read = held(SOON)
    held_back.add("a")
    await until(lambda: read == ["a"])
    held_back.add("b")
    await until(lambda: read == ["a", "b"])


async def test_connection_that_is_held_back_when_it_is_read_again_waits_once_more():
    read: list[str] = []

    def read_again(name: str) -> None:
        read.append(name)
        if len(read) < 3:
            held_back.add(name)

    held_back = HeldBack[str](SOON, read_again)
    held_back.add("a")
    await until(lambda: read == ["a", "a", "a"])
