"""`rls istio`: the EnvoyFilter that fits the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli import istio_words as words
from rls.cli.choices import choice
from rls.cli.output import say
from rls.cli.rules import read_rules
from rls.mesh.manifests import Answers, Place, envoyfilters

if TYPE_CHECKING:
    from rls.core.rules import Domain, RuleSet


_NAMESPACES = {Place.SIDECAR: "users", Place.GATEWAY: "istio-ingress", Place.WAYPOINT: "users"}
_GATEWAY, _WAYPOINT = "istio=ingress", "users-waypoint"
_FILTER_LEVEL = 28
"""Minor version of Istio from which on the filter itself takes `rate_limits`."""


# Two thirds of its lines are the options of the command: typer reads them from the signature.
def istio(
    rules: Annotated[list[Path], typer.Argument(metavar="PATH", help="Rules: files or directories.")],
    place: Annotated[Place, choice(Place, "--at", "sidecar, gateway or waypoint.", "WHERE")] = Place.SIDECAR,
    claims: Annotated[
        list[str] | None,
        typer.Option("--claim", metavar="KEY=CLAIM", help="The key is a claim; A.B is in A. Repeatable."),
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="KEY=HEADER", help="The key is a header. Repeatable.")
    ] = None,
    queries: Annotated[
        list[str] | None, typer.Option("--query", metavar="KEY=NAME", help="The key is a query parameter. Repeatable.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--constant", metavar="KEY", help="The key has the rules' values. Repeatable.")
    ] = None,
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="Of several, this one.")] = "",
    version: Annotated[str, typer.Option("--istio", metavar="1.N", help="Only for this version of Istio.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Of the proxies.")] = "",
    workload: Annotated[
        str, typer.Option("--workload", metavar="NAME", help="Labels of the gateway, or the waypoint's name.")
    ] = "",
    service: Annotated[
        str,
        typer.Option("--service", metavar="HOST[:PORT]", show_default=False, help="Of rls [rls.rate-limit.svc:8081]."),
    ] = "rls.rate-limit.svc:8081",
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long a proxy waits.")] = "100ms",
    fail_closed: Annotated[bool, typer.Option("--fail-closed", help="500 without an answer.")] = False,
) -> None:
    """Write the EnvoyFilter with which proxies send what the rules match.

    Exit codes: 0, 2 for wrong usage or rules with mistakes.
    """
    from rls.mesh.key_sources import NoSource, Sources  # noqa: PLC0415
    from rls.mesh.shapes import shapes  # noqa: PLC0415

    answers = _answers(place, namespace, workload, service, timeout, fail_closed=fail_closed)
    only = words.minor_version(version, place) if version else None
    sources = Sources(
        words.claims(claims), words.headers(headers), words.pairs("--query", queries), tuple(constants or ())
    )
    options = {"--claim": claims, "--header": headers, "--query": queries, "--constant": constants}
    keys_of = {name: [word.partition("=")[0] for word in given or ()] for name, given in options.items()}
    words.once(keys_of)
    found = _domain(read_rules(rules), domain)
    descriptors = shapes(found, sources.constants)
    if not descriptors:
        raise typer.BadParameter(
            f"the domain {found.name} has no rules: expected one at least, or proxies send nothing"
        )
    for warning in words.unused(keys_of, frozenset(step.key for shape in descriptors for step in shape)):
        say(f"rls: warning: {warning}", err=True)
    try:
        limits = sources.rate_limits(descriptors)
    except NoSource as error:
        expected = "; ".join(f"--claim {key}=CLAIM, --header {key}=HEADER or --query {key}=NAME" for key in error.keys)
        raise typer.BadParameter(
            f"{error}: expected {expected}, or --constant KEY where the rules name all values"
        ) from None
    objects = envoyfilters(found.name, limits, answers)
    if only is not None:
        objects = objects[:1] if only >= _FILTER_LEVEL else objects[1:]
    typer.echo(_text(objects, rules, found.name), nl=False)


def _answers(place: Place, namespace: str, workload: str, service: str, timeout: str, *, fail_closed: bool) -> Answers:
    words.workload(place, workload)
    host, port = words.service(service)
    return Answers(
        place,
        words.namespace(namespace or _NAMESPACES[place]),
        words.pairs("--workload", (workload or _GATEWAY).split(",")) if place is Place.GATEWAY else {},
        workload or _WAYPOINT,
        host,
        port,
        words.seconds(timeout),
        fail_closed,
    )


def _domain(rules: RuleSet, name: str) -> Domain:
    names = ", ".join(rules.domains)
    if name and name not in rules.domains:
        raise typer.BadParameter(f"--domain is '{name}': expected one of the rules: {names}")
    if not name and len(rules.domains) != 1:
        raise typer.BadParameter(f"the rules have {len(rules.domains)} domains: expected --domain, one of {names}")
    return rules.domains[name or names]


def _text(objects: Sequence[Mapping[str, Any]], rules: Sequence[Path], domain: str) -> str:
    paths = " ".join(map(str, rules))
    import yaml  # noqa: PLC0415

    head = f"# Made by `rls istio` for the domain {domain} of {paths}. When the rules get other keys, make it anew.\n"
    return head + yaml.safe_dump_all(objects, sort_keys=False, width=120)
