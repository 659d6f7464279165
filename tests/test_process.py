import gc
from collections.abc import Iterator

import pytest

from rls.core.rules import Node
from rls.process import settle_garbage_collector


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """It is as it was before, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def walked(node: Node) -> bool:
    return any(found is node for found in gc.get_objects())


def test_what_was_there_is_walked_no_more() -> None:
    """At each call anew: rules are loaded again and again."""
    for _ in range(2):
        node = Node()
        assert walked(node)
        settle_garbage_collector()
        assert not walked(node)


def test_what_was_set_apart_goes_when_nothing_refers_to_it() -> None:
    node = Node(exact={("key", str(n)): Node() for n in range(1_000)})
    settle_garbage_collector()
    before = gc.get_freeze_count()
    del node
    assert gc.get_freeze_count() <= before - 1_000
