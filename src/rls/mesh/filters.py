"""What the rate limit filters of a chain do, request by request: which descriptors, in which domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain as joined
from typing import Any, NamedTuple

from rls.mesh.limits import ADDRESSES, Limit, limits
from rls.mesh.model import Chain, HttpFilter, Proxy, Role
from rls.mesh.trees import Tree, number, seconds, text, tree, trees, typed

RATE_LIMIT, JWT, RBAC = "RateLimit", "JwtAuthentication", "RBAC"
"""Messages of the HTTP filters that matter."""
DEFAULT_TIMEOUT = 0.02


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """What a filter does at one route.

    Attributes:
        host: The virtual host's name.
        route: The route's name, or its match.
        domain: Sent to the rate limit service.
        limits: Those that it sends; of its stage only.
        source: Where they stand: `filter`, `route`, `virtual host`, `per-route`, or "" where there are none.
        skipped: Those of other stages.
        disabled: Whether the filter is off at this route.
        empty_override: Whether there is a per-route configuration that says nothing.
    """

    host: str
    route: str
    domain: str
    limits: tuple[Limit, ...]
    source: str
    skipped: tuple[Limit, ...] = ()
    disabled: bool = False
    empty_override: bool = False


@dataclass(frozen=True, slots=True)
class RateLimitFilter:
    """One rate limit filter of a chain.

    Attributes:
        place: Its index among the chain's HTTP filters.
        enabled, enforced: The share of requests that it asks about, and that it limits; 0 to 100.
    """

    place: int
    name: str
    config: Tree
    enabled: float
    enforced: float
    routes: tuple[RouteLimits, ...] = field(default=())

    @property
    def domain(self) -> str:
        """Of the filter; a route may have another."""
        return text(self.config, "domain")

    @property
    def stage(self) -> int:
        """Only `rate_limits` of this stage are its own."""
        return number(self.config, "stage")

    @property
    def timeout(self) -> float:
        """Seconds that a request waits at most; 0 is for ever."""
        return seconds(text(self.config, "timeout"), DEFAULT_TIMEOUT)

    @property
    def denies(self) -> bool:
        """Whether a request without an answer gets 500."""
        return bool(self.config.get("failure_mode_deny"))

    @property
    def cluster(self) -> str:
        """The cluster of the rate limit service; "" where it is none of Envoy's."""
        return text(self.config, "rate_limit_service", "grpc_service", "envoy_grpc", "cluster_name")

    @property
    def in_filter(self) -> bool:
        """Whether its `rate_limits` are inside the filter."""
        return bool(trees(self.config, "rate_limits"))

    def sent(self) -> tuple[Limit, ...]:
        """Its limits at all routes."""
        return tuple(joined.from_iterable(each.limits for each in self.routes if not each.disabled))


def rate_limits(chain: Chain, runtime: Mapping[str, Any]) -> list[RateLimitFilter]:
    """The rate limit filters of *chain*, and what they do at each of its routes."""
    return [_filter(place, each, chain, runtime) for place, each in chain.of(RATE_LIMIT)]


def _filter(place: int, each: HttpFilter, chain: Chain, runtime: Mapping[str, Any]) -> RateLimitFilter:
    config = each.config
    enabled = _share(config, "filter_enabled", runtime, "ratelimit.http_filter_enabled")
    enforced = _share(config, "filter_enforced", runtime, "ratelimit.http_filter_enforcing")
    routes = tuple(_routes(each, chain, runtime))
    return RateLimitFilter(place, each.name, config, enabled, enforced, routes)


def _share(config: Tree, name: str, runtime: Mapping[str, Any], usual: str) -> float:
    """A percentage, of the runtime if it is set there, else of the configuration; 100 if it is in neither."""
    wanted = tree(config, name)
    value = runtime.get(text(wanted, "runtime_key") if wanted else usual)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    fraction = tree(value) or tree(wanted, "default_value")
    if not wanted and not fraction:
        return 100.0
    per = {"TEN_THOUSAND": 10_000, "MILLION": 1_000_000}.get(text(fraction, "denominator"), 100)
    return 100.0 * number(fraction, "numerator") / per


def _routes(each: HttpFilter, chain: Chain, runtime: Mapping[str, Any]) -> Iterator[RouteLimits]:
    for host in chain.hosts():
        if text(host, "require_tls") == "ALL":
            continue
        for route in trees(host, "routes"):
            # A redirect and an answer of the proxy's own have no upstream: Envoy limits neither.
            if "route" in route or "non_forwarding_action" in route:
                yield _at(each, chain, host, route, runtime)


