"""The attributes of spans: OpenTelemetry's conventions where there are some, and `rls.` for what only we have."""

from __future__ import annotations

from collections.abc import Sequence

from rls.core.check import Status
from rls.core.decide import Decision
from rls.engine.events import RequestContext
from rls.observe.decisions import (
    REDIS,
    answered_by,
    count_of,
    deciding,
    entries_of,
    outcome_of,
    policies_of,
    rule_of,
)
from rls.observe.spans import CHECK, STATUS, Attributes, Event
from rls.printable import printable
from rls.stores.base import StoreBatch

_MOST_EVENTS = 32
_MOST_RULES = 16


def call_attributes(request: RequestContext, code: str, revision: str) -> Attributes:
    """Of the span of a call: what it was, whose, and the status *code* that it ended with."""
    attributes: Attributes = {"rpc.system.name": "grpc", "rpc.method": CHECK, "rpc.response.status_code": code}
    if code != "OK":
        attributes["error.type"] = code
    attributes |= _endpoint("network.peer", request.peer)
    attributes |= _endpoint("server", request.metadata(":authority") or "")
    if revision:
        attributes["rls.revision"] = revision
    return attributes


def decision_attributes(request: RequestContext, store: str) -> Attributes:
    """Of the span of a call: what it came to, by which rule, and who answered."""
    decision = request.decision
    plan = decision.plan
    attributes: Attributes = {
        "rls.domain": printable(plan.domain),
        "rls.descriptors": len(plan.checks),
        "rls.code": decision.code.name,
    }
    if by := answered_by(request, store):
        attributes["rls.answered_by"] = by
    if decision.policies:
        attributes["rls.policy"] = policies_of(decision)
    status = deciding(decision)
    if status is not None:
        attributes |= _rule_attributes(decision, status)
    return attributes


def _rule_attributes(decision: Decision, status: Status) -> Attributes:
    rule = rule_of(decision.plan.domain, status.check)
    attributes: Attributes = {"rls.outcome": outcome_of(status)}
    if rule is not None:
        attributes["rls.rule"] = printable(rule.path)
        if rule.name:
            attributes["rls.rule.name"] = printable(rule.name)
        if rule.place is not None:
            attributes["rls.rule.place"] = printable(rule.where)
    return attributes


def status_events(decision: Decision, at: float) -> Sequence[Event]:
    """An event for each status of *decision*, bounded."""
    return [(STATUS, at, _status_attributes(decision, status)) for status in decision.statuses[:_MOST_EVENTS]]


def _status_attributes(decision: Decision, status: Status) -> Attributes:
    check, limit = status.check, status.limit
    attributes = _rule_attributes(decision, status)
    attributes["rls.descriptor"] = entries_of(check)
    if limit is not None:
        attributes["rls.limit"] = limit.requests_per_unit
        attributes["rls.limit.seconds"] = check.window_seconds
        attributes["rls.hits"] = check.amount
        count = count_of(decision, status)
        if count is not None:
            attributes["rls.count"] = count
    return attributes


def batch_name(batch: StoreBatch) -> str:
    """The name of a write's span: that of its operation."""
    if len(batch.updates) != 1:
        return "PIPELINE"
    return "INCRBY" if batch.updates[0].amount >= 0 else "EVAL"  # a refund must stop at 0


def batch_attributes(batch: StoreBatch, system: str) -> Attributes:
    """Of the span of a write to a node."""
    attributes: Attributes = {
        "db.system.name": system or REDIS,
        "db.operation.name": batch_name(batch),
        "rls.calls": sum(origin is not None for origin in batch.origins),  # the store has calls of its own
        "rls.rules": [printable(rule) for rule in sorted({update.rule for update in batch.updates})[:_MOST_RULES]],
    }
    if len(batch.updates) > 1:
        attributes["db.operation.batch.size"] = len(batch.updates)
    if batch.error:
        attributes["error.type"] = "BackendError"
    return attributes | _node(batch.node)


def _node(address: str) -> Attributes:
    """A node by its *address* as a store names it: `redis://host:port/0`, `unix:///path`, `host:port`."""
    scheme, separator, rest = address.partition("://")
    if scheme == "unix":
        return {"server.address": printable(rest)}
    return _endpoint("server", rest.partition("/")[0] if separator else address)


def _endpoint(prefix: str, address: str) -> Attributes:
    """*address*: `host:port`, `[host]:port`, or a name without a port."""
    host, separator, port = address.rpartition(":")
    if separator and port.isascii() and port.isdecimal():
        return {f"{prefix}.address": printable(host.strip("[]")), f"{prefix}.port": int(port)}
    return {f"{prefix}.address": printable(address)} if address else {}
