"""Spans as plain values, which `marshal` takes: a server makes them, and a process of its own exports them.

The SDK's own spans would not do. Each takes a lock and some 30 µs, and its processor exports them in a thread of Python code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | list[str]
Attributes: TypeAlias = dict[str, Value]
Link: TypeAlias = tuple[int, int]
"""Trace ID and span ID."""
Event: TypeAlias = tuple[str, float, Attributes]
"""Name, Unix seconds, attributes."""
Span: TypeAlias = tuple[
    str, str, int, int, int, str, float, float, Attributes, Sequence[Event], Sequence[Link], str | None
]
"""Name, kind, trace ID, span ID, the parent's span ID or 0, `tracestate`, begin and end in Unix seconds, attributes, events,
links, and why it failed or None.
"""
INTERNAL, SERVER, CLIENT = "INTERNAL", "SERVER", "CLIENT"

CHECK = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
"""OpenTelemetry's conventions for RPC spans: the name is the method's."""
PLAN, QUEUE, WRITE, DECIDE = "plan", "queue", "write", "decide"
STATUS = "rls.status"
"""The event of a descriptor's status."""

SPANS: Mapping[str, str] = {
    CHECK: "the whole call, from when it was read",
    PLAN: "read the message, match it with the rules",
    QUEUE: "wait for the write to Redis that is under way",
    WRITE: "wait for the write that carries this call's hits, from when it was sent until its replies",
    "INCRBY, EVAL or PIPELINE": "the write itself, once for all calls that it carries",
    DECIDE: "judge the counts",
}
"""What there is, with what each spans."""

ATTRIBUTES: Mapping[str, str] = {
    "rpc.system.name": "`grpc`",
    "rpc.method": "the method",
    "rpc.response.status_code": "`OK`; `DEADLINE_EXCEEDED` if the decision came too late; `UNAVAILABLE` if there was none",
    "network.peer.address": "address of the caller: of Envoy",
    "network.peer.port": "its port",
    "server.address": "host that the caller asked for; of a write, the Redis node",
    "server.port": "its port",
    "db.system.name": "`redis`",
    "db.operation.name": "`INCRBY`; `EVAL` for a refund; `PIPELINE` if the write has several counters",
    "db.operation.batch.size": "counters of the write, if there are several",
    "error.type": "`BackendError` if the backend failed, else the status code",
    "rls.revision": "revision of the rules in force",
    "rls.domain": "domain",
    "rls.descriptors": "descriptors of the request",
    "rls.code": "`OK` or `OVER_LIMIT`: what Envoy acts on",
    "rls.answered_by": "`redis`, `cache` (the over-limit cache), `memory` (`memory://`) or `policy` (`on_backend_error`)",
    "rls.policy": "the policy that decided, if one did",
    "rls.rule": "path of the rule: of the one that limited the request, else of the one with the least left",
    "rls.rule.name": "its name",
    "rls.rule.place": "its place, `file:line`",
    "rls.outcome": "`over_limit`, `shadow` (over the limit of a rule in shadow mode), `near_limit`, `ok`, `unlimited` or `no_rule`",
    "rls.descriptor": "the descriptor's entries, `key=value` each",
    "rls.limit": "requests per window",
    "rls.limit.seconds": "length of the window",
    "rls.count": "the counter's count after the request",
    "rls.hits": "hits that the request added",
    "rls.calls": "calls that the write carried",
    "rls.rules": "domain and path of the rules whose counters the write had",
}
"""Every attribute of a span or an event, with what it is. docs/tracing.md has the same list; a test compares them."""
