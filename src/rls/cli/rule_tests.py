"""`rls test`: plays tests of rules on a simulated clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rls.cli.output import say
from rls.cli.urls import refuse_urls
from rls.printable import json_line, printable, printable_line

if TYPE_CHECKING:
    from rls.errors import Diagnostic, SourceLocation
    from rls.tools.rule_tests.grammar import RuleTest
    from rls.tools.rule_tests.judge import Failure

_SUFFIXES = (".yaml", ".yml")


class Result(NamedTuple):
    """What came of one test, or of a file that holds none that can be read: then *mistake* says why."""

    place: SourceLocation
    about: str
    failures: Sequence[Failure] = ()
    mistake: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.failures and not self.mistake


def play_tests(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or directories with tests of rules.")],
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", metavar="PATH", help="Rules of tests that name none. Repeatable."),
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write a JUnit report.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Play tests of rules on a simulated clock.

    Prints one line per unmet expectation, FILE:LINE:COLUMN: MESSAGE, and a summary on stderr.
    Exit codes: 0 all passed, 1 some failed, 2 wrong usage.
    """
    from rls.cli.overwriting import Read, demand_apart  # noqa: PLC0415
    from rls.cli.standard_input import refuse  # noqa: PLC0415
    from rls.sources.paths import missing  # noqa: PLC0415

    config = config or []
    refuse([*paths, *config])
    refuse_urls([*paths, *config], "a file or directory; curl -s URL > tests.yaml")
    for path in missing([*paths, *config]):
        raise typer.BadParameter(f"no such file or directory: {printable(str(path))}")
    files = _files(paths)
    if not files:
        raise typer.BadParameter(f"no file ends in {' or '.join(_SUFFIXES)} in: {' '.join(map(str, paths))}")
    read = [Read(path, "a test that is read") for path in files] + [Read(path, "the tests") for path in paths]
    demand_apart({"--junit": junit}, read + [Read(path, "the rules of --config") for path in config])
    found = [one for file in files for one in _read(file)]
    rules = [Read(path, "the rules of a test") for one in found if not isinstance(one, Result) for path in one.config]
    demand_apart({"--junit": junit}, rules)
    results = [one if isinstance(one, Result) else _played(one, config) for one in found]
    if json:
        typer.echo(json_line([_row(result) for result in results], indent=2))
    else:
        for result in results:
            _print(result)
    if junit is not None:
        _write(junit, results)
    failed = sum(not result.passed for result in results)
    say(f"{len(results) - failed} passed, {failed} failed; {len(files)} file{'s' * (len(files) != 1)}", err=True)
    raise typer.Exit(1 if failed else 0)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files at *paths*, those of a directory and below it by name."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES) if path.is_dir() else [path]
        found.update(dict.fromkeys(inside))
    return list(found)


def _read(file: Path) -> Sequence[RuleTest | Result]:
    """The tests of *file*, or its mistakes."""
    from rls.errors import ConfigError, SourceLocation  # noqa: PLC0415
    from rls.sources.disk import Disk  # noqa: PLC0415
    from rls.tools.rule_tests.grammar import read_tests  # noqa: PLC0415

    try:
        return read_tests(str(file), Disk().read(str(file))).tests
    except ConfigError as error:
        return [_mistaken(diagnostic) for diagnostic in error.diagnostics]
    except OSError as error:
        return [Result(SourceLocation(str(file), 1, 1), "", mistake=f"cannot be read: {error.strerror}")]


def _mistaken(diagnostic: Diagnostic) -> Result:
    return Result(diagnostic.place, "", mistake=diagnostic.message)


def _played(one: RuleTest, config: Sequence[Path]) -> Result:
    import asyncio  # noqa: PLC0415

    from rls.tools.rule_tests.play import play_in_memory  # noqa: PLC0415

    began = time.perf_counter()
    failures = asyncio.run(play_in_memory(one, config))
    return Result(one.fields.place, one.about, failures, seconds=time.perf_counter() - began)


def _print(result: Result) -> None:
    """A line for each failure; behind those of a step, what is known of its request."""
    if result.mistake:
        typer.echo(printable_line(f"{result.place}: {result.mistake}"))
    for _, of_step in groupby(result.failures, key=lambda failure: id(failure.notes)):
        failures = list(of_step)
        for failure in failures:
            typer.echo(printable_line(f"{failure.place}: {result.about.rstrip('.')}: {_text(failure)}"))
        for note in failures[0].notes:
            typer.echo(printable_line(f"    {note}"))


def _text(failure: Failure) -> str:
    return f"{failure.what}: expected {failure.expected}, got {failure.got}"


def _row(result: Result) -> dict[str, Any]:
    failures = [
        {
            **_place(failure.place),
            "what": printable(failure.what),
            "expected": printable(failure.expected),
            "got": printable(failure.got),
            "notes": [printable(note) for note in failure.notes],
        }
        for failure in result.failures
    ]
    if result.mistake:
        failures.append({**_place(result.place), "what": "mistake", "got": printable(result.mistake)})
    return {**_place(result.place), "about": printable(result.about), "passed": result.passed, "failures": failures}


def _place(place: SourceLocation) -> dict[str, Any]:
    return {"file": printable(place.file), "line": place.line, "column": place.column}


def _write(path: Path, results: Sequence[Result]) -> None:
    """A report as JUnit has it: a suite for each file, a case for each test."""
    from xml.etree.ElementTree import Element, SubElement, tostring  # noqa: PLC0415

    suites = Element("testsuites")
    for file in dict.fromkeys(result.place.file for result in results):
        own = [result for result in results if result.place.file == file]
        suite = SubElement(suites, "testsuite", name=printable(file), tests=str(len(own)))
        suite.set("failures", str(sum(bool(result.failures) for result in own)))
        suite.set("errors", str(sum(bool(result.mistake) for result in own)))
        suite.set("time", f"{sum(result.seconds for result in own):.3f}")
        for result in own:
            case = SubElement(suite, "testcase", name=printable(result.about or "the file"), classname=printable(file))
            case.attrib |= {"file": printable(file), "line": str(result.place.line), "time": f"{result.seconds:.3f}"}
            for failure in result.failures:
                text = [f"{failure.place}: {_text(failure)}", *failure.notes]
                SubElement(case, "failure", message=printable(_text(failure))).text = "\n".join(map(printable, text))
            if result.mistake:
                SubElement(case, "error", message=printable(result.mistake)).text = printable(
                    f"{result.place}: {result.mistake}"
                )
    try:
        path.write_bytes(tostring(suites, "utf-8", xml_declaration=True) + b"\n")
    except OSError as error:
        raise typer.BadParameter(f"--junit: cannot write {printable(str(path))}: {error.strerror}") from None
