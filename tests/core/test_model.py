import pytest

from rls.core.model import MAX_WINDOW_SECONDS, Code, RateLimit, Unit
from rls.proto import rls_pb2


def test_units_have_the_numbers_of_the_protocol() -> None:
    """What is answered as a unit is what RateLimitResponse.RateLimit.Unit says, weeks included."""
    assert {unit.name: int(unit) for unit in Unit} | {"UNKNOWN": 0} == dict(
        rls_pb2.RateLimitResponse.RateLimit.Unit.items()
    )


def test_codes_have_the_numbers_of_the_protocol() -> None:
    assert {code.name: int(code) for code in Code} | {"UNKNOWN": 0} == dict(rls_pb2.RateLimitResponse.Code.items())


@pytest.mark.parametrize(
    ("unit", "multiplier", "seconds"),
    [(Unit.SECOND, 1, 1), (Unit.MINUTE, 15, 900), (Unit.WEEK, 2, 1_209_600), (Unit.YEAR, 100, MAX_WINDOW_SECONDS)],
)
def test_a_window_is_as_many_units_long(unit: Unit, multiplier: int, seconds: int) -> None:
    assert RateLimit(1, unit, multiplier).window_seconds == seconds
