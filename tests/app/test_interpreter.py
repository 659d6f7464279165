import gc
from collections.abc import Iterator

import pytest

from rls.app.interpreter import freeze_garbage_collector
from rls.core.rules import TrieNode


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """It is as it was before, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def walked(node: TrieNode) -> bool:
    return any(found is node for found in gc.get_objects())


def test_what_was_there_is_walked_no_more() -> None:
    """At each call anew: rules are loaded again and again."""
    for _ in range(2):
        node = TrieNode()
        assert walked(node)
        freeze_garbage_collector()
        assert not walked(node)


def test_what_was_set_apart_goes_when_nothing_refers_to_it() -> None:
    node = TrieNode(exact={("key", str(n)): TrieNode() for n in range(1_000)})
    freeze_garbage_collector()
    before = gc.get_freeze_count()
    del node
    assert gc.get_freeze_count() <= before - 1_000
