"""`rls istio`: the EnvoyFilter that fits the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rls.cli.choices import choice
from rls.cli.rules import read_rules
from rls.mesh.manifests import Answers, Object, Place, envoyfilters

if TYPE_CHECKING:
    from rls.core.rules import Domain, RuleSet


_NAMESPACES = {Place.SIDECAR: "users", Place.GATEWAY: "istio-ingress", Place.WAYPOINT: "users"}
_GATEWAY, _WAYPOINT = "istio=ingress", "users-waypoint"
_SERVICE = re.compile(r"([\w-]+\.[\w-]+)\.svc(\.[\w.-]+)?(:\d+)?", re.ASCII)
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s)", re.ASCII)
_VERSION = re.compile(r"1\.(\d{1,3})(\.\d+)?", re.ASCII)
_FILTER_LEVEL, _OLDEST_WAYPOINT = 28, 27
"""Minor versions of Istio: from which on the filter itself takes `rate_limits`, and the oldest whose waypoints take filters."""


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
    found = _domain(read_rules(rules), domain)
    sources = Sources(
        _pairs("--claim", claims), _pairs("--header", headers), _pairs("--query", queries), constants or ()
    )
    try:
        limits = sources.rate_limits(shapes(found, sources.constants))
    except NoSource as error:
        options = "; ".join(f"--claim {key}=CLAIM, --header {key}=HEADER or --query {key}=NAME" for key in error.keys)
        raise typer.BadParameter(
            f"{error}: expected {options}, or --constant KEY where the rules name all values"
        ) from None
    objects = envoyfilters(found.name, limits, answers)
    typer.echo(_text(_of_version(objects, version, place), rules, found.name), nl=False)


def _answers(place: Place, namespace: str, workload: str, service: str, timeout: str, *, fail_closed: bool) -> Answers:
    named, waits = _SERVICE.fullmatch(service), _SECONDS.fullmatch(timeout)
    if named is None:
        raise typer.BadParameter(
            f"--service is '{service}': expected NAME.NAMESPACE.svc, such as rls.rate-limit.svc:8081"
        )
    if waits is None:
        raise typer.BadParameter(f"--timeout is '{timeout}': expected a duration, such as 100ms")
    seconds = float(waits[1]) / (1_000 if waits[2] == "ms" else 1)
    return Answers(
        place,
        namespace or _NAMESPACES[place],
        _pairs("--workload", (workload or _GATEWAY).split(",")) if place is Place.GATEWAY else {},
        workload or _WAYPOINT,
        f"{named[1]}.svc{named[2] or '.cluster.local'}",
        int((named[3] or ":8081")[1:]),
        seconds,
        fail_closed,
    )


def _domain(rules: RuleSet, name: str) -> Domain:
    names = ", ".join(rules.domains)
    if name and name not in rules.domains:
        raise typer.BadParameter(f"--domain is '{name}': expected one of the rules: {names}")
    if not name and len(rules.domains) != 1:
        raise typer.BadParameter(f"the rules have {len(rules.domains)} domains: expected --domain, one of {names}")
    return rules.domains[name or names]


def _pairs(option: str, words: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(
                f"{option} is '{word}': expected {'LABEL' if option == '--workload' else 'KEY'}=NAME"
            )
        pairs[key] = value
    return pairs


def _of_version(objects: Sequence[Object], version: str, place: Place) -> Sequence[Object]:
    """Those for an Istio of *version*; all if it is ""."""
    if not version:
        return objects
    found = _VERSION.fullmatch(version)
    if found is None:
        raise typer.BadParameter(f"--istio is '{version}': expected a version of Istio, such as 1.28")
    minor = int(found[1])
    if place is Place.WAYPOINT and minor < _OLDEST_WAYPOINT:
        raise typer.BadParameter(
            f"--istio is '{version}': expected 1.{_OLDEST_WAYPOINT} or newer, whose waypoints take filters"
        )
    return objects[:1] if minor >= _FILTER_LEVEL else objects[1:]


def _text(objects: Sequence[Mapping[str, Any]], rules: Sequence[Path], domain: str) -> str:
    paths = " ".join(map(str, rules))
    import yaml  # noqa: PLC0415

    head = f"# Made by `rls istio` for the domain {domain} of {paths}. When the rules get other keys, make it anew.\n"
    return head + yaml.safe_dump_all(objects, sort_keys=False, width=120)
