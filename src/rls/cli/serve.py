"""`rls serve`: its flags and its help come from the settings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin

import typer
import typer.main
from pydantic.fields import FieldInfo

from rls.cli.banner import banner
from rls.cli.help import Command
from rls.cli.output import discard_output, say
from rls.core.rules import RuleSet
from rls.errors import RlsError, SettingsError, UnusableSetting
from rls.settings import (
    RENAMED,
    BackendUrl,
    Flag,
    Given,
    Settings,
    deprecated,
    duration_text,
    flag,
    left_over,
    old_flag,
    read,
    unknown_variables,
    variable,
)

EXAMPLE = """\
Every option is also a variable: --grpc is RLS_GRPC. Options win.

Example: rls serve --config rules.yaml --backend redis://127.0.0.1:6379
"""

SHORT = {
    "config": "A file or directory with rules",
    "backend": "Where counters are [memory://]",
    "on_backend_error": "While the backend fails [local]",
    "replicas": "Servers that share the limits [1]",
    "shadow_mode": "Answer OK to every request",
    "grpc": "For checks [0.0.0.0:8081]",
    "http": "Probes, metrics [0.0.0.0:8080]",
    "admin": "For admins [127.0.0.1:6070]",
    "tls_cert": "Certificate chain for gRPC",
    "tls_key": "Its private key",
    "drain_timeout": "Serve on after SIGTERM [5s]",
    "log_level": "At least as grave [info]",
    "log_format": "Of the log [text]",
}
"""What `--help` says of each setting that it shows, and its default, in one line: the page fits a terminal of 24 lines."""


MORE = """

SIGTERM stops it after --drain-timeout, Ctrl-C at once; SIGHUP reloads the rules. Exit codes: 0 stopped by a signal, 1
failed, 2 wrong settings.
"""


def serve_command(*, all_options: bool = False) -> Any:
    """The command, with a flag for each setting; help shows the common ones, or *all_options*."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    parameters = [_parameter(name, field, show=all_options) for name, field in Settings.model_fields.items()]
    parameters += _old_parameters()
    parameters.append(_help_all())
    _serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    options: Any = {"cls": Command, "context_settings": {"help_option_names": ["-h", "--help"]}, "epilog": EXAMPLE}
    if all_options:
        options["help"] = f"{_serve.__doc__}{MORE}"
    app.command("serve", **options)(_serve)
    return typer.main.get_command(app)


def _serve(**flags: Any) -> None:
    """Answer rate limit checks until a signal stops the server."""
    from rls.app.app import run  # noqa: PLC0415

    given = {name: _switched(name, value) for name, value in flags.items() if value not in (None, [])}
    try:
        settings = read(given)
    except SettingsError as error:
        for mistake in error.args:
            say(f"rls: {mistake}", err=True)
        raise typer.Exit(2) from None
    _demand_own_decision_log(settings, given)

    def started(addresses: Mapping[str, str], rules: RuleSet) -> None:
        if settings.log_format != "text":
            return
        try:
            typer.echo(banner(addresses, rules, tls=settings.tls_cert is not None), nl=False)
        except OSError:  # nobody can read it, which is no reason not to serve
            discard_output()

    unknown = [*unknown_variables(os.environ), *left_over(os.environ)]
    warnings = [("setting_deprecated", text) for text in deprecated(given)]
    warnings += [("unknown_setting", text) for text in unknown]
    try:
        run(settings, warnings, started)
    except UnusableSetting as error:
        say(f"rls: {Given(given, os.environ).source(error.setting)}: {error}", err=True)
        raise typer.Exit(2) from None
    except RlsError as error:
        say(f"rls: {error}", err=True)
        raise typer.Exit(1) from None


