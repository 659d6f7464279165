"""What the filters send: which descriptors, of which requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rls.core.actions import JWT_METADATA
from rls.mesh.filters import JWT, Limited, LimitedChain, RateLimitFilter, RouteLimits
from rls.mesh.findings import Found, place
from rls.mesh.limits import ADDRESSES, Action, Limit
from rls.mesh.model import Kind
from rls.mesh.trees import Tree, text, texts, tree


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy."""
    for each, one in limited.filters():
        for code, message, host in _of_filter(each, one, limited):
            yield Found(code, message, place(each.chain, host))


def _of_filter(each: LimitedChain, one: RateLimitFilter, limited: Limited) -> Iterator[tuple[str, str, str]]:
    """Code, message and virtual host."""
    if one.enabled <= 0:
        yield "filter_off", "the filter is on for 0 % of the requests", ""
        return
    if one.enforced <= 0:
        yield "shadow", "the filter is enforced for 0 % of the requests", ""
    elif one.enabled < 100 or one.enforced < 100:
        text_ = f"the filter is on for {one.enabled:g} %, and enforced for {one.enforced:g} % of the requests"
        yield "part_of_requests", text_, ""
    if (callers := text(one.config, "request_type")) in {"internal", "external"}:
        yield "only_some_callers", f"the filter is for {callers} requests only", ""
    if one.routes and not one.sent():
        yield from _nothing_sent(one, limited)
        return
    yield from _of_routes(one, each)
    for limit in dict.fromkeys(one.sent()):
        yield from ((code, message, "") for code, message in _of_limit(limit, each))


def _nothing_sent(one: RateLimitFilter, limited: Limited) -> Iterator[tuple[str, str, str]]:
    others = sorted({limit.stage for route in one.routes for limit in route.skipped})
    if others:
        stages = ", ".join(map(str, others))
        yield "other_stage", f"the filter is of stage {one.stage}, and all limits are of stage {stages}", ""
        return
    if all(route.disabled for route in one.routes):
        yield "filter_off", "the filter is disabled at every route", ""
        return
    why = "it has no rate_limits, nor have its virtual hosts and routes"
    if limited.proxy.kind is not Kind.ENVOY:
        why += "; an istiod before 1.28 drops those of the filter"
    yield "no_descriptor", f"the filter makes no descriptor: {why}", ""
    yield from _overrides(one)


def _overrides(one: RateLimitFilter) -> Iterator[tuple[str, str, str]]:
    for route in one.routes:
        if route.empty_override:
            yield "empty_override", f"the route {route.route} has an empty RateLimitPerRoute", route.host


def _of_routes(one: RateLimitFilter, each: LimitedChain) -> Iterator[tuple[str, str, str]]:
    yield from _overrides(one)
    for number, route in enumerate(one.routes):
        if route.disabled:
            yield "filter_off_at_route", f"the filter is disabled at the route {route.route}", route.host
        elif not route.limits:
            yield "some_routes_without_descriptor", f"no descriptor is made at the route {route.route}", route.host
        else:
            beside = [limit for other in each.asking() if other is not one for limit in other.routes[number].limits]
            yield from _of_route(route, beside)
        if route.skipped and route.limits:
            titles = ", ".join(limit.title for limit in route.skipped)
            # Another filter may be of their stage; `_nothing_sent` is where none is.
            if not one.in_filter:
                yield "other_stage", f"the filter is of another stage than {titles}", route.host


def _of_route(route: RouteLimits, beside: Sequence[Limit]) -> Iterator[tuple[str, str, str]]:
    """*beside*: the limits of the chain's other filters."""
    counting = {limit.title for limit in route.limits if not limit.only_looks}
    for limit in route.limits:
        if limit.only_looks and limit.title not in counting:
            yield "counts_nothing", f"the limit {limit.title} has hits_addend 0", route.host
    for number, limit in enumerate(route.limits):
        if limit.config in [other.config for other in route.limits[:number]]:
            yield "counted_twice", f"the limit {limit.title} is there twice", route.host
    at_once = [limit for limit in route.limits if not limit.late]
    if not at_once:
        yield "counted_late", "every limit has apply_on_stream_done", route.host
    elif not any(limit.always for limit in (*at_once, *beside) if not limit.late) and not _covered(at_once):
        titles = ", ".join(limit.title for limit in at_once)
        yield "not_always_a_descriptor", f"not every request has one of the descriptors {titles}", route.host