def _at(each: HttpFilter, chain: Chain, host: Tree, route: Tree, runtime: Mapping[str, Any]) -> RouteLimits:
    message, override = _per_route(each.name, chain.routes, host, route)
    action = tree(route, "route")
    domain = (text(override, "domain") if message == "RateLimitPerRoute" else "") or text(each.config, "domain")
    name = text(route, "name") or ", ".join(f"{key} {value}" for key, value in tree(route, "match").items())
    disabled = bool(override.get("disabled")) if message == "FilterConfig" else each.disabled and not message
    empty = message == "RateLimitPerRoute" and not set(override) - {"@type"}
    found: list[Limit] = []
    source = "per-route"
    if entries := trees(override, "rate_limits"):
        found = [*limits(entries)]
    elif entries := trees(each.config, "rate_limits"):
        source, found = "filter", [*limits(entries)]
    else:
        source, entries = _of_route_and_host(override, action, host)
        found = [*limits(entries)]
        stage = number(each.config, "stage")
        skipped = tuple(limit for limit in found if limit.stage != stage)
        found = [limit for limit in found if limit.stage == stage and not _off(limit, runtime)]
        return RouteLimits(
            text(host, "name"), name, domain, tuple(found), source if found else "", skipped, disabled, empty
        )
    return RouteLimits(text(host, "name"), name, domain, tuple(found), source, (), disabled, empty)


def _off(limit: Limit, runtime: Mapping[str, Any]) -> bool:
    """Whether the runtime turns it off by its `disable_key`."""
    value = runtime.get(f"ratelimit.{limit.disable_key}.http_filter_enabled") if limit.disable_key else None
    return value in {0, "0"} and value is not None


def _of_route_and_host(override: Tree, action: Tree, host: Tree) -> tuple[str, list[Tree]]:
    """The `rate_limits` of a route and its virtual host, as `vh_rate_limits` combines them."""
    own, hosts = trees(action, "rate_limits"), trees(host, "rate_limits")
    option = text(override, "vh_rate_limits") or "OVERRIDE"
    if bool(action.get("include_vh_rate_limits")) or option == "INCLUDE":
        return "route and virtual host", [*own, *hosts]
    if own or option == "IGNORE":
        return "route", own
    return "virtual host", hosts


def _per_route(name: str, routes: Tree, host: Tree, route: Tree) -> tuple[str, Tree]:
    """The most specific `typed_per_filter_config` of a filter; message and fields."""
    for place in (route, host, routes):
        found = tree(place, "typed_per_filter_config")
        if name in found:
            message, config = typed(found[name])
            if message == "FilterConfig" and "config" in config:
                return typed(config["config"])
            return message, config
    return "", {}


class Counted(NamedTuple):
    """How often a request at a route is counted: by domain and descriptor."""

    host: str
    route: str
    sent: Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LimitedChain:
    """A chain and its rate limit filters; without any, requests pass."""

    chain: Chain
    filters: tuple[RateLimitFilter, ...]

    def asking(self) -> list[RateLimitFilter]:
        """Those that ask about a request: switched on, with something to send."""
        return [each for each in self.filters if each.enabled > 0 and each.sent()]

    def counted(self) -> list[Counted]:
        """How often requests are counted, route by route."""
        asking = self.asking()
        if not asking:
            return []
        found = [Counted(route.host, route.route, Counter()) for route in asking[0].routes]
        for one in asking:
            for counted, route in zip(found, one.routes, strict=True):
                if not route.disabled:
                    counted.sent.update(dict.fromkeys(((route.domain, limit.title) for limit in route.limits), 1))
        return found

    def reading_tokens(self) -> bool:
        """Whether a descriptor is made of what a token says."""
        return any(action.reads_tokens for each in self.filters for limit in each.sent() for action in limit.actions)

    def by_address(self) -> bool:
        """Whether a descriptor is made of the client's address."""
        sent = [limit for each in self.filters for limit in each.sent()]
        return any(action.kind in ADDRESSES for limit in sent for action in limit.actions)


@dataclass(frozen=True, slots=True)
class Limited:
    """A proxy, with the filters of its chains.

    Attributes:
        requests: The chains for requests that may be limited.
        others: Those for tunnels and for the pod's own calls that have a filter.
    """

    proxy: Proxy
    requests: tuple[LimitedChain, ...]
    others: tuple[LimitedChain, ...]

    @property
    def limits(self) -> bool:
        """Whether it is to limit requests: some chain has a filter."""
        return any(each.filters for each in self.requests)

    def filters(self) -> Iterator[tuple[LimitedChain, RateLimitFilter]]:
        """All filters of requests, each with its chain."""
        for each in self.requests:
            for one in each.filters:
                yield each, one


def limited(proxy: Proxy) -> Limited:
    """What the filters of *proxy* do."""

    def of(chain: Chain) -> LimitedChain:
        return LimitedChain(chain, tuple(rate_limits(chain, proxy.runtime)))

    others = [of(chain) for chain in proxy.chains if chain.role is not Role.REQUESTS]
    return Limited(proxy, tuple(map(of, proxy.requests())), tuple(each for each in others if each.filters))