def _demand_own_decision_log(settings: Settings, given: Mapping[str, Any]) -> None:
    """Refuse a decision log that is a file of the server: lines would be added to it."""
    from rls.app.decision_logging import STDOUT  # noqa: PLC0415
    from rls.cli.overwriting import Read, demand_apart  # noqa: PLC0415

    def source(name: str) -> str:
        return flag(name) if name in given else variable(name)

    if settings.decision_log in ("", STDOUT):
        return
    read = [Read(path, f"the rules of {source('config')}") for path in settings.config if isinstance(path, Path)]
    read += [Read(path, f"the file of {source(name)}") for name, path in settings if isinstance(path, Path)]
    for name in ("backend", "per_second_backend"):
        read += [Read(path, f"a file of {source(name)}") for path in _files_of(getattr(settings, name))]
    demand_apart({source("decision_log"): Path(settings.decision_log)}, read)


def _files_of(backend: BackendUrl | None) -> list[str]:
    """The files that the URL of a Redis names."""
    from rls.stores import schemes  # noqa: PLC0415
    from rls.stores.redis.url import files_of  # noqa: PLC0415

    return files_of(backend.reveal()) if backend is not None and backend.scheme in schemes.OWN else []


def _switched(name: str, value: Any) -> Any:
    """The value of the setting *name*: False where it is on by default, since its flag turns it off."""
    new = RENAMED.get(name)
    on_by_default = new.inverse if new is not None else Settings.model_fields[name].default is True
    return not value if on_by_default else value


def _parameter(name: str, field: FieldInfo, *, show: bool) -> inspect.Parameter:
    shown = _shown(field)
    declaration, kind, metavar = flag(name), cast("Any", str), shown.metavar or "|".join(_choices(field))
    if field.annotation is bool:
        declaration, kind, metavar = flag(f"no_{name}") if field.default else flag(name), bool, ""
    elif str(field.annotation).startswith("tuple"):
        kind = list[str]
    option = typer.Option(
        declaration,
        help=_explained(name, field) if show else SHORT.get(name, ""),
        metavar=metavar or None,
        rich_help_panel=shown.panel if show else None,
        hidden=not (show or shown.common),
        show_default=False,
        autocompletion=_completion(_choices(field)),
    )
    return _keyword(name, kind, option)


def _old_parameters() -> Iterator[inspect.Parameter]:
    """The flags of old names, which help does not show."""
    for old, new in RENAMED.items():
        kind = bool if Settings.model_fields[new.name].annotation is bool else str
        yield _keyword(old, kind, typer.Option(old_flag(old), hidden=True))


def _help_all() -> inspect.Parameter:
    def show(ctx: typer.Context, wanted: bool) -> None:
        if wanted:
            typer.echo(serve_command(all_options=True).get_help(ctx))
            raise typer.Exit

    text = "All options, explained"
    option = typer.Option("--help-all", is_eager=True, expose_value=False, callback=show, help=text)
    return _keyword("help_all", bool, option)


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _shown(field: FieldInfo) -> Flag:
    return next(part for part in field.metadata if isinstance(part, Flag))


def _choices(field: FieldInfo) -> tuple[str, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is not None and not _shown(field).metavar else ()


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    """What a shell completes a value with."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete if choices else None


def _explained(name: str, field: FieldInfo) -> str:
    """What `--help-all` says of a setting, with its default and its variable."""
    notes = "; ".join(note for note in (_default(field), _variable(name, field)) if note)
    return f"{_described(field)} [{notes}]"


def _described(field: FieldInfo) -> str:
    """What the flag of *field* does; the flag of a setting that is on turns it off."""
    text = field.description or ""
    return f"Do not {text[0].lower()}{text[1:]}" if field.default is True else text


def _variable(name: str, field: FieldInfo) -> str:
    """The variable that does what the flag does."""
    return f"{variable(name)}=false" if field.default is True else variable(name)


def _default(field: FieldInfo) -> str:
    """The default as help shows it; "" for none, for switches and for empty ones."""
    value = field.get_default()
    if field.is_required():
        return "required"
    if value in (None, "", (), False, True):
        return ""
    return f"default: {duration_text(value) if _shown(field).metavar == 'DURATION' else value}"
