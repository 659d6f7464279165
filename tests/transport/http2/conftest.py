"""How many random sequences of frames are tried: `pytest tests/transport/http2 --sequences 1000000` for a long run."""

import pytest

SEQUENCES = 3_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sequences", type=int, default=SEQUENCES, help="random sequences of HTTP/2 frames in each test")


@pytest.fixture
def sequences(request: pytest.FixtureRequest) -> int:
    """How many. A run of the whole suite does not know the option, and takes the default."""
    given: int = request.config.getoption("--sequences", SEQUENCES)
    return given