def _covered(limits: list[Limit]) -> bool:
    """Whether two limits exclude each other by one header, so that each request has one of them."""
    present = {_header(limit.actions, present=True) for limit in limits}
    absent = {_header(limit.actions, present=False) for limit in limits}
    return bool((present & absent) - {""})


def _header(actions: tuple[Action, ...], *, present: bool) -> str:
    """The one header that a limit's only condition is about: that it is there, or that it is not."""
    conditions = [action for action in actions if not action.always and not action.optional]
    if len(conditions) != 1:
        return ""
    (action,) = conditions
    if action.kind == "request_headers" and present:
        return text(action.config, "header_name")
    headers = action.config.get("headers")
    if action.kind != "header_value_match" or not isinstance(headers, list) or len(headers) != 1:
        return ""
    expected = action.config.get("expect_match", True) is not False
    there = bool(tree(headers[0]).get("present_match")) and not tree(headers[0]).get("invert_match")
    return text(headers[0], "name") if there and expected is present else ""


def _of_limit(limit: Limit, each: LimitedChain) -> Iterator[tuple[str, str]]:
    kinds = {action.kind for action in limit.actions}
    if kinds & ADDRESSES and any(action.reads_tokens for action in limit.actions):
        yield "company_by_address", f"the descriptor {limit.title} is of company and address at once"
    if limit.disable_key:
        yield "disable_key", f"the limit {limit.title} has the disable_key {limit.disable_key}"
    if limit.hits_format:
        yield "hits_format", f"the limit {limit.title} counts {limit.hits_format}"
    for action in limit.actions:
        yield from _of_action(action, each)


def _of_action(action: Action, each: LimitedChain) -> Iterator[tuple[str, str]]:
    if action.kind == "jwt_claim":
        yield "unverified_claim", f"the entry {action.key} is read from a token that nobody has verified"
    if action.kind not in {"metadata", "dynamic_metadata"} or not action.claim:
        return
    source = text(action.config, "source") or "DYNAMIC"
    space, *way = action.claim
    looks_for_tokens = space in {JWT_METADATA, "istio_authn"} or "payload" in way
    if looks_for_tokens and source != "DYNAMIC":
        yield "claim_source", f"the entry {action.key} is looked for in {source}"
    elif looks_for_tokens:
        wanted = _payloads(each)
        if wanted and (space != JWT_METADATA or (way[:1] or [""])[0] not in wanted):
            here = " > ".join(action.claim)
            there = " or ".join(f"{JWT_METADATA} > {name}" for name in sorted(wanted))
            yield "claim_not_there", f"the entry {action.key} is looked for in {here}, and tokens are in {there}"
        elif any(way[1:] == [claim] for claim in _lists(each)):
            yield (
                "claim_is_list",
                f"the entry {action.key} is of the claim {way[1]}, which jwt_authn splits into a list",
            )


def _providers(each: LimitedChain) -> list[Tree]:
    return [tree(one) for _, filter_ in each.chain.of(JWT) for one in tree(filter_.config, "providers").values()]


def _payloads(each: LimitedChain) -> set[str]:
    """Where the providers of the chain write a token's claims."""
    return {text(provider, "payload_in_metadata") for provider in _providers(each)} - {""}


def _lists(each: LimitedChain) -> set[str]:
    """Claims that are lists in the metadata, whatever they are in the token."""
    ways = ("normalize_payload_in_metadata", "space_delimited_claims")
    return {name for provider in _providers(each) for name in texts(provider, *ways)}
