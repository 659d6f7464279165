"""What the admin API answers, as JSON Schemas: the components of its OpenAPI document.

It is one list, in the order of the endpoints, and longer than a file should be: whoever looks for a field looks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}


def maybe(schema: Schema) -> Schema:
    """*schema*, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(schema: Schema) -> Schema:
    """An array of *schema*."""
    return {"type": "array", "items": schema}


def of(name: str) -> Schema:
    """The component *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def members(needed: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with the *needed* members, and maybe with *optional* ones."""
    return {"type": "object", "required": list(needed), "properties": {**needed, **(optional or {})}}


_RULE = {"domain": TEXT, "rule": TEXT, "name": TEXT, "place": TEXT}
_LIMIT = {"limit": TEXT, "requests_per_unit": maybe(WHOLE), "unit": maybe(TEXT), "unit_multiplier": maybe(WHOLE)}
_ENTRIES = {"entries": array(of("Entry"))}
_SEEN = {"requests": WHOLE, "first": maybe(TIME), "last": maybe(TIME)}
_TOP = {"by": TEXT, "window": TEXT, "time": TIME, "unlisted_at_most": NUMBER}
_COUNTED = {
    "count": WHOLE,
    "error": WHOLE,
    "left_out": WHOLE,
    "one_in": WHOLE,
    "per_second": NUMBER,
    "over_since": maybe(TIME),
}
_NEAR = {"share_of_limit": NUMBER, "used": WHOLE, "requests_per_window": WHOLE, "time": TIME}
_COUNTER = {
    **_RULE,
    **_LIMIT,
    "shadow_mode": TRUTH,
    "code": {"type": "string", "enum": ["OK", "OVER_LIMIT"]},
    "counter_key": TEXT,
    "count": WHOLE,
    "limit_remaining": WHOLE,
    "duration_until_reset": WHOLE,
    "override": maybe(TEXT),
}
_OVERRIDE = {
    "id": TEXT,
    "domain": TEXT,
    "rule": TEXT,
    "applies_to": maybe(TEXT),
    **_ENTRIES,
    **_LIMIT,
    "since": TIME,
    "until": TIME,
    "seconds_left": WHOLE,
    "author": TEXT,
    "reason": TEXT,
}
_ASKED = {"domain": TEXT, "entries": {**array(of("Entry")), "minItems": 1, "maxItems": 16}}

_EXPLAINED = {
    "domain": TEXT,
    "rule": maybe(TEXT),
    "name": TEXT,
    "place": TEXT,
    "limit": maybe(TEXT),
    "override": maybe(TEXT),
    "counter_key": maybe(TEXT),
    "count": maybe(WHOLE),
    "limit_remaining": maybe(WHOLE),
    "duration_until_reset": maybe(WHOLE),
    "considered": array(of("Considered")),
}

