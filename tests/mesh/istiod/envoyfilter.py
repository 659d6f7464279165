"""EnvoyFilter: which patches a proxy takes, where they match, and what they do there.

After pilot/pkg/networking/core/envoyfilter and pilot/pkg/model/envoyfilter.go of istio/istio.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.mesh.istiod.merge import known, merge
from tests.mesh.istiod.model import CONNECT_TERMINATE, ROOT_NAMESPACE, Proxy, selects
from tests.mesh.manifests import Object, ns, of

HCM = "envoy.filters.network.http_connection_manager"
_DONE = {"HTTP_FILTER", "NETWORK_FILTER", "VIRTUAL_HOST"}


class Panic(Exception):
    """istiod panics at a patch; it recovers, and goes on without any patch of these listeners."""


@dataclass
class Patch:
    """A patch that this proxy takes."""

    name: str
    apply_to: str
    match: Object
    operation: str
    value: Object
    applied: int = field(default=0)
    """How often it matched; 0 is a mistake that nobody is told of."""


def patches(objects: Sequence[Object], proxy: Proxy) -> list[Patch]:
    """Those of the proxy's contexts, in the order in which they are applied."""
    chosen = [each for each in of(objects, "EnvoyFilter") if selects(each, proxy)]
    # By priority, then the root namespace first, by age, and by name; manifests applied together are of one age.
    chosen.sort(
        key=lambda each: (each["spec"].get("priority", 0), ns(each) != ROOT_NAMESPACE, each["metadata"]["name"])
    )
    return [
        Patch(
            f"{ns(each)}/{each['metadata']['name']}[{number}]",
            entry["applyTo"],
            entry.get("match", {}),
            entry["patch"]["operation"],
            known(copy.deepcopy(entry["patch"].get("value") or {}), proxy.release),
        )
        for each in chosen
        for number, entry in enumerate(each["spec"]["configPatches"])
        if _is_for(entry.get("match", {}), proxy)
    ]


def _is_for(match: Object, proxy: Proxy) -> bool:
    version = match.get("proxy", {}).get("proxyVersion")
    if version and not re.search(version, proxy.version):
        return False
    return match.get("context", "ANY") in {"ANY", *proxy.kind.contexts}


def apply(found: Sequence[Patch], listeners: list[Object], proxy: Proxy) -> list[Object]:
    """The listeners, patched, each by the patches of its own context.

    Where istiod panics, those of that context come back as they were.
    """
    context = {listener["name"]: proxy.kind.context_of(listener) for listener in listeners}
    patched = {
        each: _apply([patch for patch in found if patch.match.get("context", "ANY") in {"ANY", each}], of_it)
        for each in dict.fromkeys(context.values())
        if (of_it := [listener for listener in listeners if context[listener["name"]] == each])
    }
    return [next(patched[context[listener["name"]]]) for listener in listeners]


def _apply(found: Sequence[Patch], listeners: list[Object]) -> Iterator[Object]:
    for patch in found:
        if patch.apply_to not in _DONE:
            raise NotImplementedError(f"{patch.name}: applyTo {patch.apply_to}")
    patched = _unshared(listeners)
    try:
        for listener in patched:
            for chain in listener["filter_chains"]:
                _network_filters(found, listener, chain)
    except Panic:
        patched = _unshared(listeners)
        for patch in found:
            patch.applied = 0
    # Routes are another answer of istiod's, which a panic at the listeners does not touch.
    for manager in _managers(patched):
        if manager["stat_prefix"] != CONNECT_TERMINATE:
            _virtual_hosts(found, manager["route_config"])
    return iter(patched)


def _unshared(listeners: list[Object]) -> list[Object]:
    """A copy in which no two chains have filters in common, as they had when they were made."""
    copied: list[Object] = json.loads(json.dumps(listeners))
    return copied


def _network_filters(found: Sequence[Patch], listener: Object, chain: Object) -> None:
    for patch in found:
        if patch.apply_to != "NETWORK_FILTER" or not _chain_matches(patch, listener, chain):
            continue
        if patch.operation != "MERGE":
            raise NotImplementedError(f"{patch.name}: {patch.operation} of a NETWORK_FILTER")
        for each in chain["filters"]:
            wanted = _filter_match(patch)
            if wanted is None:
                # It merges with whatever filter there is, and with one of another type it cannot.
                raise Panic(patch.name)
            if wanted.get("name") == each["name"]:
                merge(each["typed_config"], patch.value.get("typed_config", {}))
                patch.applied += 1
    for each in chain["filters"]:
        if each["name"] == HCM:
            _http_filters(found, listener, chain, each["typed_config"]["http_filters"])


