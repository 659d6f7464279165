from rls.fading import Fading


def test_a_few_entries_go_at_a_time() -> None:
    fading = Fading()
    fading.add(dict.fromkeys(range(5)))
    fading.add({})
    fading.add(dict.fromkeys(range(3)))
    left = [len(fading)]
    while left[-1]:
        fading.fade(2)
        left.append(len(fading))
    assert left == [8, 6, 4, 2, 0]


def test_nothing_fades_where_nothing_is() -> None:
    fading = Fading()
    fading.fade(4)
    assert len(fading) == 0
