"""How much is compared, and how far it has come."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tests.redis_server import redis_server

EXAMPLES = 30
DIFFERENCES = "differences"
Progress: TypeAlias = Callable[[Mapping[str, int]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=EXAMPLES, help="cases of each differential test")


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest) -> int:
    """Cases of each test; the option is not there where all tests run."""
    given: int = request.config.getoption("--examples", EXAMPLES)
    return given


@pytest.fixture
def progress(request: pytest.FixtureRequest, examples: int, capsys: pytest.CaptureFixture[str]) -> Iterator[Progress]:
    """To be called once a case with what it counted; where there are many, a bar is drawn, and in the end the counts: with `-s`."""
    counts: Counter[str] = Counter()
    if examples <= EXAMPLES:
        yield counts.update
        return
    name = request.node.name
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with capsys.disabled():
        console = Console(file=sys.stderr, soft_wrap=True)
        with Bar(*columns, console=console) as bar:
            task = bar.add_task(name, total=examples)

            def advance(counted: Mapping[str, int]) -> None:
                counts.update(counted)
                bar.update(task, advance=1, description=f"{name}, differences: {counts[DIFFERENCES]}")

            yield advance
        console.print(f"\n{name}:", ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port
