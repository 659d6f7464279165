"""The same configurations, right or a little broken, are taken or refused by `rls` and by the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.differential.accepted import REFUSED_HERE, REFUSED_THERE, rules_of, verdict
from tests.differential.conftest import DIFFERENCES, Progress
from tests.differential.reference import CHECKER, Reference, binary, reference_server, refusal
from tests.differential.texts import Files, texts

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
PHASES = [Phase.generate, Phase.shrink]
MIGRATION = Path(__file__).parents[2] / "docs" / "migration.md"


@pytest.fixture
def reference(tmp_path: Path, redis_port: int) -> Iterator[Reference]:
    merging = {"MERGE_DOMAIN_CONFIG": "true"}
    with reference_server(tmp_path / "reference", redis_port, merging) as server:
        yield server


def write(directory: Path, files: Files) -> None:
    """Make *files* the only ones of *directory*."""
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for name, text in files.items():
        (directory / name).write_bytes(text.encode())


def show(files: Files) -> str:
    """*files* with what cannot be seen."""
    lines = [line for name, text in files.items() for line in [f"--- {name}", *text.split("\n")]]
    return "\n".join(line if line.isprintable() and line.isascii() else repr(line) for line in lines)


def test_same_configurations_taken(tmp_path: Path, examples: int, progress: Progress) -> None:
    """What the reference's checker takes is taken, and what it refuses refused, but for what is known to differ."""
    binary(CHECKER)

    @settings(max_examples=examples, database=None, phases=PHASES, suppress_health_check=QUIET, print_blob=False)
    @given(texts())
    def compare(files: Files) -> None:
        write(tmp_path / "rules", files)
        kind, difference = verdict(tmp_path / "rules")
        progress({"configurations": 1, kind or "unexplained": 1, DIFFERENCES: bool(difference)})
        if difference:
            pytest.fail(f"{difference}\n{show(files)}", pytrace=False)

    compare()


def test_same_rules_read(reference: Reference, tmp_path: Path, examples: int, progress: Progress) -> None:
    """What both take means the same rules to both."""
    binary(CHECKER)

    @settings(max_examples=examples, database=None, phases=PHASES, suppress_health_check=QUIET, print_blob=False)
    @given(texts())
    def compare(files: Files) -> None:
        write(tmp_path / "rules", files)
        ours = rules_of(tmp_path / "rules")
        if ours is None or refusal(tmp_path / "rules"):
            progress({"refused": 1})
            return
        reference.load(files)
        theirs = reference.rules()
        progress({"configurations": 1, "rules": len(ours), DIFFERENCES: ours != theirs})
        if ours != theirs:
            pytest.fail(f"rls:       {ours}\nreference: {theirs}\n{show(files)}", pytrace=False)

    compare()


@pytest.mark.parametrize("row", sorted({allowed.row for allowed in (*REFUSED_HERE, *REFUSED_THERE)}))
def test_what_differs_is_told(row: str) -> None:
    """Every difference that is allowed here stands in the guide for who comes from the reference."""
    assert f"\n| {row}" in MIGRATION.read_text()
