"""The command `rls`: parses and dispatches. What a command needs is imported when it runs, so that help is quick."""

from __future__ import annotations

import platform
from typing import Any

import typer
import typer.core
import typer.main

from rls.cli.call import call
from rls.cli.check import check
from rls.cli.output import print_all_characters


class Commands(typer.core.TyperGroup):
    """All commands, of which `serve` has its flags made from the settings when it is asked for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that *args* name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name == "serve":
            from rls.cli.serve import serve_command  # noqa: PLC0415

            command = serve_command()
        return name, command, rest


class Command(typer.core.TyperCommand):
    """A command whose help shows no Python types for arguments: their names say what is expected."""

    def get_params(self, ctx: Any) -> Any:
        """Its arguments and options."""
        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, typer.core.TyperArgument):
                param.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005
        return params


app = typer.Typer(
    cls=Commands,
    help="The Istio Rate Limiter: answers Envoy's rate limit checks.",
    no_args_is_help=True,
    add_completion=False,
    # Plain tracebacks: the decorated ones show local variables, and so passwords.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def serve() -> None:
    """Answer checks until told to stop."""
    raise AssertionError("Commands puts the real one in its place")


app.command(cls=Command, no_args_is_help=True)(check)
app.command(cls=Command, no_args_is_help=True)(call)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the rules, for editors."""
    import json  # noqa: PLC0415

    from rls.config.schema import json_schema  # noqa: PLC0415

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    from rls import __version__  # noqa: PLC0415

    typer.echo(f"rls {__version__} (Python {platform.python_version()})")


def main() -> None:
    """Run the command that the arguments name."""
    print_all_characters()
    app(prog_name="rls")