SCHEMAS: dict[str, Schema] = {
    "Entry": members({"key": TEXT, "value": TEXT}),
    "Error": members({"error": TEXT, "expected": TEXT}),
    "Index": {"type": "object", "additionalProperties": TEXT},
    "OverLimitHits": members({"hits": WHOLE, "first": maybe(TIME), "last": maybe(TIME)}),
    "Reason": members({"reason": TEXT, "state": TEXT, "since": maybe(TIME), "text": TEXT}),
    "Status": members(
        {
            "version": TEXT,
            "pod": TEXT,
            "instance": TEXT,
            "time": TIME,
            "started": TIME,
            "ready": TRUTH,
            "draining": TRUTH,
            "state": TEXT,
            "since": TIME,
            "reasons": array(of("Reason")),
            "revision": maybe(TEXT),
            "loaded": maybe(TIME),
            "domains": WHOLE,
            "rules": WHOLE,
            "errors": WHOLE,
            "backend": TEXT,
            "nodes": array(members({"address": TEXT, "up": TRUTH})),
            "overrides": members({"in_force": WHOLE, "read": maybe(TIME), "error": maybe(TEXT)}),
            "sketches": members({"rules": WHOLE, "bytes": WHOLE, "dropped": WHOLE}),
        }
    ),
    "Top": members(
        {**_TOP, "rows": array(of("TopRow"))},
        {
            "pod": TEXT,
            "instance": TEXT,
            "sketches": WHOLE,
            "sketches_dropped": WHOLE,
            "pods": array(TEXT),
            "pods_failed": array(members({"address": TEXT, "error": TEXT})),
        },
    ),
    "TopRow": members(
        {**_RULE, "limit": maybe(TEXT), "override": maybe(TEXT), "since": TIME, **_ENTRIES},
        {**_COUNTED, **_NEAR, "share_of_rule": NUMBER},
    ),
    "Refusals": members({"kept": WHOLE, "sampled_above_per_second": WHOLE, "refusals": array(of("Refusal"))}),
    "Refusal": members(
        {
            "time": TIME,
            **_RULE,
            **_ENTRIES,
            "requests_per_window": WHOLE,
            "window_seconds": WHOLE,
            "count": maybe(WHOLE),
            "reset_seconds": WHOLE,
            "answered_by": TEXT,
            "policy": maybe(TEXT),
            "trace_id": maybe(TEXT),
            "stands_for": WHOLE,
        }
    ),
    "Rules": members({"total": WHOLE, "offset": WHOLE, "rules": array(of("Rule"))}, {"unknown": TEXT}),
    "Rule": members(
        {
            **_RULE,
            **_LIMIT,
            "shadow_mode": TRUTH,
            "quota_mode": TRUTH,
            "on_backend_error": maybe(TEXT),
            "replaces": array(TEXT),
            "hits": WHOLE,
            "utilization": maybe(NUMBER),
            "refused": of("OverLimitHits"),
            "shadow": of("OverLimitHits"),
            "overrides": array(TEXT),
            "recent": maybe(
                members(
                    {
                        "seconds": NUMBER,
                        "hits": WHOLE,
                        "refused": WHOLE,
                        "shadow": WHOLE,
                        "highest_share_near_limit": maybe(NUMBER),
                    }
                )
            ),
        }
    ),
    "Shadow": members({"total": WHOLE, "offset": WHOLE, "rules": array(of("ShadowRule"))}),
    "ShadowRule": members(
        {
            **_RULE,
            **_LIMIT,
            "shadow_mode": TRUTH,
            "would_be_refused": of("OverLimitHits"),
            "top": array(
                members(
                    {
                        **_ENTRIES,
                        "count": WHOLE,
                        "error": WHOLE,
                        "share_of_rule": NUMBER,
                        "over_since": maybe(TIME),
                    }
                )
            ),
        }
    ),
    "Revisions": members({"revisions": array(of("Revision"))}),
    "Revision": members(
        {
            "time": TIME,
            "before": maybe(TEXT),
            "revision": TEXT,
            "rules": WHOLE,
            "added": WHOLE,
            "changed": WHOLE,
            "removed": WHOLE,
            "stricter": WHOLE,
            "changes": array(of("Change")),
            "unlisted": WHOLE,
            "overrides_began": array(TEXT),
            "overrides_ended": array(TEXT),
            "files": array(TEXT),
            "files_total": WHOLE,
            "errors": array(TEXT),
            "errors_total": WHOLE,
        }
    ),
    "Change": members(
        {
            "kind": {"type": "string", "enum": ["added", "changed", "removed"]},
            **_RULE,
            "before": maybe(TEXT),
            "after": maybe(TEXT),
            "stricter": TRUTH,
            "warning": maybe(TEXT),
        }
    ),
    "Events": members({"events": array(of("Event"))}),
    "Event": members(
        {
            "time": TIME,
            "kind": TEXT,
            "reason": maybe(TEXT),
            "state": maybe(TEXT),
            "text": TEXT,
            "seconds": maybe(NUMBER),
            "revision": maybe(TEXT),
        }
    ),
    "Traffic": members(
        {
            "requests": WHOLE,
            "refused": WHOLE,
            "time": maybe(TIME),
            "seconds": NUMBER,
            "checks_per_second": array(NUMBER),
            "refused_per_second": array(NUMBER),
            "p99_seconds": array(NUMBER),
        }
    ),
    "Backend": members(
        {
            "backend": TEXT,
            "nodes": array(members({"address": TEXT, "up": TRUTH})),
            "errors": WHOLE,
            "durations": members({"up_to_seconds": array(NUMBER), "requests": array(WHOLE)}),
            "fallback_hits": {"type": "object", "additionalProperties": WHOLE},
            "policies": array(members({**_RULE, "policy": TEXT, "checks": WHOLE})),
            "stores": array(members({"store": TEXT, "counters": WHOLE, "limit": WHOLE, "evicted": maybe(WHOLE)})),
        }
    ),
    "Annotations": array(members({"time": WHOLE, "timeEnd": WHOLE, "title": TEXT, "text": TEXT, "tags": array(TEXT)})),
    "Unknown": members(
        {
            "domains": array(members({"domain": TEXT, **_SEEN})),
            "descriptors": array(
                members({"domain": TEXT, "keys": array(TEXT), "last_entries": array(of("Entry")), **_SEEN})
            ),
            "domains_error": WHOLE,
            "descriptors_error": WHOLE,
        }
    ),
    "Counters": members({"domain": TEXT, **_ENTRIES, "counters": array(of("Counter"))}, {"no_limit": TEXT}),
    "Counter": members(_COUNTER),
    "CounterList": members(
        {"domain": TEXT, "all": TRUTH, "counters": array(members({"counter_key": TEXT, "count": WHOLE}))}
    ),
    "ChangedCounters": members({"domain": TEXT, **_ENTRIES, "counters": array(members({**_COUNTER, "before": WHOLE}))}),
    "Reset": members(_ASKED, {"reason": TEXT}),
    "Give": members({**_ASKED, "hits": {"type": "integer", "minimum": 1, "maximum": 4_294_967_295}}, {"reason": TEXT}),
    "Overrides": members(
        {"read": maybe(TIME), "error": maybe(TEXT), "at_most": WHOLE, "overrides": array(of("Override"))}
    ),
    "Override": members(_OVERRIDE),
    "NewOverride": {
        **members({**_ASKED, "limit": TEXT, "reason": TEXT}, {"for": TEXT, "until": TIME}),
        "oneOf": [{"required": ["for"]}, {"required": ["until"]}],
    },
    "SetOverride": members({"override": of("Override"), "before": TEXT, "replaced": maybe(of("Override"))}),
    "EndedOverride": members({"ended": of("Override"), "after": TEXT}),
    "Check": members(
        {
            "domain": TEXT,
            "descriptors": array(
                members(_ENTRIES, {"hitsAddend": WHOLE, "isNegativeHits": TRUTH, "limit": {"type": "object"}})
            ),
        },
        {"hitsAddend": WHOLE},
    ),
    "Explanation": members(
        {
            "revision": maybe(TEXT),
            **_EXPLAINED,
            "code": maybe(TEXT),
            "time": TIME,
            "known": TRUTH,
            "not_limited": maybe(TEXT),
            "backend_error": maybe(TEXT),
            "descriptors": array(of("ExplainedDescriptor")),
        }
    ),
    "ExplainedDescriptor": members(
        {
            **_ENTRIES,
            **_EXPLAINED,
            "applies": TRUTH,
            "code": maybe(TEXT),
            "shadow_mode": TRUTH,
            "hits": WHOLE,
            "node": maybe(TEXT),
            "counters": array(members({"counter_key": TEXT, "node": maybe(TEXT), "count": maybe(WHOLE)})),
            "reasons": array(TEXT),
            "end": maybe(members({"at": TEXT, "why": TEXT})),
            "unlisted": WHOLE,
        }
    ),
    "Considered": members(
        {
            "level": WHOLE,
            "entry": TEXT,
            "rule": TEXT,
            "place": TEXT,
            "limit": maybe(TEXT),
            "verdict": TEXT,
            "why": TEXT,
        }
    ),
    "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
}
"""By name. A newer server may answer more members than these."""
