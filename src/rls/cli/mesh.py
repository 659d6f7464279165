"""`rls mesh`: commands about the proxies of a mesh."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rls.cli.help import Command, Group
from rls.cli.output import say
from rls.cli.rules import read_rules
from rls.cli.urls import refuse_urls
from rls.cli.usage import empty_path
from rls.printable import json_line, printable_line

if TYPE_CHECKING:
    from rls.mesh.model import Proxy

mesh = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Check the proxies of a mesh.",
    epilog="Example: rls mesh check --namespace users --namespace istio-ingress",
)


@mesh.callback()
def group() -> None:
    """Check the proxies of a mesh."""


def check(
    dumps: Annotated[
        list[str] | None,
        typer.Argument(metavar="DUMP", help="Files with config dumps, one of each proxy; - is standard input."),
    ] = None,
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Ask all proxies of it, through kubectl. Repeatable."),
    ] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="PATH", help="Compare with these rules: a file or directory. Repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """Say what limits requests at proxies, and what is wrong.

    Reads what `istioctl proxy-config all POD -o json` prints, or /config_dump of Envoy. Give those of
    gateway, sidecars and waypoints together: some mistakes show only then.

    Exit codes: 0 well, 1 errors or warnings, 2 wrong usage.
    """
    from rls.cli.standard_input import demand_one  # noqa: PLC0415
    from rls.mesh.checks import findings  # noqa: PLC0415
    from rls.mesh.filters import limited  # noqa: PLC0415
    from rls.mesh.report import as_tree, is_well, lines, summary  # noqa: PLC0415

    if not dumps and not namespaces:
        raise typer.BadParameter("nothing to check: expected files with config dumps, or --namespace NAME")
    if "" in (dumps or []):
        raise typer.BadParameter(empty_path("DUMP"))
    demand_one(dumps or [])
    refuse_urls(dumps or [], "a file; curl -s URL/config_dump | rls mesh check -")
    proxies = [limited(proxy) for proxy in _proxies(dumps or [], namespaces or [])]
    found = findings(proxies, read_rules(rules) if rules else None)
    if json:
        typer.echo(json_line(as_tree(proxies, found), indent=2))
    else:
        for line in lines(proxies, found):
            typer.echo(printable_line(line))
        say(summary(proxies, found), err=True)
    if not is_well(found):
        raise typer.Exit(1)


mesh.command(
    "check",
    cls=Command,
    no_args_is_help=True,
    epilog="Example: rls mesh check gateway.json users.json --rules rules.yaml",
)(check)


def _proxies(dumps: Sequence[str], namespaces: Sequence[str]) -> list[Proxy]:
    """All proxies; exits with 2 where one cannot be read."""
    from rls.errors import RlsError  # noqa: PLC0415
    from rls.mesh.dump import read  # noqa: PLC0415

    try:
        proxies = [read(data, source) for data, source in _read(dumps, namespaces)]
        if proxies:
            return proxies
        say("rls: nothing to check: no proxy was found", err=True)
    except RlsError as error:
        say(f"rls: {error}", err=True)
    except OSError as error:
        say(f"rls: cannot read {error.filename}: {error.strerror}, expected a config dump", err=True)
    raise typer.Exit(2)


def _read(dumps: Sequence[str], namespaces: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    """Each dump, and what it is called in messages."""
    from rls.mesh import kubectl  # noqa: PLC0415
    from rls.sources.disk import demand_no_device  # noqa: PLC0415

    for path in dumps:
        if path == "-":
            yield sys.stdin.buffer.read(), "<stdin>"
        else:
            demand_no_device(Path(path))
            yield Path(path).read_bytes(), path
    for namespace in namespaces:
        pods = kubectl.pods(namespace)
        if not pods:
            say(f"rls: the namespace {namespace} has no running pod with a container {kubectl.CONTAINER}", err=True)
        for pod in pods:
            yield kubectl.dump(namespace, pod), f"pod {namespace}/{pod}"
