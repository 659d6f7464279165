"""Check that a mesh's versions of Istio limit what an overlay says, before it is applied and after each upgrade.

    python -m scripts.mesh_versions            for istio/
    python -m scripts.mesh_versions OVERLAY    for a kustomization of your own

istiod skips an EnvoyFilter for another version, and drops fields that it does not know. In both cases every request
passes, without any message. A waypoint takes none of the filters that are for sidecars.

Exit codes: 0 each proxy takes exactly one filter, 1 a proxy would limit nothing or count twice, 2 the versions are
unknown. Needs kubectl, istioctl (KUBECTL and ISTIOCTL name other programs) and PyYAML.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from scripts.programs import Failed, kubectl, output

RATE_LIMIT = "envoy.filters.http.ratelimit"
IN_FILTER_SINCE = (1, 28)
"""The first istiod that knows `rate_limits` inside the filter."""
TARGET_REFS_SINCE = (1, 27)
"""The first istiod that gives an EnvoyFilter with targetRefs to its target, and to nothing else."""
REFERENCED_SINCE = (1, 26)
"""The first istiod that reads the annotation envoyfilter.istio.io/referenced-services."""

SECRET_PLACEHOLDER_SINCE = {(1, 27): 8, (1, 28): 5, (1, 29): 1}
"""The first patch of each release whose placeholder for keys that cannot be fetched has no private half that is public."""

Release = tuple[int, ...]


class Unknown(Exception):
    """The versions are unknown; the text says why."""


class Place(NamedTuple):
    """Where filters limit: a *kind* of proxies (as in their IDs) of a *namespace*; of a waypoint its *name*, too."""

    kind: str
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name or '*'}"


class Filter(NamedTuple):
    """An EnvoyFilter that limits; *in_filter* if its rate_limits are inside the HTTP filter."""

    name: str
    version: str
    in_filter: bool


class Proxy(NamedTuple):
    """A proxy of the mesh; *kind* is empty if istioctl does not report it."""

    kind: str
    pod: str
    namespace: str
    version: str

    def is_at(self, place: Place) -> bool:
        return (
            self.namespace == place.namespace
            and self.kind in {"", place.kind}
            and (not place.name or self.pod.startswith(f"{place.name}-"))
        )


def filters(objects: Sequence[Any]) -> dict[Place, list[Filter]]:
    """Where the objects limit, and by which filters."""
    found: dict[Place, list[Filter]] = {}
    for each in objects:
        if each["kind"] != "EnvoyFilter":
            continue
        for entry in each["spec"]["configPatches"]:
            value = entry["patch"].get("value") or {}
            if entry["applyTo"] == "HTTP_FILTER" and value.get("name") == RATE_LIMIT:
                version = entry["match"].get("proxy", {}).get("proxyVersion", "")
                inside = "rate_limits" in value["typed_config"]
                found.setdefault(_place(each, entry), []).append(Filter(each["metadata"]["name"], version, inside))
    return found


def _place(each: Any, entry: Any) -> Place:
    namespace = each["metadata"]["namespace"]
    if references := each["spec"].get("targetRefs"):
        return Place("waypoint", namespace, references[0]["name"])
    return Place("router" if entry["match"].get("context") == "GATEWAY" else "sidecar", namespace)


def release(version: str) -> Release:
    """Major and minor."""
    found = re.match(r"([0-9]+)\.([0-9]+)", version)
    if found is None:
        raise Unknown(f"{version!r} is no version of Istio")
    return tuple(map(int, found.groups()))


def wrong(place: Place, there: Sequence[Filter], istiod: Release, version: str) -> str:
    """What is wrong with proxies of that version, under an istiod of that release; empty if nothing is."""
    taken = [each for each in there if re.search(each.version, version)]
    if place.kind == "waypoint" and min(istiod, release(version)) < TARGET_REFS_SINCE:
        return (
            "nothing is limited: before Istio 1.27 an EnvoyFilter cannot target a waypoint. Upgrade, or use at-gateway"
        )
    if not taken:
        return "nothing is limited: no EnvoyFilter is for this version"
    if len(taken) > 1:
        return f"each request counts {len(taken)} times: {', '.join(each.name for each in taken)}"
    if taken[0].in_filter and istiod < IN_FILTER_SINCE:
        return f"nothing is limited: istiod is older than 1.28, and drops the rate_limits of {taken[0].name}"
    return ""


def report(
    there: dict[Place, list[Filter]], namespaces: Iterable[str], istiods: Sequence[str], proxies: Sequence[Proxy]
) -> Iterator[tuple[str, str]]:
    """A line for each place and version, after `ok` or `REFUSED`; without a proxy yet, for the one that istiod would start.

    Args:
        namespaces: Of the services that the overlay is for.
    """
    istiod = max(map(release, istiods))
    for place, its in sorted(there.items()):
        versions = Counter(proxy.version for proxy in proxies if proxy.is_at(place))
        for version, number in sorted(versions.items()) or [(max(istiods, key=release), 0)]:
            text = wrong(place, its, istiod, version)
            who = f"{number} of" if number else "none yet, as of istiod"
            yield "REFUSED" if text else "ok", f"{place}: {who} {version}: {text or 'each request is counted once'}"
        if place.kind == "router" and istiod < REFERENCED_SINCE:
            yield (
                "ok",
                f"{place}: with this istiod, do not set PILOT_FILTER_GATEWAY_CLUSTER_CONFIG: rls would have no cluster",
            )
    yield from _without_limits(there, namespaces, proxies)
    for each in istiods:
        if not keeps_placeholder_secret(each):
            yield (
                "warning",
                f"istiod {each}: while it cannot fetch keys, everybody can sign tokens: upgrade, or give it the keys as `jwks`",
            )


def _without_limits(
    there: dict[Place, list[Filter]], namespaces: Iterable[str], proxies: Sequence[Proxy]
) -> Iterator[tuple[str, str]]:
    """Waypoints before services whose limits are at sidecars or at the gateway."""
    with_one = {place.namespace for place in there if place.kind == "waypoint"}
    found = {
        Place("waypoint", each.namespace, each.pod.rsplit("-", 2)[0])
        for each in proxies
        if each.kind == "waypoint" and each.namespace in set(namespaces) - with_one
    }
    for place in sorted(found):
        yield (
            "REFUSED",
            f"{place}: it limits nothing, and the pods refuse what it sends. Use the component waypoint, or remove it",
        )


def keeps_placeholder_secret(version: str) -> bool:
    """Whether nobody can sign tokens for the keys that an istiod gives to proxies while it cannot fetch the real ones."""
    major, minor, patch = (int(part) for part in [*re.findall(r"[0-9]+", version)[:3], "0", "0"][:3])
    if (major, minor) >= (1, 30):
        return True
    return patch >= SECRET_PLACEHOLDER_SINCE.get((major, minor), patch + 1)


def _overlay(overlay: str) -> tuple[dict[Place, list[Filter]], set[str]]:
    """Its filters, and the namespaces of its objects."""
    objects = [each for each in yaml.safe_load_all(kubectl("kustomize", overlay)) if each]
    found = filters(objects)
    if not found:
        raise Unknown(f"no EnvoyFilter of {overlay} limits anything")
    return found, namespaces(objects)


def namespaces(objects: Sequence[Any]) -> set[str]:
    """Where the objects change proxies."""
    return {each["metadata"]["namespace"] for each in objects if each["kind"] == "EnvoyFilter"}


def _mesh() -> tuple[list[str], list[Proxy]]:
    """The versions of istiod, and the proxies."""
    reported = json.loads(output(os.environ.get("ISTIOCTL", "istioctl"), "version", "-o", "json"))
    istiods = [each["Info"]["version"] for each in reported.get("meshVersion") or ()]
    if not istiods:
        raise Unknown("istioctl finds no istiod")
    proxies = [_proxy(each["ID"], each["IstioVersion"]) for each in reported.get("dataPlaneVersion") or ()]
    return istiods, proxies


def _proxy(name: str, version: str) -> Proxy:
    """By its ID: `sidecar~IP~POD.NAMESPACE~DOMAIN`, or `POD.NAMESPACE` alone."""
    parts = name.split("~")
    kind, pod = (parts[0], parts[2]) if len(parts) == 4 else ("", name)
    pod, _, namespace = pod.rpartition(".")
    return Proxy(kind, pod, namespace, version)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overlay", nargs="?", default="istio", help="a folder with a kustomization")
    arguments = parser.parse_args()
    try:
        lines = list(report(*_overlay(arguments.overlay), *_mesh()))
    except (Unknown, Failed) as error:
        print(f"mesh_versions: {error}", file=sys.stderr)
        return 2
    for verdict, line in lines:
        print(f"{verdict:<7}  {line}")
    return 1 if any(verdict == "REFUSED" for verdict, _ in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
