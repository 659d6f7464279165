"""The help pages: plain text in 80 columns, values by what they mean, never a type of Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

import typer
import typer.core

from rls.cli.output import say
from rls.cli.usage import UsageError, demand_paths, mistake

_WIDEST = 41
"""Columns of an option's names; the text of a longer one begins on the next line."""


class Command(typer.core.TyperCommand):
    """A command that prints its help as described above."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*; without any, print help if the command needs some."""
        _help_without(args, self, ctx)
        words = list(args)
        rest = super().parse_args(ctx, args)
        demand_paths(self, ctx, words)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        _write_page(self, ctx, formatter, {})


class Group(typer.core.TyperGroup):
    """A group of commands that prints its help as described above."""

    def main(  # type: ignore[override] # its other arguments are its own
        self, args: Any = None, prog_name: str | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run a command. A mistake on the command line is one line on stderr, and the exit code 2."""
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except UsageError as error:
            if not standalone_mode:
                raise
            say(f"rls: {mistake(error)}", err=True)
            code = 2
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*; without any, print help."""
        _help_without(args, self, ctx)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        _write_page(self, ctx, formatter, commands)


def _help_without(args: list[str], command: Any, ctx: Any) -> None:
    # Typer's own way prints only pages that were made with Rich.
    if not args and command.no_args_is_help and not ctx.resilient_parsing:
        typer.echo(command.get_help(ctx), err=True)
        raise typer.Exit(2)


def _write_page(command: Any, ctx: Any, formatter: Any, commands: dict[str, Any]) -> None:
    formatter.write(f"{command.get_usage(ctx)}\n")
    formatter.write_paragraph()
    formatter.write_text(command.help)
    panels: dict[str, list[tuple[str, str]]] = {}
    params = [param for param in command.get_params(ctx) if "--help" not in param.opts]  # who reads this knows it
    if commands:  # one line, since there are many commands
        formatter.write_paragraph()
        formatter.write_text(f"Options: {', '.join(_names(param) for param in params)}")
        params = []
    for param in params:
        if not getattr(param, "hidden", False):
            is_argument = isinstance(param, typer.core.TyperArgument)
            panel = param.rich_help_panel or ("Arguments" if is_argument else "Options")
            panels.setdefault(panel, []).append((_names(param), " ".join(_texts(param))))
    for panel, rows in panels.items():
        with formatter.section(panel):
            formatter.write_dl(rows, col_max=_WIDEST)
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, one in commands.items():
        group = one.rich_help_panel if isinstance(one.rich_help_panel, str) else "Commands"
        groups.setdefault(group, []).append((name, _summary(one, commands)))
    for group, rows in groups.items():
        with formatter.section(group):
            formatter.write_dl(rows)
    if command.epilog:
        formatter.write_paragraph()
        formatter.write_text(command.epilog)


def _summary(command: Any, commands: dict[str, Any]) -> str:
    """What the *command* does, in one line."""
    columns = 78 - 4 - max(map(len, commands))
    return shorten(command.help.partition("\n")[0], columns, placeholder=" …")


def _names(param: Any) -> str:
    """`-d, --domain NAME`, or of an argument `KEY=VALUE...`."""
    if isinstance(param, typer.core.TyperArgument):
        return f"{param.metavar}{'...' if param.nargs != 1 else ''}"
    names = ", ".join(sorted(param.opts, key=len))
    return names if param.is_flag else f"{names} {param.metavar}"


def _texts(param: Any) -> Iterator[str]:
    yield param.help or ""
    if isinstance(param, typer.core.TyperOption) and param.show_default and param.default:
        yield f"[default: {param.default}]"
