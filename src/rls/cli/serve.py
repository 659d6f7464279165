"""`rls serve`: its flags are the settings, its help is theirs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Annotated, Any, cast, get_args

import typer
import typer.main
from pydantic.fields import FieldInfo
from rich.markup import escape

from rls.cli.output import say
from rls.cli.welcome import welcome
from rls.core.rules import RuleSet
from rls.errors import RlsError, SettingsError
from rls.settings import Flag, Settings, duration_text, flag, left_over, not_settings, outdated, read, variable


def serve_command() -> Any:
    """The command, with a flag for each setting."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    _serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("serve", context_settings={"help_option_names": ["-h", "--help"]})(_serve)
    return typer.main.get_command(app)


def _serve(**flags: Any) -> None:
    """Answer checks until told to stop.

    Every flag can be given as an environment variable, whose name stands in its help; the flag wins.

    SIGTERM and SIGINT end it, after a drain; SIGHUP reads the rules again. It exits with 1 where it cannot start or a
    part of it ends, with 2 where a setting cannot be used.
    """
    from rls.app.app import run  # noqa: PLC0415

    given = {name: value for name, value in flags.items() if value not in (None, [])}
    try:
        settings = read(given)
    except SettingsError as error:
        for mistake in error.args:
            say(f"rls: {mistake}", err=True)
        raise typer.Exit(2) from None

    def started(addresses: Mapping[str, str], rules: RuleSet) -> None:
        if settings.log_format == "text":
            typer.echo(welcome(addresses, rules, tls=settings.tls_cert is not None), nl=False)

    try:
        run(settings, [*not_settings(os.environ), *outdated(given), *left_over(os.environ)], started)
    except RlsError as error:
        say(f"rls: {error}", err=True)
        raise typer.Exit(1) from None


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    shown = next(part for part in field.metadata if isinstance(part, Flag))
    declaration, kind = flag(name), cast("Any", str)
    metavar = shown.metavar or "|".join(map(str, get_args(field.annotation)))
    if field.annotation is bool:
        declaration, kind, metavar = flag(f"no_{name}") if field.default else flag(name), bool, ""
    elif str(field.annotation).startswith("tuple"):
        kind = list[str]
    option = typer.Option(
        declaration,
        help=f"{_described(field)} [dim]{escape(f'[{_default(field, shown.metavar)}{_variable(name, field)}]')}[/dim]",
        metavar=metavar or None,
        rich_help_panel=shown.panel,
        show_default=False,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _described(field: FieldInfo) -> str:
    """What the flag of *field* does; that of a setting which is on turns it off."""
    text = field.description or ""
    return f"Do not {text[0].lower()}{text[1:]}" if field.default is True else text


def _variable(name: str, field: FieldInfo) -> str:
    """The variable that does what the flag does."""
    return f"{variable(name)}=false" if field.default is True else variable(name)


def _default(field: FieldInfo, metavar: str) -> str:
    """What help says of the default, where there is one to speak of."""
    value = field.get_default()
    if field.is_required() or value in (None, "", (), False, True):
        return ""
    return f"default: {duration_text(value) if metavar == 'DURATION' else value}; "
