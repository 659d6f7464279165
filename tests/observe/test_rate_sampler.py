from rls.observe.rate_sampler import RateSampler


def taken(sampler: RateSampler, begin: float, events: int) -> list[int]:
    """What `take` says of so many events, spread over a second."""
    return [sampler.take(begin + number / events) for number in range(events)]


def assert_about_a_hundred_a_second(sampler: RateSampler, begin: int) -> None:
    """Of 10,000 a second. By chance, what one second comes to is wrong by 6 %, and what these come to by 1 %."""
    found = [taken(sampler, second, 10_000) for second in range(begin, begin + 30)]
    assert all(50 <= sum(map(bool, one)) <= 200 for one in found)
    assert 270_000 <= sum(map(sum, found)) <= 330_000


def test_few_events_are_all_taken() -> None:
    sampler = RateSampler(100)
    assert [taken(sampler, second, 99) for second in (10, 11, 12)] == [[1] * 99] * 3


def test_of_many_events_one_in_n_is_taken_and_says_for_how_many_it_stands() -> None:
    sampler = RateSampler(100)
    taken(sampler, 10, 10_000)
    assert_about_a_hundred_a_second(sampler, 11)


def test_a_sudden_flood_costs_little_from_its_first_second_on() -> None:
    assert sum(map(bool, taken(RateSampler(100), 10, 100_000))) <= 100 * 11  # it doubles N up to ten times


def test_after_a_flood_the_first_event_of_a_quiet_second_is_taken() -> None:
    sampler = RateSampler(100)
    taken(sampler, 10, 100_000)
    assert sampler.take(12.0) == 1


def test_it_does_not_meet_the_rhythm_of_what_comes_in_turns() -> None:
    sampler = RateSampler(100)
    by_turn = [0] * 10
    for second in range(100):
        for number, stands_for in enumerate(taken(sampler, second, 10_000)):
            by_turn[number % 10] += stands_for
    assert all(80_000 < events < 120_000 for events in by_turn)


def test_it_follows_a_clock_that_goes_back() -> None:
    """Else N doubled again and again until the clock came there again."""
    sampler = RateSampler(100)
    taken(sampler, 10_000, 10_000)
    for second in range(20):
        taken(sampler, second, 10_000)
    assert_about_a_hundred_a_second(sampler, 20)
