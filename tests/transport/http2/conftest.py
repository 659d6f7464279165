"""How many random sequences of frames are tried: `pytest tests/transport/http2 --sequences 1000000` for a long run."""

import pytest

SEQUENCES = 3_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sequences", type=int, default=SEQUENCES, help="random sequences of HTTP/2 frames in each test")


@pytest.fixture
def sequences(request: pytest.FixtureRequest) -> int:
    """How many; fewer than asked for only where the option is not known, as it is to no run of the whole suite."""
    given: int = request.config.getoption("--sequences", SEQUENCES)
    return given
