from rls.backends.windows import Windows


def filled(windows, ends, each):
    for end in ends:
        for n in range(each):
            windows.put(end, b"%d-%d" % (end, n), 1)
    return windows


def test_it_never_holds_more_than_its_capacity():
    windows = Windows(1024)
    for n in range(5000):
        windows.put(100, b"%d" % n, 1)
        assert len(windows) == len(windows.groups[100]) <= 1024


def test_the_window_that_ends_next_makes_room_and_of_it_the_oldest():
    windows = filled(Windows(10), ends=(200, 100), each=5)

    windows.put(200, b"one more", 1)

    assert list(windows.groups[100]) == [b"100-1", b"100-2", b"100-3", b"100-4"]
    assert len(windows.groups[200]) == 6


def test_room_is_made_for_several_at_a_time_where_many_are_held():
    windows = filled(Windows(2560), ends=(100,), each=2560)

    windows.put(100, b"one more", 1)

    assert len(windows) == 2551
    assert next(iter(windows.groups[100])) == b"100-10"


def test_the_window_of_the_counter_to_remember_can_be_the_one_that_makes_room():
    windows = filled(Windows(1), ends=(100,), each=1)

    windows.put(100, b"another", 1)

    assert windows.groups == {100: {b"another": 1}}


def test_a_window_that_is_over_is_forgotten_whole():
    windows = filled(Windows(10), ends=(100, 200), each=3)

    windows.sweep(100)

    assert list(windows.groups) == [200]
    assert len(windows) == 3
