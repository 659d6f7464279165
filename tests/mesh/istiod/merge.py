"""Merging of messages as Istio's fork of `proto.Merge` does it, on their JSON form."""

from __future__ import annotations

import copy
from typing import Any

from tests.mesh.manifests import Object

# Fields that are maps, in which a value is replaced whole; in JSON they look like messages, which are merged.
_MAPS = {
    "providers",
    "requirement_map",
    "typed_per_filter_config",
    "typed_extension_protocol_options",
    "filter_metadata",
    "typed_filter_metadata",
}


def merge(into: Object, other: Object) -> None:
    """Scalars are replaced, messages merged, repeated fields appended to, values of maps replaced.

    A false scalar is what proto3 does not send, so it changes nothing.
    """
    for name, value in other.items():
        old = into.get(name)
        if name in _MAPS:
            into[name] = {**(old or {}), **copy.deepcopy(value)}
        elif isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            old += copy.deepcopy(value)
        elif isinstance(value, dict | list) or value or old is None:
            into[name] = copy.deepcopy(value)


# Fields of what our patches hold, by the Istio release whose Envoy API first has them: to an older istiod they are
# unknown, and dropped with no more than a warning.
_SINCE = {"rate_limits": (1, 28), "metadata_namespace": (1, 31), "enable_retry_after_header": (1, 32)}
_RATE_LIMIT = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"


def known(value: Any, release: tuple[int, int]) -> Any:
    """What istiod of *release* understands of a patch's value; of the rate limit filter only."""
    if isinstance(value, dict):
        dropped = {name for name, since in _SINCE.items() if since > release and value.get("@type") == _RATE_LIMIT}
        return {name: known(inner, release) for name, inner in value.items() if name not in dropped}
    if isinstance(value, list):
        return [known(inner, release) for inner in value]
    return value
