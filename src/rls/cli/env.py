"""`rls env`: translates the environment of envoyproxy/ratelimit."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.choices import choice
from rls.cli.output import say
from rls.cli.urls import refuse_urls
from rls.printable import json_line, printable, printable_line

if TYPE_CHECKING:
    from rls.settings.translate import Translation


class Form(StrEnum):
    """How the variables are written."""

    KUBERNETES = "kubernetes"
    ENV = "env"
    FLAGS = "flags"
    JSON = "json"


def env(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Deployment, ConfigMap, compose file or NAME=VALUE lines; - is stdin."),
    ] = Path("-"),
    form: Annotated[Form, choice(Form, "--format", "Write the variables like this.")] = Form.KUBERNETES,
    container: Annotated[
        str, typer.Option("--container", "-c", metavar="NAME", help="The container, or service of a compose file.")
    ] = "",
) -> None:
    """Translate the environment of envoyproxy/ratelimit.

    Prints our variables, each with the reason, and what has none. Passwords are not printed.
    Exit codes: 0 all translated, 1 some need a hand, 2 wrong usage.
    """
    from rls.cli.old_environment import NotFoundError, read  # noqa: PLC0415
    from rls.settings.translate import translate  # noqa: PLC0415

    refuse_urls([file], "a file; curl -s URL | rls env -")
    try:
        given = read(_text(file), container)
    except OSError as error:
        say(f"rls: cannot read {file}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    except NotFoundError as error:
        say(f"rls: {file if str(file) != '-' else 'standard input'}: {error}", err=True)
        raise typer.Exit(2) from None
    done = translate(given.values, given.elsewhere)._replace(ignored=tuple(given.ignored))
    for line in {Form.KUBERNETES: _kubernetes, Form.ENV: _env, Form.FLAGS: _flags, Form.JSON: _json}[form](done):
        typer.echo(line)
    ignored = f"{len(done.ignored)} ignored, " if done.ignored else ""
    say(f"{len(done.lines)} set, {len(done.left_out)} not needed, {ignored}{len(done.open)} to do by hand", err=True)
    if done.open:
        raise typer.Exit(1)


def _text(file: Path) -> str:
    from rls.sources.disk import demand_no_device  # noqa: PLC0415

    if str(file) != "-":
        demand_no_device(file)
        return file.read_text(errors="surrogateescape")
    if sys.stdin.isatty():
        raise typer.BadParameter("FILE is missing: expected a file, or variables on standard input")
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


def _kubernetes(done: Translation) -> Iterator[str]:
    """A block for a container's manifest."""
    yield "env:"
    for name, value, sources, notes in done.lines:
        yield from _comments("  # ", sources, notes)
        yield printable_line(f"  - name: {name}")
        yield f"    value: {json.dumps(printable(value))}"
    yield from _rest(done, "  # ")


def _env(done: Translation) -> Iterator[str]:
    """Lines for a file that a shell or compose reads."""
    for name, value, sources, notes in done.lines:
        yield from _comments("# ", sources, notes)
        yield f"{name}={shlex.quote(printable(value))}"
    yield from _rest(done, "# ")


def _flags(done: Translation) -> Iterator[str]:
    """A command line; variables that are not ours stay variables."""
    words = [f"{line.name}={shlex.quote(printable(line.value))}" for line in done.lines if not line.flag]
    words.append("rls serve")
    for line in done.lines:
        if line.flag and line.value in ("true", "false"):
            words += [line.flag] if line.value == "true" else []
        elif line.flag:
            words.append(f"{line.flag} {shlex.quote(printable(line.value))}")
    yield " \\\n  ".join(words)
    yield from _rest(done, "# ")


def _json(done: Translation) -> Iterator[str]:
    """For programs."""
    yield json_line(
        {
            "variables": [
                {"name": name, "value": printable(value), "from": list(sources), "notes": list(map(printable, notes))}
                for name, value, sources, notes in done.lines
            ],
            "not_needed": [{"name": name, "reason": printable(reason)} for name, reason in done.left_out],
            "ignored": [{"what": printable(what), "reason": printable(reason)} for what, reason in done.ignored],
            "by_hand": [{"name": name, "reason": printable(reason)} for name, reason in done.open],
        },
        indent=2,
    )


def _comments(prefix: str, sources: tuple[str, ...], notes: tuple[str, ...]) -> Iterator[str]:
    yield printable_line(f"{prefix}from {', '.join(sources) or 'the defaults of the old server'}")
    yield from (printable_line(f"{prefix}  {note}") for note in notes)


def _rest(done: Translation, prefix: str) -> Iterator[str]:
    for title, names in (("not needed:", done.left_out), ("ignored:", done.ignored), ("to do by hand:", done.open)):
        if names:
            yield f"{prefix}{title}"
        yield from (printable_line(f"{prefix}  {name}: {reason}") for name, reason in names)
