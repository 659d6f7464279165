"""Files that hold something else than rules: one sentence that says what it is, and how the rules come out of it."""

from __future__ import annotations

from rls.config.nodes import Scalar, YamlMapping, YamlNode, YamlSequence
from rls.config.reader import shorten

_ASKS = "it says what Envoy asks, not what is allowed: write rules with `domain` and `descriptors` for its descriptors"
_ENVOY_GATEWAY = (
    "Envoy Gateway makes rules of it and sends them to its own server, which `rls` cannot replace yet: "
    "write them with `domain` and `descriptors`"
)
_GROUPS = (
    ("ratelimit.solo.io", "of Gloo", "its rules are the `descriptors` below `spec.raw`: {gloo}"),
    ("gloo.solo.io", "of Gloo", "its rules are the `descriptors` below `spec.ratelimit`, if there are any: {gloo}"),
    ("gateway.solo.io", "of Gloo", _ASKS),
    ("gateway.kgateway.dev", "of kgateway", _ASKS),
    ("projectcontour.io", "of Contour", _ASKS),
    (
        "gateway.envoyproxy.io",
        "of Envoy Gateway",
        _ENVOY_GATEWAY,
    ),
    ("getambassador.io", "of Emissary", _ASKS),
    ("limitador.kuadrant.io", "of Limitador", "its limits are the list below `spec.limits`: {limitador}"),
    ("kuadrant.io", "of Kuadrant", "Kuadrant makes Limitador's limits of it: {limitador}"),
)
_GLOO = (
    "put them below a `domain`, with `rate_limit` for `rateLimit`, `requests_per_unit` for `requestsPerUnit` and `unit` "
    "in words"
)
_LIMITADOR = "write `domain` for a `namespace`, a `key` for each of the `variables`, and `rate_limit` for `max_value` and `seconds`"


def foreign(document: YamlNode) -> tuple[YamlNode, str] | None:
    """Where it shows that *document* holds no rules, and what it is; None where it may hold rules."""
    if isinstance(document, YamlSequence):
        return _limitador(document)
    if not isinstance(document, YamlMapping):
        return None
    found = {key.text: (key, value) for key, value in document.items if isinstance(key, Scalar)}
    if "domain" in found:
        return None
    if "kind" in found and "apiVersion" in found:
        at, kind = found["kind"]
        return at, _manifest(_text(kind), _text(found["apiVersion"][1]), found.get("data", (at, at))[1])
    for key, message in (
        ("static_resources", f"this is a configuration of Envoy, no rules: {_ASKS}"),
        ("rateLimitService", f"this is a configuration of Contour, no rules: {_ASKS}"),
        ("limits", f"this is a file of Limitador, no rules of this grammar: {_LIMITADOR}"),
    ):
        if key in found and "descriptors" not in found:
            return found[key][0], message
    return None


def _manifest(kind: str, version: str, data: YamlNode) -> str:
    """What a manifest of Kubernetes is."""
    if kind == "ConfigMap":
        files = [key.text for key, _ in data.items if isinstance(key, Scalar)] if isinstance(data, YamlMapping) else []
        where = f"the text below `data`, `{shorten(files[0])}`" if files else "the text below `data`"
        return (
            f"this is a Kubernetes ConfigMap, no rules: they are {where}; save that text as a file of its own, "
            "or mount the ConfigMap and give its directory"
        )
    if kind in {"List", "ConfigMapList"}:
        return "this is a list of Kubernetes objects, no rules: save the text below `data` of its ConfigMap as a file of its own"
    if kind == "EnvoyFilter":
        return f"this is an EnvoyFilter of Istio, no rules: {_ASKS}"
    group = version.partition("/")[0] if "/" in version else ""
    for known, whose, advice in _GROUPS:
        if group == known or group.endswith(f".{known}"):
            return f"this is {_one(kind)} {whose}, no rules: {advice.format(gloo=_GLOO, limitador=_LIMITADOR)}"
    return f"this is the Kubernetes object {shorten(kind)}, no rules, expected `domain: …` and `descriptors: …`"


def _limitador(document: YamlSequence) -> tuple[YamlNode, str] | None:
    """A list of Limitador's limits."""
    for item in document.items[:1]:
        if isinstance(item, YamlMapping):
            keys = {key.text for key, _ in item.items if isinstance(key, Scalar)}
            if "max_value" in keys or {"namespace", "seconds"} <= keys:
                return item, f"this is a file of Limitador, no rules of this grammar: {_LIMITADOR}"
    return None


_PLURAL = frozenset({"Settings"})
"""Kinds whose name is a plural."""


def _one(kind: str) -> str:
    if kind in _PLURAL:
        return f"the {shorten(kind)}"
    return f"{'an' if kind.startswith(('A', 'E', 'I', 'O', 'HTTP', 'Up')) else 'a'} {shorten(kind)}"


def _text(node: YamlNode) -> str:
    return node.text if isinstance(node, Scalar) else ""