def _http_filters(found: Sequence[Patch], listener: Object, chain: Object, filters: list[Object]) -> None:
    """All inserts and removals, then all merges."""
    here = [patch for patch in found if patch.apply_to == "HTTP_FILTER" and _chain_matches(patch, listener, chain)]
    here = [patch for patch in here if (_filter_match(patch) or {}).get("name", HCM) == HCM]
    for patch in here:
        if patch.operation == "REMOVE":
            _remove(patch, filters)
        elif patch.operation != "MERGE":
            _insert(patch, filters)
    for each in filters:
        for patch in here:
            sub_filter = (_filter_match(patch) or {}).get("subFilter")
            if patch.operation == "MERGE" and (sub_filter is None or sub_filter.get("name") == each["name"]):
                merge(each["typed_config"], patch.value.get("typed_config", {}))
                patch.applied += 1


def _insert(patch: Patch, filters: list[Object]) -> None:
    value = copy.deepcopy(patch.value)
    sub_filter = (_filter_match(patch) or {}).get("subFilter")
    names = [each["name"] for each in filters]
    if (
        patch.operation in {"INSERT_BEFORE", "INSERT_AFTER"}
        and sub_filter is not None
        and sub_filter["name"] not in names
    ):
        return
    match patch.operation:
        case "INSERT_FIRST":
            filters.insert(0, value)
        case "INSERT_BEFORE":
            filters.insert(names.index(sub_filter["name"]) if sub_filter else 0, value)
        case "INSERT_AFTER":
            filters.insert(names.index(sub_filter["name"]) + 1 if sub_filter else len(filters), value)
        case "ADD":
            filters.append(value)
        case other:
            raise NotImplementedError(f"{patch.name}: {other} of an HTTP_FILTER")
    patch.applied += 1


def _remove(patch: Patch, filters: list[Object]) -> None:
    sub_filter = (_filter_match(patch) or {}).get("subFilter")
    if sub_filter is None:
        return
    kept = [each for each in filters if each["name"] != sub_filter["name"]]
    patch.applied += len(filters) - len(kept)
    filters[:] = kept


def _virtual_hosts(found: Sequence[Patch], routes: Object) -> None:
    for host in routes["virtual_hosts"]:
        for patch in found:
            if patch.apply_to != "VIRTUAL_HOST":
                continue
            wanted = patch.match.get("routeConfiguration") or {}
            name = (wanted.get("vhost") or {}).get("name") or host["name"]
            if (wanted.get("name") or routes["name"], name) != (routes["name"], host["name"]):
                continue
            if set(wanted) - {"name", "vhost"} or patch.operation != "MERGE":
                raise NotImplementedError(f"{patch.name}: more than a MERGE by names")
            merge(host, patch.value)
            patch.applied += 1


def _chain_matches(patch: Patch, listener: Object, chain: Object) -> bool:
    wanted = patch.match.get("listener")
    if wanted is None:
        return True
    if wanted.get("name") and wanted["name"] != listener["name"]:
        return False
    chain_match = chain.get("filter_chain_match", {})
    if number := wanted.get("portNumber"):
        inbound = listener["name"] == "virtualInbound"
        port = chain_match.get("destination_port") if inbound else listener["address"]["socket_address"]["port_value"]
        if port != number:
            return False
    of_chain = wanted.get("filterChain") or {}
    facts: Object = {
        "name": chain.get("name"),
        "transportProtocol": chain_match.get("transport_protocol"),
        "destinationPort": chain_match.get("destination_port"),
    }
    if set(of_chain) - {"filter", *facts}:
        raise NotImplementedError(f"{patch.name}: a match by {sorted(of_chain)}")
    return all(of_chain[fact] == value for fact, value in facts.items() if of_chain.get(fact))


def _filter_match(patch: Patch) -> Object | None:
    found: Any = ((patch.match.get("listener") or {}).get("filterChain") or {}).get("filter")
    return found if isinstance(found, dict) else None


def _managers(listeners: Sequence[Object]) -> Iterator[Object]:
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for each in chain["filters"]:
                if each["name"] == HCM:
                    yield each["typed_config"]
