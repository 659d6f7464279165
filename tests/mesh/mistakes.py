"""What istiod and Envoy accept without a word, and what then does not limit, limits all, or counts twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.mesh.istiod import Kind, Rendered
from tests.mesh.istiod.envoyfilter import HCM
from tests.mesh.istiod.keys import PLACEHOLDERS
from tests.mesh.istiod.model import CONNECT_TERMINATE
from tests.mesh.istiod.security import JWT_AUTHN
from tests.mesh.manifests import Object

RATE_LIMIT = "envoy.filters.http.ratelimit"
ROUTER = "envoy.filters.http.router"
_PATIENCE_SECONDS = 1.0


def mistakes(rendered: Rendered, *, limits: bool = True) -> list[str]:
    """All that is wrong with what one proxy got; *limits*: whether it is to ask for limits."""
    # Where there is nothing to remove, nothing is wrong.
    idle = [patch for patch in rendered.patches if not patch.applied and patch.operation != "REMOVE"]
    found = [f"the patch {patch.name} matches nothing" for patch in idle]
    if any(_asked(manager) for manager in _tunnels(rendered)):
        found.append(f"{CONNECT_TERMINATE}: each tunnel of a peer is counted")
    found += [f"{name}: what the pod sends is counted" for name, manager in _outbound(rendered) if _asked(manager)]
    for name, manager in _managers(rendered):
        found += [f"{name}: {text}" for text in _of_manager(manager, rendered, limits=limits)]
    if limits:
        found += _of_what_is_seen(rendered)
    return list(dict.fromkeys(found))


def mistakes_between(gateway: Rendered, sidecar: Rendered) -> list[str]:
    """What is wrong only with both of them."""
    found = []
    both = _domains(gateway) & _domains(sidecar)
    found += [f"gateway and sidecar both count in the domain {domain}" for domain in sorted(both)]
    hops = {manager.get("xff_num_trusted_hops", 0) for _, manager in _managers(sidecar)}
    if hops != {gateway.proxy.trusted_proxies}:
        wanted = gateway.proxy.trusted_proxies
        found.append(f"the gateway trusts {wanted} proxies before it, and the sidecar skips {sorted(hops)}")
    return found


def _of_manager(manager: Object, rendered: Rendered, *, limits: bool) -> Iterator[str]:
    names = [each["name"] for each in manager["http_filters"]]
    asked = _asked(manager)
    if limits and not asked:
        yield "there is no rate limit filter"
    if asked and not limits:
        yield "there is a rate limit filter"
    if asked > 1:
        yield f"each request is counted {asked} times"
    hosts = manager["route_config"]["virtual_hosts"]
    yield from _of_tokens(manager, hosts)
    if not asked:
        return
    place = names.index(RATE_LIMIT)
    if JWT_AUTHN not in names:
        yield "no token is verified, so that there is no company"
    elif place < names.index(JWT_AUTHN):
        yield "the rate limit filter stands before jwt_authn, and sees no company"
    if place > names.index(ROUTER):
        yield "the rate limit filter stands behind the router"
    config = manager["http_filters"][place]["typed_config"]
    yield from _of_cluster(config, rendered)
    for host in hosts:
        limits_here = config.get("rate_limits") or host.get("rate_limits") or []
        yield from (f"{host['name']}: {text}" for text in _of_descriptors(limits_here, config))
    yield from _of_times(config)


def _of_times(config: Object) -> Iterator[str]:
    timeout = float(config.get("timeout", "0.02s").removesuffix("s"))
    if timeout > _PATIENCE_SECONDS or not timeout:
        yield f"a request may be held for {config['timeout']}"
    retry = config["rate_limit_service"]["grpc_service"].get("retry_policy")
    if retry is None:
        yield "a call without an answer is not made again, so that its request passes"
    elif float(retry["retry_back_off"]["max_interval"].removesuffix("s")) >= timeout:
        yield "a call that hangs is not made again: max_interval, the time of one try, is no shorter than the timeout"


def _of_tokens(manager: Object, hosts: Sequence[Object]) -> Iterator[str]:
    config = next((each["typed_config"] for each in manager["http_filters"] if each["name"] == JWT_AUTHN), None)
    if config is None:
        return
    if any(provider["local_jwks"]["inline_string"] in PLACEHOLDERS for provider in config["providers"].values()):
        yield "istiod could not fetch the keys, so that no token is valid"
    known = config.get("requirement_map", {})
    for host in hosts:
        name = host.get("typed_per_filter_config", {}).get(JWT_AUTHN, {}).get("requirement_name")
        if name is None:
            yield f"{host['name']}: an invalid token gets 401, as often as it comes"
        elif name not in known:
            yield f"{host['name']}: there is no requirement {name}, so every request gets 403"
        elif known[name] != {"allow_missing_or_failed": {}}:
            yield f"{host['name']}: the requirement {name} is another than allow_missing_or_failed"
    if len(config["rules"]) > 1:
        yield "only the first of jwt_authn's rules is looked at"


def _of_cluster(config: Object, rendered: Rendered) -> Iterator[str]:
    name = config["rate_limit_service"]["grpc_service"]["envoy_grpc"]["cluster_name"]
    cluster = next((each for each in rendered.clusters if each["name"] == name), None)
    if cluster is None:
        yield f"there is no cluster {name}, so every request passes"
        return
    options: Any = next(iter(cluster.get("typed_extension_protocol_options", {}).values()), {})
    if "http2_protocol_options" not in options.get("explicit_http_config", {}):
        yield f"the cluster {name} does not speak HTTP/2"


def _of_descriptors(limits: Sequence[Object], config: Object) -> Iterator[str]:
    descriptors = [[next(iter(action)) for action in limit["actions"]] for limit in limits]
    if not descriptors:
        yield "no descriptor is made, so every request passes"
        return
    if ["remote_address"] not in descriptors:
        yield "a request without a valid token has no descriptor, and passes"
    if any(len(actions) > 1 and "remote_address" in actions for actions in descriptors):
        yield "companies are counted apart by their addresses"
    for limit in limits:
        if not config.get("rate_limits") and limit.get("stage", 0) != config.get("stage", 0):
            yield "the stage of a rate limit is not that of the filter"
        for action in limit["actions"]:
            key = action.get("metadata", {}).get("metadata_key")
            if key is not None and (key["key"], key["path"][0]["key"]) != (JWT_AUTHN, "payload"):
                yield "the company is looked for where jwt_authn does not put it"
            if action.get("metadata", {}).get("source", "DYNAMIC") != "DYNAMIC":
                yield "the company is not looked for in the dynamic metadata"


def _of_what_is_seen(rendered: Rendered) -> Iterator[str]:
    patterns = rendered.stats["stats_matcher"]["inclusion_list"]["patterns"]
    regexes = [pattern["safe_regex"]["regex"] for pattern in patterns if "safe_regex" in pattern]
    for counter in ("ok", "over_limit", "error", "failure_mode_allowed"):
        # Since Istio 1.25 a cluster's name ends with a semicolon there.
        for end in ("", ";"):
            if not any(re.fullmatch(regex, f"cluster.inbound|9000||{end}.ratelimit.{counter}") for regex in regexes):
                yield f"the statistic {counter} is hidden"
    for _, manager in _managers(rendered):
        formats = [log["typed_config"]["log_format"]["json_format"] for log in manager["access_log"]]
        if not any(f"%DYNAMIC_METADATA({RATE_LIMIT}:rule)%" in each.values() for each in formats):
            yield "no access log names the rule that refused"


def _asked(manager: Object) -> int:
    return [each["name"] for each in manager["http_filters"]].count(RATE_LIMIT)


def _tunnels(rendered: Rendered) -> list[Object]:
    listeners = [each for each in rendered.listeners if each["name"] == CONNECT_TERMINATE]
    return [each["typed_config"] for listener in listeners for each in listener["filter_chains"][0]["filters"]]


def _managers(rendered: Rendered) -> Iterator[tuple[str, Object]]:
    """Of all chains for requests that come in, which tunnels are not.

    A gateway's redirect to HTTPS is left out: a redirect has no upstream, and is never limited.
    """
    for listener in rendered.listeners:
        if listener["name"] == CONNECT_TERMINATE or _leaves(listener, rendered):
            continue
        for name, manager in _of_listener(listener):
            hosts = manager["route_config"]["virtual_hosts"]
            if not (hosts and all("require_tls" in host for host in hosts)):
                yield name, manager


def _outbound(rendered: Rendered) -> Iterator[tuple[str, Object]]:
    """Of the chains of a sidecar for what its own pod sends."""
    for listener in rendered.listeners:
        if _leaves(listener, rendered):
            yield from _of_listener(listener)


def _leaves(listener: Object, rendered: Rendered) -> bool:
    return rendered.proxy.kind is Kind.SIDECAR and listener.get("traffic_direction") == "OUTBOUND"


def _of_listener(listener: Object) -> Iterator[tuple[str, Object]]:
    for chain in listener["filter_chains"]:
        for each in chain["filters"]:
            if each["name"] == HCM:
                yield chain.get("name") or listener["name"], each["typed_config"]


def _domains(rendered: Rendered) -> set[str]:
    return {
        each["typed_config"]["domain"]
        for _, manager in _managers(rendered)
        for each in manager["http_filters"]
        if each["name"] == RATE_LIMIT
    }
