"""Mistakes on the command line, in one line each: what was given, what was expected, what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from rls.alike import closest, either

UsageError: Any = typer.BadParameter.__base__
"""What the command line's parser raises; Typer does not export it."""
_PARSER = (
    (r"should be a valid (?:integer|number)", "a whole number"),
    (r"should be greater than or equal to (\S+)", r"\1 or more"),
    (r"should be less than or equal to (\S+)", r"\1 or less"),
    (r"is not one of (.*?)\.?$", r"one of \1"),
)
"""What the parser says of a value, and what we say."""
_BOOLS = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})


def mistake(error: Any) -> str:
    """What *error*, a `UsageError`, says."""
    command = error.ctx.command_path if error.ctx is not None else "rls"
    message = str(error.message)
    name = getattr(error, "option_name", "")
    if isinstance(error, typer.BadParameter):
        return (
            _of_parser(error.param, message) if message else f"{_named(error.param)} is missing: see {command} --help"
        )
    if "requires an argument" in message:
        return f"{name} has no value: expected one after it; see {command} --help"
    if "does not take a value" in message:
        return f"{name} has a value: expected {name} alone, which turns it on"
    if hasattr(error, "possibilities"):
        close = sorted(error.possibilities or ())
        all_of_them = f"{command} --help-all" if command.endswith(" serve") else f"{command} --help"
        meant = f", expected {either(close)}" if close else ""
        return f"no such option: {name}{meant}; {all_of_them} lists all"
    if found := re.search(r"unexpected extra argument(?:\(s\)|s)? \((.*)\)$", message):
        return _unexpected(found[1], command)
    if found := re.match(r"No such command '(.*?)'\.", message):
        commands = error.ctx.command.list_commands(error.ctx)
        meant = either(closest(found[1], commands) or commands)
        return f"no such command: {found[1]}, expected {meant}; {command} --help lists all"
    return message


def demand_paths(command: Any, ctx: Any, args: list[str]) -> None:
    """Refuse an empty text for a path among *args*, which *command* has parsed: as a `Path` it is the current directory.

    Raises:
        typer.BadParameter: There is one.
    """
    given, _, _ = command.make_parser(ctx).parse_args(args=args)
    for param in command.get_params(ctx):
        texts, values = given.get(param.name), ctx.params.get(param.name)
        texts = texts if isinstance(texts, list | tuple) else [texts]
        values = values if isinstance(values, list | tuple) else [values]
        if "" in texts and any(isinstance(value, Path) for value in values):
            raise typer.BadParameter(empty_path(_named(param)))


def empty_path(name: str) -> str:
    """The mistake of an argument or option *name* that is an empty text in place of a path."""
    return f"{name} is '': expected a path; is a variable of the shell empty?"


def _of_parser(param: Any, message: str) -> str:
    """*message*, in our words and with the name of the option where the parser wrote it."""
    for pattern, expected in _PARSER:
        if param is not None and (found := re.search(pattern, message)):
            return f"{_named(param)}: expected {found.expand(expected)}".replace("'", "")
    return message


def _unexpected(words: str, command: str) -> str:
    given = f"'{words}' was not expected: {command} takes options only"
    if not command.endswith(" serve"):
        return given
    if words.lower() in _BOOLS:
        return f"{given}, and an option that turns something on takes no value"
    return f"{given}; name rules with --config {words.split(maxsplit=1)[0]}"


def _named(param: Any) -> str:
    if isinstance(param, typer.core.TyperArgument):
        return str(param.metavar)
    variable = param.envvar
    return f"{param.opts[0]} or {variable}" if variable else str(param.opts[0])
