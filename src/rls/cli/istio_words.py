"""The words of `rls istio`: what Kubernetes, Istio and Envoy cannot take is refused, and what is odd is said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import typer

from rls.cli.output import say
from rls.mesh.manifests import Place

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SERVICE = re.compile(rf"({_LABEL}\.{_LABEL})\.svc(\.{_LABEL}(?:\.{_LABEL})*)?(?::(\d{{1,5}}))?", re.ASCII)
_VALUE = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_POD_LABEL = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_VALUE}={_VALUE}")
_PSEUDO_HEADERS = frozenset({":authority", ":method", ":path", ":protocol", ":scheme"})
_VERSION = re.compile(r"1\.(\d{1,3})(\.\d+)?", re.ASCII)
_OLDEST_WAYPOINT = 27
"""Minor version of the oldest Istio whose waypoints take filters."""
TRIED = (24, 31)
"""Minor versions of the oldest and the newest Istio of the matrix in docs/istio.md."""
_LEAST_SECONDS, _MOST_SECONDS = 0.002, 60.0
"""Below, Envoy refuses the wait between its two tries. Above, requests hang while `rls` is gone."""


def service(text: str) -> tuple[str, int]:
    """Host and port of the Service that *text* names."""
    found = _SERVICE.fullmatch(text)
    port = int(found[3] or 8081) if found else 0
    if found is None or not 0 < port < 65_536:
        raise typer.BadParameter(f"--service is '{text}': expected NAME.NAMESPACE.svc, such as rls.rate-limit.svc:8081")
    return f"{found[1]}.svc{found[2] or '.cluster.local'}", port


def seconds(text: str) -> float:
    """How long a proxy waits."""
    from rls.settings.values import explained, parse_duration  # noqa: PLC0415

    try:
        found = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(explained("--timeout", text, str(error))) from None
    if not _LEAST_SECONDS <= found <= _MOST_SECONDS:
        reason = "from 2ms to 60s, for so long a proxy holds each request while rls does not answer"
        raise typer.BadParameter(explained("--timeout", text, reason))
    return found


def namespace(text: str) -> str:
    """A namespace."""
    if not _NAMESPACE.fullmatch(text):
        raise typer.BadParameter(
            f"--namespace is '{text}': expected a namespace of Kubernetes: a-z, 0-9 and -, 63 at most"
        )
    return text


def workload(place: Place, text: str) -> None:
    """Refuse *text* where it names no proxies at *place*."""
    if not text:
        return
    if place is Place.SIDECAR:
        raise typer.BadParameter(
            f"--workload is '{text}': expected it with --at gateway or --at waypoint; sidecars of the whole namespace ask"
        )
    if place is Place.WAYPOINT and not _SUBDOMAIN.fullmatch(text):
        raise typer.BadParameter(f"--workload is '{text}': expected the name of the waypoint's Gateway")
    wrong = [word for word in text.split(",") if not _POD_LABEL.fullmatch(word)]
    if place is Place.GATEWAY and wrong:
        raise typer.BadParameter(f"--workload is '{wrong[0]}': expected LABEL=NAME, labels of the gateway's pods")


def pairs(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """What *option* says of each key."""
    found: dict[str, str] = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"{option} is '{word}': expected KEY=NAME")
        if key in found:
            raise typer.BadParameter(f"{option} is '{word}': expected {key} once, it is {found[key]} already")
        found[key] = value
    return found


def claims(words: Sequence[str] | None) -> dict[str, str]:
    """Claims by key."""
    found = pairs("--claim", words)
    for key, way in found.items():
        if "" in re.split(r"(?<!\\)\.", way):
            raise typer.BadParameter(f"--claim is '{key}={way}': expected KEY=CLAIM, or KEY=A.B for the claim B in A")
    return found


def headers(words: Sequence[str] | None) -> dict[str, str]:
    """Headers by key."""
    from rls.settings.values import parse_header  # noqa: PLC0415

    found = pairs("--header", words)
    for key, name in found.items():
        try:
            if name not in _PSEUDO_HEADERS:
                parse_header(name)
        except ValueError as error:
            raise typer.BadParameter(f"--header is '{key}={name}': expected KEY=HEADER with {error}") from None
    return found


def once(sources: Mapping[str, Collection[str]]) -> None:
    """Refuse a key that several options of *sources*, with their keys, name."""
    named = Counter(key for keys in sources.values() for key in set(keys))
    for key, times in named.items():
        if times > 1:
            options = " and ".join(option for option, keys in sources.items() if key in keys)
            raise typer.BadParameter(f"{options} name {key}: expected one of them")
        if key == "generic_key" and key not in sources["--constant"]:
            raise typer.BadParameter("generic_key has the rules' values: expected no option for it")


def unused(sources: Mapping[str, Collection[str]], keys: frozenset[str]) -> Iterator[str]:
    """A warning for each option of *sources* whose key the rules, with *keys*, do not have."""
    for option, named in sources.items():
        for key in named:
            if key not in keys:
                yield f"{option} {key} has no effect: the rules have no key {key}, they have {', '.join(sorted(keys))}"


def minor_version(text: str, place: Place) -> int:
    """The 31 of an Istio 1.31; warns of one that was not tried."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"--istio is '{text}': expected a version of Istio, such as 1.28")
    minor = int(found[1])
    if place is Place.WAYPOINT and minor < _OLDEST_WAYPOINT:
        raise typer.BadParameter(
            f"--istio is '{text}': expected 1.{_OLDEST_WAYPOINT} or newer, whose waypoints take filters"
        )
    if not TRIED[0] <= minor <= TRIED[1]:
        say(
            f"rls: warning: Istio {text} was not tried, 1.{TRIED[0]} to 1.{TRIED[1]} were: see docs/istio.md",
            err=True,
        )
    return minor
