"""How much is compared, and how far it has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.redis_server import redis_server

EXAMPLES = 30
Step = Callable[[], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=EXAMPLES, help="cases of each differential test")


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest) -> int:
    """Cases of each test; the option is not there where all tests run."""
    given: int = request.config.getoption("--examples", EXAMPLES)
    return given


@pytest.fixture
def progress(request: pytest.FixtureRequest, examples: int, capsys: pytest.CaptureFixture[str]) -> Iterator[Step]:
    """To be called once a case; draws a bar on a terminal where there are many."""
    if examples <= EXAMPLES:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with capsys.disabled(), Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task(f"\n{request.node.name}", total=examples)
        yield lambda: bar.advance(task)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port
