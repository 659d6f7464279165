"""The rate limits in an EnvoyFilter, or in any other YAML with Envoy's configuration: filters, and their `rate_limits`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rls.config.nodes import Scalar, YamlMapping, YamlNode, YamlSequence, parse
from rls.config.scalars import WrongTagError, resolve
from rls.errors import SourceLocation

_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_FILTER = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
_LOCAL = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"


class Policy(NamedTuple):
    """One item of `rate_limits`: one descriptor, made by its `actions`.

    Attributes:
        place: Where it stands.
        fields: config.route.v3.RateLimit; names in snake case, however they are written.
    """

    place: SourceLocation
    fields: dict[str, Any]


class RateLimits(NamedTuple):
    """One list of `rate_limits`.

    Attributes:
        place: Where it stands.
        domain: Of the filter; "" if it stands nowhere beside the list.
        in_filter: Whether the filter itself has the list. Envoy then ignores those of routes and virtual hosts.
        policies: The items, in their order.
    """

    place: SourceLocation
    domain: str
    in_filter: bool
    policies: Sequence[Policy]


class Filters(NamedTuple):
    """What a file says of rate limits.

    Attributes:
        domains: Of all rate limit filters, each once.
        stages: Of all rate limit filters; a filter takes the items of its stage only.
        limits: All lists of `rate_limits`, in their order; without those of local rate limits, which ask nobody.
        places: Where the first filter of each domain stands.
    """

    domains: Sequence[str]
    stages: Sequence[int]
    limits: Sequence[RateLimits]
    places: Mapping[str, SourceLocation]

    @property
    def in_force(self) -> Sequence[Policy]:
        """The items that Envoy takes: those of filters where one has any, else those of routes and virtual hosts."""
        own = [found for found in self.limits if found.in_filter]
        stages = self.stages or (0,)
        return [
            policy
            for found in own or self.limits
            for policy in found.policies
            if int(policy.fields.get("stage", 0)) in stages
        ]


def read_filters(file: str, text: bytes) -> Filters:
    """The rate limits of all documents of *text*; *file* names it.

    Raises:
        ConfigError: It is no YAML.
    """
    domains: dict[str, SourceLocation] = {}
    stages: dict[int, None] = {}
    limits: list[RateLimits] = []
    for node in parse(file, text):
        for mapping in _mappings(node):
            keys = {_name(key): value for key, value in mapping.items}
            kind, domain = _text(keys.get("@type")), _text(keys.get("domain"))
            is_filter = kind.endswith(_FILTER)
            if is_filter:
                stages[int(_text(keys.get("stage")) or 0)] = None
                if domain:
                    domains.setdefault(domain, SourceLocation(file, mapping.line, mapping.column))
            items = keys.get("rate_limits")
            if kind.endswith(_LOCAL):
                continue
            if isinstance(items, YamlSequence) and all(isinstance(item, YamlMapping) for item in items.items):
                policies = [Policy(SourceLocation(file, item.line, item.column), _plain(item)) for item in items.items]
                place = SourceLocation(file, items.line, items.column)
                limits.append(RateLimits(place, domain, is_filter, policies))
    return Filters(list(domains), list(stages), limits, domains)


def _mappings(node: YamlNode) -> Iterator[YamlMapping]:
    """All mappings in *node*, in their order; those of `rate_limits` hold no more of them."""
    if isinstance(node, YamlMapping):
        yield node
        for key, value in node.items:
            if _name(key) != "rate_limits":
                yield from _mappings(value)
    elif isinstance(node, YamlSequence):
        for item in node.items:
            yield from _mappings(item)


def _name(key: YamlNode) -> str:
    """The name of a field in snake case: protobuf takes `rateLimits` for it, too."""
    return _CAMEL.sub(r"_\1", key.text).lower() if isinstance(key, Scalar) else ""


def _text(node: YamlNode | None) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _plain(node: YamlNode) -> Any:
    if isinstance(node, YamlMapping):
        return {_name(key): _plain(value) for key, value in node.items}
    if isinstance(node, YamlSequence):
        return [_plain(item) for item in node.items]
    try:
        return resolve(node)
    except WrongTagError:
        return node.text
