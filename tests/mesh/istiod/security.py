"""RequestAuthentication and AuthorizationPolicy, as HTTP filters.

After pilot/pkg/security/authn/policy_applier.go and pilot/pkg/security/authz of istio/istio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.mesh.istiod.keys import PLACEHOLDERS
from tests.mesh.istiod.model import Kind, Proxy, selects
from tests.mesh.manifests import Object, of

JWT_AUTHN = "envoy.filters.http.jwt_authn"
PEER_PRINCIPAL = "io.istio.peer_principal"
_TYPES = "type.googleapis.com/envoy.extensions.filters.http"


def jwt_authn(objects: Sequence[Object], proxy: Proxy, jwks: Mapping[str, str]) -> list[Object]:
    """The filter, where there is a RequestAuthentication for the proxy; *jwks* holds what could be fetched of each jwksUri."""
    chosen = [each for each in of(objects, "RequestAuthentication") if selects(each, proxy)]
    rules = sorted((rule for each in chosen for rule in each["spec"]["jwtRules"]), key=lambda rule: str(rule["issuer"]))
    if not rules:
        return []
    providers = {}
    placeholder = PLACEHOLDERS[proxy.release > (1, 27)]
    for number, rule in enumerate(rules):
        if unknown := set(rule) - {"issuer", "audiences", "jwks", "jwksUri", "forwardOriginalToken"}:
            raise NotImplementedError(f"jwtRules[].{unknown}")
        provider: Object = {
            "issuer": rule["issuer"],
            "local_jwks": {"inline_string": rule.get("jwks") or jwks.get(rule["jwksUri"], placeholder)},
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "permission"]},
        }
        if "audiences" in rule:
            provider["audiences"] = rule["audiences"]
        if rule.get("forwardOriginalToken"):
            provider["forward"] = True
        if proxy.kind is Kind.GATEWAY:
            provider["clear_route_cache"] = True
        providers[f"origins-{number}"] = provider
    requirements: list[Object] = [{"provider_name": name} for name in providers]
    if len(providers) == 1:
        requirements.append({"allow_missing": {}})
    else:
        each_or_missing = [
            {"requires_any": {"requirements": [{"provider_name": name}, {"allow_missing": {}}]}} for name in providers
        ]
        requirements.append({"requires_all": {"requirements": each_or_missing}})
    rule = {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": requirements}}}
    config = {
        "@type": f"{_TYPES}.jwt_authn.v3.JwtAuthentication",
        "providers": providers,
        "rules": [rule],
        "bypass_cors_preflight": True,
    }
    return [{"name": JWT_AUTHN, "typed_config": config}]


def rbac(objects: Sequence[Object], proxy: Proxy, *, hbone: bool = False) -> list[Object]:
    """One filter for what is denied, then one for what is allowed, each where there are policies of it.

    Args:
        hbone: Behind connect_terminate, which has put the peer's identity into filter state.
    """
    chosen = [each for each in of(objects, "AuthorizationPolicy") if selects(each, proxy)]
    filters = []
    for action in ("DENY", "ALLOW"):
        policies = {
            f"ns[{each['metadata']['namespace']}]-policy[{each['metadata']['name']}]-rule[{number}]": _rule(
                rule, hbone=hbone
            )
            for each in chosen
            if (each["spec"] or {}).get("action", "ALLOW") == action
            for number, rule in enumerate((each["spec"] or {}).get("rules", ()))
        }
        if any((each["spec"] or {}).get("action", "ALLOW") == action for each in chosen):
            config = {
                "@type": f"{_TYPES}.rbac.v3.RBAC",
                # Without a policy nothing is allowed: what an empty `spec` means.
                "rules": {"action": action, "policies": policies},
                "shadow_rules_stat_prefix": "istio_dry_run_allow_",
            }
            filters.append({"name": "envoy.filters.http.rbac", "typed_config": config})
    return filters


def _rule(rule: Object, *, hbone: bool) -> Object:
    if set(rule) - {"from", "to"}:
        raise NotImplementedError(f"a rule with {sorted(rule)}")
    principals = [_all("and_ids", "ids", _source(entry["source"], hbone=hbone)) for entry in rule.get("from", ())]
    permissions = [_all("and_rules", "rules", _operation(entry["operation"])) for entry in rule.get("to", ())]
    return {"principals": principals or [{"any": True}], "permissions": permissions or [{"any": True}]}


def _source(source: Mapping[str, Sequence[str]], *, hbone: bool) -> list[Object]:
    found = []
    for field, values in source.items():
        match field:
            case "principals":
                each = [_peer(_text(f"spiffe://{value}"), hbone=hbone) for value in values]
            case "namespaces":
                pattern = ".*/ns/{}/.*"
                each = [_peer(_regex(pattern.format(value.replace("*", ".*"))), hbone=hbone) for value in values]
            case "requestPrincipals" | "notRequestPrincipals":
                each = [_request_principal(value) for value in values]
            case _:
                raise NotImplementedError(f"source.{field}")
        anyone: Object = {"or_ids": {"ids": each}}
        found.append({"not_id": anyone} if field.startswith("not") else anyone)
    return found


def _request_principal(value: str) -> Object:
    """Anybody with a token: with *both* claims, `iss` and `sub`."""
    if value != "*":
        raise NotImplementedError(f"requestPrincipals {value}")
    claims = [
        {
            "metadata": {
                "filter": JWT_AUTHN,
                "path": [{"key": "payload"}, {"key": claim}],
                "value": _string(_regex(".+")),
            }
        }
        for claim in ("iss", "sub")
    ]
    return {"and_ids": {"ids": claims}}


def _operation(operation: Mapping[str, Sequence[str]]) -> list[Object]:
    found = []
    for field, values in operation.items():
        match field:
            case "ports":
                each: list[Object] = [{"destination_port": int(value)} for value in values]
            case "paths":
                each = [{"url_path": {"path": _text(value)}} for value in values]
            case "methods" | "notMethods":
                each = [{"header": {"name": ":method", "string_match": _text(value)}} for value in values]
            case _:
                raise NotImplementedError(f"operation.{field}")
        anything: Object = {"or_rules": {"rules": each}}
        found.append({"not_rule": anything} if field.startswith("not") else anything)
    return found


def _peer(matcher: Object, *, hbone: bool) -> Object:
    if hbone:
        return {"filter_state": {"key": PEER_PRINCIPAL, "string_match": matcher}}
    return {"authenticated": {"principal_name": matcher}}


def _text(value: str) -> Object:
    if re.search(r"[*{}]", value):
        raise NotImplementedError(f"a pattern: {value}")
    return {"exact": value}


def _regex(pattern: str) -> Object:
    return {"safe_regex": {"regex": pattern}}


def _string(matcher: Object) -> Any:
    return {"string_match": matcher}


def _all(field: str, inner: str, each: list[Object]) -> Object:
    return {field: {inner: each}}
