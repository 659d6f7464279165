"""Tokens: who verifies them, with which keys, and what becomes of invalid ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from rls.core.actions import JWT_METADATA
from rls.mesh.filters import JWT, RBAC, Limited
from rls.mesh.findings import Found, place
from rls.mesh.model import Chain, Kind, Proxy
from rls.mesh.trees import Tree, text, tree, trees, typed

_FAILED = "Error-IstiodFailedToFetchJwksUri-"
"""What the oldest istiods write into the modulus of a key that stands for keys that they could not fetch."""
_PUBLISHED = (
    "vqS7RN4b34i3_5YyhygtBe33gI6GK_0ldW8WMZaunS28T-WAzJOAoZ7E9Y0mHS8vcDES0eZIUpp6Ft9sRPhOlzQfo_7l-3DnaD9LxJVKdXjE1jug"
)
"""How the modulus begins of the key that istiods before 1.27.8, 1.28.5 and 1.29.1 use for that; its private half is in their source."""
_DISCARDED = (
    "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVf"
)
"""That of newer istiods; nobody has its private half."""


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy, where it limits; and where keys are why Envoy rejected a listener."""
    for rejected in limited.proxy.rejected:
        for chain in rejected.chains:
            for _, filter_ in chain.of(JWT):
                yield from _of_keys(filter_.config, chain, limited.proxy)
    for each in limited.requests:
        if not each.filters:
            continue
        filters = [filter_ for _, filter_ in each.chain.of(JWT)]
        if not filters and each.reading_tokens():
            yield Found("no_tokens", "descriptors are made of tokens, and no jwt_authn verifies any", place(each.chain))
        for filter_ in filters:
            yield from _of_keys(filter_.config, each.chain, limited.proxy)
            yield from _of_requirements(filter_.config, filter_.name, each.chain, limited.proxy)


def _of_keys(config: Tree, chain: Chain, proxy: Proxy) -> Iterator[Found]:
    for name, provider in tree(config, "providers").items():
        who = f"the provider {name} (issuer {text(provider, 'issuer')})"
        if "remote_jwks" in tree(provider):
            uri = tree(provider, "remote_jwks", "http_uri")
            if text(uri, "cluster") not in proxy.clusters:
                message = f"{who} fetches keys by a cluster that does not exist, {text(uri, 'cluster')}"
                yield Found("keys_cluster", message, place(chain))
        else:
            jwks = text(provider, "local_jwks", "inline_string")
            if why := _without_keys(jwks):
                yield Found("no_keys", f"{who} has no usable key: {why}", place(chain))
            if _PUBLISHED in jwks:
                message = f"{who} has a key whose private half is in the source of Istio"
                yield Found("public_secret", message, place(chain))


def _without_keys(jwks: str) -> str:
    """Why there is no key that anybody signs with; "" if there is one."""
    if not jwks:
        return ""  # in a file or a variable, which the dump does not show
    try:
        keys = trees(json.loads(jwks), "keys")
    except ValueError:
        return "it is no JSON"
    if not keys:
        return "its key set is empty"
    reasons = [_failed(text(key, "n")) for key in keys]
    return reasons[0] if all(reasons) else ""


def _failed(modulus: str) -> str:
    if modulus.startswith((_PUBLISHED, _DISCARDED)):
        return "istiod could not fetch the keys, and put a placeholder in their place"
    try:
        plain = base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)).decode("ascii")
    except ValueError:
        return ""
    if plain.startswith(_FAILED):
        return f"istiod could not fetch {plain.removeprefix(_FAILED) or 'the keys'}"
    return ""


def _of_requirements(config: Tree, name: str, chain: Chain, proxy: Proxy) -> Iterator[Found]:
    known = tree(config, "requirement_map")
    if len(trees(config, "rules")) > 1:
        yield Found("second_rule", f"jwt_authn has {len(trees(config, 'rules'))} rules", place(chain))
    optional = False
    for host in chain.hosts():
        for found in _requirements(host, chain.routes, name):
            where = place(chain, text(host, "name"))
            if found == "":
                yield Found("invalid_tokens_rejected", "no requirement_name is set", where)
            elif found not in known:
                there = ", ".join(known) or "nothing"
                yield Found("no_requirement", f"there is no requirement {found}; requirement_map has {there}", where)
            elif "allow_missing_or_failed" not in tree(known, found):
                kind = ", ".join(tree(known, found)) or "nothing"
                yield Found("other_requirement", f"the requirement {found} is {kind}", where)
            else:
                optional = True
    if optional and proxy.kind in {Kind.SIDECAR, Kind.WAYPOINT} and not _asks_for_tokens(chain):
        yield Found("invalid_tokens_pass", "no policy asks for a valid token", place(chain))


def _requirements(host: Tree, routes: Tree, name: str) -> set[str]:
    """The `requirement_name` of each route of *host*; "" without one."""
    found: set[str] = set()
    for route in trees(host, "routes"):
        if "redirect" in route:
            continue
        for place_ in (route, host, routes):
            filters = tree(place_, "typed_per_filter_config")
            config: Any = filters.get(name, filters.get(JWT_METADATA))
            if config is not None:
                _, fields = typed(config)
                # A filter that is disabled there asks for nothing.
                if "disabled" not in fields:
                    found.add(text(fields, "requirement_name"))
                break
        else:
            found.add("")
    return found


def _asks_for_tokens(chain: Chain) -> bool:
    """Whether a policy looks at what jwt_authn found."""
    return any(JWT_METADATA in json.dumps(filter_.config) for _, filter_ in chain.of(RBAC))
