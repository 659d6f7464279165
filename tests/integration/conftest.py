import pytest

REQUESTS = 1_500
VALUES = 50_000
"""Of `--values`, where all tests run: the option is not there then."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--admin-requests", type=int, default=REQUESTS, help="requests of the attack on the admin address")
    parser.addoption("--values", type=int, default=VALUES, help="distinct values that a server is asked about")
