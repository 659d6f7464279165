from rls.lazy_free import LazyFree


def test_a_few_entries_go_at_a_time() -> None:
    lazy_free = LazyFree()
    lazy_free.add(dict.fromkeys(range(5)))
    lazy_free.add({})
    lazy_free.add(dict.fromkeys(range(3)))
    left = [len(lazy_free)]
    while left[-1]:
        lazy_free.free(2)
        left.append(len(lazy_free))
    assert left == [8, 6, 4, 2, 0]


def test_nothing_is_freed_where_nothing_is() -> None:
    lazy_free = LazyFree()
    lazy_free.free(4)
    assert len(lazy_free) == 0
