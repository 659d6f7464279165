"""All kinds of findings: how bad each is, what it means for traffic, and what to change."""

from __future__ import annotations

from typing import NamedTuple

from rls.mesh.findings import Change, Severity
from rls.mesh.model import Proxy
from rls.mesh.targets import Target, target


class Entry(NamedTuple):
    """A kind of finding; *field* and *how* are of the change."""

    severity: Severity
    traffic: str
    target: Target
    field: str
    how: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
UNLIMITED = "every request passes unlimited"
_HTTP_FILTER = "spec.configPatches of HTTP_FILTER"

CATALOGUE: dict[str, Entry] = {
    # Which requests a filter limits, and how often.
    "no_filter_anywhere": Entry(
        _E, UNLIMITED, Target.FILTER, "namespace, workloadSelector or targetRefs, match.context, match.proxy.proxyVersion",
        "Apply the EnvoyFilter, in the namespace of the proxies, for their labels and version. If it is there, look for "
        "`panic` in istiod's log: then istiod drops all patches of a listener",
    ),
    "chain_without_filter": Entry(
        _E, "requests at these ports pass unlimited", Target.FILTER, "match.listener",
        "Match every listener and chain that takes requests: drop match.listener.name and portNumber",
    ),
    "pod_without_filter": Entry(
        _E, "requests that reach this pod pass unlimited", Target.FILTER,
        "workloadSelector or targetRefs, match.proxy.proxyVersion",
        "Make the EnvoyFilter, or one for its version, select this pod; restart the pod if it has an old configuration",
    ),
    "counted_twice": Entry(
        _E, "each request is counted more than once, so that limits are reached too early", Target.FILTER,
        "match.proxy.proxyVersion, names of EnvoyFilters",
        "Keep one EnvoyFilter for each version: `kubectl get envoyfilter -A` lists them",
    ),
    "tunnel_counted": Entry(
        _E, "each tunnel of a peer is counted, by the peer's address, besides the requests inside", Target.FILTER,
        "match.listener.name", "Patch main_internal only, or REMOVE the filter from connect_terminate",
    ),
    "outbound_limited": Entry(
        _W, "calls that the pod makes are limited, instead of those that it gets", Target.FILTER, "match.context",
        "Use SIDECAR_INBOUND, unless you want to limit callers",
    ),
    "before_tokens": Entry(
        _E, "no request has a company: all are counted by address only", Target.FILTER, "match…subFilter, operation",
        "INSERT_BEFORE with subFilter envoy.filters.http.router",
    ),
    "two_filters": Entry(
        _N, "Envoy asks rls more than once for each request, about different descriptors", Target.FILTER, _HTTP_FILTER,
        "Join the filters if they belong together: it halves the latency",
    ),
    "counted_at_two_proxies": Entry(
        _E, "a request is counted at both, so that limits are reached too early", Target.VARIANT, "components",
        "Limit at one of them: with the component at-gateway or waypoint, delete the EnvoyFilters of the sidecars",
    ),
    "rejected": Entry(
        _E, "Envoy goes on with what it had before, or with nothing", Target.NONE, "",
        "Correct what the message names, then take a new dump",
    ),
    "unlimited_pods": Entry(_N, "requests to these pods are not limited", Target.NONE, "", "Nothing, if that is intended"),
    "tcp_port": Entry(
        _N, "connections to this port pass: there are no requests to limit", Target.NONE, "",
        "If it serves HTTP: name the port of the Service http-…, or set its appProtocol",
    ),
    "no_routes": Entry(_W, "nothing says what is limited here", Target.NONE, "", "Take the whole dump, without mask"),
    # What is sent.
    "no_descriptor": Entry(
        _E, UNLIMITED, Target.FILTER, "typed_config.rate_limits",
        "Put rate_limits into the filter; before Istio 1.28, which drops them there, onto virtual hosts",
    ),
    "some_routes_without_descriptor": Entry(
        _E, "requests of these virtual hosts and routes pass unlimited", Target.FILTER,
        "VIRTUAL_HOST match.routeConfiguration.vhost.name", "Drop vhost.name, so that every virtual host has the limits",
    ),
    "other_stage": Entry(
        _E, "limits of another stage are not sent", Target.FILTER, "typed_config.stage, rate_limits[].stage",
        "Give both the same stage",
    ),
    "empty_override": Entry(
        _N, "it changes nothing: the limits that were to be in it do not exist", Target.FILTER,
        "typed_per_filter_config", "istiod drops fields that its Envoy API does not know: use virtual hosts with an old istiod",
    ),
    "filter_off": Entry(_E, UNLIMITED, Target.FILTER, "disabled, typed_config.filter_enabled, or the runtime", "Remove it"),
    "filter_off_at_route": Entry(
        _W, "requests of this route pass unlimited", Target.FILTER, "typed_per_filter_config",
        "Remove `disabled`, unless it is intended",
    ),
    "part_of_requests": Entry(
        _W, "only a part of the requests is counted or limited", Target.FILTER,
        "typed_config.filter_enabled, filter_enforced", "Set 100 %, or remove it",
    ),
    "shadow": Entry(
        _W, "requests are counted, and none is limited", Target.FILTER, "typed_config.filter_enforced",
        "Remove it; to try rules out, set shadow_mode on them",
    ),
    "only_some_callers": Entry(
        _W, "other requests pass unlimited", Target.FILTER, "typed_config.request_type", "Remove it, or set both",
    ),
    "disable_key": Entry(
        _N, "a change of Envoy's runtime can turn this limit off", Target.FILTER, "rate_limits[].disable_key",
        "Remove it, unless it is intended",
    ),
    "not_always_a_descriptor": Entry(
        _E, "a request without these values, such as one without a token, passes unlimited", Target.FILTER,
        "typed_config.rate_limits", "Add `- actions: [{remote_address: {}}]`, which every request has",
    ),
    "company_by_address": Entry(
        _W, "a company has a counter for each of its addresses, so that its limit is no limit", Target.FILTER,
        "typed_config.rate_limits",
        "Use two rate_limits of one action each, and `replaces` in the rules",
    ),
    "claim_not_there": Entry(
        _E, "no request has a company: all are counted by address only", Target.FILTER, "actions[].metadata",
        "Use key envoy.filters.http.jwt_authn, and a path of `payload` and the claim",
    ),
    "claim_is_list": Entry(
        _E, "no request has this entry: Envoy reads claims only if they are strings", Target.FILTER,
        "actions[].metadata.metadata_key", "Use another claim than scope and permission",
    ),
    "claim_source": Entry(
        _E, "no request has a company: all are counted by address only", Target.FILTER, "actions[].metadata.source", "Use DYNAMIC",
    ),
    "unverified_claim": Entry(
        _E, "anybody can write a token with another's company", Target.FILTER, "actions[].extension",
        "Use `metadata`, which reads what jwt_authn has verified",
    ),
    "hits_format": Entry(
        _W, "a request for which the format yields nothing is not counted", Target.FILTER, "rate_limits[].hits_addend",
        "Add a limit without hits_addend beside it",
    ),
    "counted_late": Entry(
        _E, "requests are counted after their response, and none is limited", Target.FILTER,
        "rate_limits[].apply_on_stream_done", "Add a limit without it; hits_addend.number 0 looks without counting",
    ),
    "counts_nothing": Entry(
        _E, "it never limits: it counts no request, and no other limit counts them", Target.FILTER,
        "rate_limits[].hits_addend", "Remove it, or add a limit of the same entries that counts",
    ),
    # Who is asked.
    "no_cluster": Entry(_E, UNLIMITED, Target.CLUSTERS, "", "Name the host of rls there"),
    "other_cluster": Entry(_E, UNLIMITED, Target.FILTER, "envoy_grpc.cluster_name", "Write the name as the proxy has it"),
    "no_endpoints": Entry(
        _E, "there is nobody to ask: every request passes unlimited", Target.PODS, "spec.replicas, readiness",
        "`kubectl -n rate-limit get pods,endpointslices` shows why no pod is ready",
    ),
    "original_dst": Entry(
        _E, UNLIMITED, Target.SERVICE, "spec.clusterIP",
        "Use a Service with a cluster IP: a call of the filter has no original destination",
    ),
    "not_http2": Entry(
        _E, "each call to rls fails: every request passes unlimited", Target.SERVICE, "spec.ports[].appProtocol",
        "Set appProtocol: grpc, or name the port grpc-…",
    ),
    "no_client_certificate": Entry(
        _E, "each call to rls fails: every request passes unlimited", Target.FILTER, "envoy_grpc.cluster_name",
        "Use istiod's cluster outbound|8081||rls.rate-limit.svc.cluster.local, which has mTLS",
    ),
    "plain_cluster": Entry(
        _W, "where the namespace of rls has mTLS only, each call fails, and every request passes", Target.FILTER,
        "envoy_grpc.cluster_name",
        "Use istiod's cluster outbound|8081||rls.rate-limit.svc.cluster.local, which has mTLS",
    ),
    "pinned": Entry(
        _W, "all calls of a proxy go to one pod of rls, over one connection", Target.FILTER, "envoy_grpc.cluster_name",
        "Use istiod's cluster outbound|8081||rls.rate-limit.svc.cluster.local, which knows the pods",
    ),
    "timeout_short": Entry(
        _W, "calls are given up before rls can answer, and requests pass unlimited", Target.FILTER,
        "typed_config.timeout", "Use 0.1s, as the files here do: rls itself waits 10 ms for Redis",
    ),
    "timeout_long": Entry(
        _W, "a request waits that long when rls hangs", Target.FILTER, "typed_config.timeout", "Use 0.1s, as the files here do",
    ),
    "one_try": Entry(
        _W, "while a pod of rls hangs, each request that asks it passes unlimited", Target.FILTER, "grpc_service.retry_policy",
        "Use that of the files here, with an istiod that knows it",
    ),
    "late_try": Entry(
        _W, "there is no time for a second try: while a pod of rls hangs, requests pass unlimited", Target.FILTER,
        "retry_back_off.max_interval", "Use 0.8 × timeout: Envoy takes it for the time of one try, too",
    ),
    "repeats_shed_calls": Entry(
        _W, "an overloaded rls gets each call that it sheds once more", Target.FILTER, "retry_policy.retry_on",
        "Remove resource-exhausted",
    ),
    "no_endpoints_in_dump": Entry(
        _N, "nothing says whether rls has pods that are ready", Target.NONE, "", "Take the dump with ?include_eds",
    ),
    "unknown_service": Entry(
        _N, "nothing says whether rls can be reached", Target.FILTER, "rate_limit_service.grpc_service",
        "Use envoy_grpc with istiod's cluster",
    ),
    # Tokens.
    "no_tokens": Entry(
        _E, "no request has a company: all are counted by address only", Target.TOKENS, "selector or targetRefs",
        "Apply a RequestAuthentication for these proxies",
    ),
    "no_keys": Entry(
        _E, "no token of this issuer is valid: its companies lose their limits, or get 401", Target.TOKENS,
        "jwtRules[].jwksUri", "Make the URI reachable for istiod, and look for `jwks` in its log; or put the keys into jwks",
    ),
    "public_secret": Entry(
        _E, "anybody can sign a token for any company", Target.TOKENS, "jwtRules[].jwks",
        "Upgrade istiod to 1.27.8, 1.28.5, 1.29.1 or newer, or put the keys into jwks instead of jwksUri",
    ),
    "keys_cluster": Entry(
        _E, "no token of this issuer is valid: its companies lose their limits, or get 401", Target.TOKENS,
        "jwtRules[].jwksUri", "Make a ServiceEntry for the host, or let istiod fetch the keys",
    ),
    "no_requirement": Entry(
        _E, "every request gets 403", Target.OPTIONAL_JWT, "requirement_name, requirement_map", "Write both alike",
    ),
    "other_requirement": Entry(
        _W, "an invalid token gets 401, however often it comes, and is not counted", Target.OPTIONAL_JWT,
        "requirement_map", "Use `allow_missing_or_failed: {}`",
    ),
    "second_rule": Entry(
        _W, "only the first rule of jwt_authn that matches is used", Target.OPTIONAL_JWT, "typed_config.rules",
        "Use requirement_map and requirement_name instead",
    ),
    "invalid_tokens_rejected": Entry(
        _N, "an invalid token gets 401 before the filter, however often it comes, and is not counted",
        Target.OPTIONAL_JWT, "requirement_name", "Apply it to count such requests by address",
    ),
    "invalid_tokens_pass": Entry(
        _W, "invalid tokens reach the service, for writing too", Target.POLICY, "notRequestPrincipals",
        "Apply the AuthorizationPolicy writing-needs-a-token",
    ),
    # Addresses.
    "gateway_is_client": Entry(
        _E, "all clients have one address, the gateway's, and share one counter", Target.FILTER, "use_remote_address",
        "Remove the patch that sets it for inbound listeners",
    ),
    "balancer_is_client": Entry(
        _E, "all clients have one address, the load balancer's, and share one counter", Target.HOPS,
        "xff_num_trusted_hops", "Set the gateway's number for sidecars and waypoints, too",
    ),
    "client_chooses_address": Entry(
        _E, "clients choose their address by X-Forwarded-For, and with it their counter", Target.HOPS,
        "xff_num_trusted_hops", "Set the gateway's number, which is that of proxies before it",
    ),
    "gateway_trusts_clients": Entry(
        _E, "clients choose their address by X-Forwarded-For, and with it their counter", Target.FILTER,
        "use_remote_address", "Remove the patch that unsets it",
    ),
    "anybody_may_call": Entry(
        _W, "a pod that calls the service directly chooses its address by X-Forwarded-For", Target.POLICY, "from-gateway",
        "Apply the AuthorizationPolicy, so that only the gateway may call",
    ),
    # What can be seen.
    "hidden_statistics": Entry(
        _W, "nothing shows how many requests pass unlimited", Target.MESH,
        "meshConfig.defaultConfig.proxyStatsMatcher.inclusionRegexps",
        "Add it with scripts/mesh_config.py, then restart the workloads",
    ),
    "no_log_of_rules": Entry(
        _N, "the access log does not say which rule limited a request", Target.LOG, "spec.accessLogging",
        "Apply it, and add its provider with scripts/mesh_config.py",
    ),
    # Rules.
    "unknown_domain": Entry(
        _E, "rls has no rule for it: every request passes unlimited", Target.RULES, "domain",
        "Write the filter's domain and that of the rules alike",
    ),
    "no_rule": Entry(
        _E, "rls has no rule for what it gets: every request passes unlimited", Target.RULES, "descriptors",
        "Write keys of rules and actions alike",
    ),
    "no_rule_for_descriptor": Entry(
        _W, "this descriptor limits nothing", Target.RULES, "descriptors", "Add a rule for it, or correct its keys",
    ),
    "unreachable_rule": Entry(
        _W, "this rule limits nothing", Target.RULES, "descriptors", "Add an action that makes its entries, or remove it",
    ),
    "unused_domain": Entry(
        _N, "none of its rules limits anything", Target.RULES, "domain", "Give the dumps of the proxies that use it",
    ),
    "no_replaces": Entry(
        _W, "the limit of an address stops companies, too, that still have requests left", Target.RULES,
        "rate_limit.replaces", "Add `replaces: [{name: …}]` with the name of the rule for addresses",
    ),
}  # fmt: skip


def change(entry: Entry, proxy: Proxy | None) -> Change:
    """What to change at *proxy*, of which version and kind it depends."""
    kind, file, field = target(entry.target, proxy)
    return Change(kind, file, entry.field or field, entry.how)
