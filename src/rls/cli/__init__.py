"""The command `rls`: parses and dispatches. Each command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
import typer.main

from rls.cli.call import call
from rls.cli.check import check
from rls.cli.counter import counter
from rls.cli.diff import diff
from rls.cli.doctor import doctor
from rls.cli.env import env
from rls.cli.explain import explain
from rls.cli.hash import hash_values
from rls.cli.help import Command, Group
from rls.cli.istio import istio
from rls.cli.mesh import mesh
from rls.cli.output import CANNOT_PRINT, discard_output, print_all_characters, say
from rls.cli.override import override
from rls.cli.replay import replay
from rls.cli.rule_tests import play_tests
from rls.cli.status import status
from rls.cli.tail import tail
from rls.cli.top import top
from rls.errors import SettingsError

_GROUPS = ("Answer checks", "Write rules", "Look at servers", "Change limits now", "Others")
ANSWER, WRITE, LOOK, CHANGE, OTHERS = _GROUPS
F = TypeVar("F", bound=Callable[..., None])


class Commands(Group):
    """All commands. The flags of `serve` are made from the settings when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, group by group."""
        commands: Any = self.commands
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _GROUPS.index(commands[name].rich_help_panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that *args* name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name == "serve":
            from rls.cli.serve import serve_command  # noqa: PLC0415

            # A shell completes all options, those of --help-all too.
            command = serve_command(all_options=ctx.resilient_parsing)
        return name, command, rest


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    # Plain tracebacks: the decorated ones show local variables, and so passwords.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback(epilog="Example: rls serve --config rules.yaml --backend redis://127.0.0.1:6379")
def rls(
    *,
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """The Istio Rate Limiter: answers Envoy's rate limit checks."""


def _command(group: str, example: str, name: str | None = None, *, needs_arguments: bool = False) -> Callable[[F], F]:
    """Registers a command in a *group* of the help."""
    return app.command(
        name, cls=Command, no_args_is_help=needs_arguments, rich_help_panel=group, epilog=f"Example: rls {example}"
    )


@app.command(rich_help_panel=ANSWER)
def serve() -> None:
    """Answer rate limit checks until a signal stops the server."""
    raise AssertionError("Commands puts the real one in its place")


_command(ANSWER, "call 127.0.0.1:8081 --domain mesh company_id=acme", needs_arguments=True)(call)

_command(WRITE, "check rules.yaml", needs_arguments=True)(check)
_command(WRITE, "explain --config rules.yaml --domain mesh company_id=acme", needs_arguments=True)(explain)
_command(WRITE, "diff git:HEAD:rules.yaml rules.yaml --top top.json", needs_arguments=True)(diff)
_command(WRITE, "replay access.log --config new.yaml --against rules.yaml", needs_arguments=True)(replay)
_command(WRITE, "test --config rules.yaml tests/", "test", needs_arguments=True)(play_tests)
_command(WRITE, "istio rules.yaml --claim company_id=company_id --at gateway", needs_arguments=True)(istio)


@_command(WRITE, "schema > rules.schema.json")
def schema(
    tests: Annotated[bool, typer.Option("--tests", help="Print that of files for rls test.")] = False,
) -> None:
    """Print the JSON Schema of rules files, for editors."""
    import json  # noqa: PLC0415

    if tests:
        from rls.tools.rule_tests.grammar import json_schema  # noqa: PLC0415
    else:
        from rls.config.schema import json_schema  # noqa: PLC0415
    typer.echo(json.dumps(json_schema(), indent=2))


_command(LOOK, "status --pods kubectl")(status)
_command(LOOK, "top --by near --rule company_id")(top)
_command(LOOK, "tail --entry company_id=acme")(tail)
_command(LOOK, "doctor --redis redis://redis:6379 --envoy 127.0.0.1:15000")(doctor)
app.add_typer(mesh, name="mesh", rich_help_panel=LOOK)

app.add_typer(
    override,
    name="override",
    rich_help_panel=CHANGE,
    help="Set, list and end overrides of limits in a running server.",
    epilog="Example: rls override set -d mesh company_id=acme 9/minute --for 2h --reason T",
)
app.add_typer(
    counter,
    name="counter",
    rich_help_panel=CHANGE,
    help="Read counters of a running server, reset them, give hits back.",
    epilog="Example: rls counter get --domain mesh company_id=acme",
)

_command(OTHERS, "env deployment.yaml")(env)
_command(OTHERS, "hash --hash-secret-file secret company_id=acme", "hash", needs_arguments=True)(hash_values)


@_command(OTHERS, "version")
def version() -> None:
    """Print the version of rls and of Python."""
    from rls import __version__  # noqa: PLC0415

    typer.echo(f"rls {__version__} (Python {platform.python_version()})")


def main() -> None:
    """Run the command that the arguments name."""
    print_all_characters()
    try:
        try:
            app(prog_name="rls")
        finally:
            sys.stdout.flush()
    except SettingsError as error:  # of a plug-in, which a command loads with the modules that it imports
        for mistake in error.args:
            say(f"rls: {mistake}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in CANNOT_PRINT:
            raise
        discard_output()
        with contextlib.suppress(OSError):
            say(f"rls: cannot print: {error.strerror}", err=True)
        sys.exit(os.EX_IOERR)
