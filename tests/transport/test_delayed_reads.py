"""When connections whose reads are delayed are read again."""

from rls.transport.native.delayed_reads import DelayedReads
from tests.transport.conftest import until

SOON, NEVER = 0.005, 3_600.0


def delayed_reads(seconds: float) -> tuple[DelayedReads[str], list[str]]:
    read: list[str] = []
    return DelayedReads(seconds, read.append), read


def in_two_turns(delayed: DelayedReads[str]) -> None:
    """Delay two connections in one turn, and a third in the next, which goes on."""
    for name in ("a", "b"):
        delayed.add(name)
    delayed.end_turn(wanted=False)
    delayed.add("c")


async def test_connections_are_read_again_when_their_time_is_over():
    delayed, read = delayed_reads(SOON)
    in_two_turns(delayed)
    delayed.end_turn(wanted=False)
    assert read == []
    await until(lambda: read == ["a", "b", "c"])
    delayed.end_turn(wanted=True)
    assert read == ["a", "b", "c"]


async def test_when_calls_are_wanted_those_of_the_oldest_turn_are_read_again():
    delayed, read = delayed_reads(NEVER)
    in_two_turns(delayed)
    delayed.end_turn(wanted=True)
    assert read == ["a", "b"]
    delayed.end_turn(wanted=True)
    assert read == ["a", "b", "c"]
    delayed.end_turn(wanted=True)
    delayed.add("a")
    delayed.end_turn(wanted=True)
    assert read == ["a", "b", "c", "a"]


async def test_connection_is_read_again_that_is_delayed_late_in_a_long_turn():
    """Where the time of those that came before it in this turn is over."""
    delayed, read = delayed_reads(SOON)
    delayed.add("a")
    await until(lambda: read == ["a"])
    delayed.add("b")
    await until(lambda: read == ["a", "b"])


async def test_connection_that_is_delayed_when_it_is_read_again_waits_once_more():
    read: list[str] = []

    def read_again(name: str) -> None:
        read.append(name)
        if len(read) < 3:
            delayed.add(name)

    delayed = DelayedReads[str](SOON, read_again)
    delayed.add("a")
    await until(lambda: read == ["a", "a", "a"])
