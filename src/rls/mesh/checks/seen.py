"""What can be seen of limits: statistics and the access log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from rls.mesh.filters import Limited
from rls.mesh.findings import Found, place
from rls.mesh.model import Proxy
from rls.mesh.trees import Tree, text, tree, trees

_COUNTERS = ("ok", "over_limit", "error", "failure_mode_allowed")
_RULE = "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:rule)%"


def of_proxy(limited: Limited) -> Iterator[Found]:
    """At one proxy, where it limits."""
    for each, one in limited.filters():
        prefix = text(one.config, "stat_prefix")
        hidden: dict[str, None] = {}
        for name in each.chain.clusters():
            cluster = limited.proxy.clusters.get(name)
            start = f"cluster.{cluster.stat_name if cluster else name}.ratelimit."
            for counter in _COUNTERS:
                if _hides(limited.proxy, start + (f"{prefix}." if prefix else "") + counter):
                    hidden[counter] = None
        if hidden:
            yield Found(
                "hidden_statistics", f"the statistics {', '.join(hidden)} of limits are hidden", place(each.chain)
            )
        logs = json.dumps(trees(each.chain.manager, "access_log"))
        if _RULE not in logs:
            yield Found("no_log_of_rules", "no access log names the rule that limited a request", place(each.chain))


def _hides(proxy: Proxy, name: str) -> bool:
    matcher = proxy.stats
    if matcher.get("reject_all"):
        return True
    if "inclusion_list" in matcher:
        return not any(_matches(each, name) for each in trees(matcher, "inclusion_list", "patterns"))
    return any(_matches(each, name) for each in trees(matcher, "exclusion_list", "patterns"))


def _matches(pattern: Tree, name: str) -> bool:
    wanted = {way: text(pattern, way) for way in ("prefix", "suffix", "exact", "contains")}
    if pattern.get("ignore_case"):
        name, wanted = name.lower(), {way: value.lower() for way, value in wanted.items()}
    if expression := text(tree(pattern, "safe_regex"), "regex"):
        try:
            return re.fullmatch(expression, name) is not None
        except re.error:  # valid for RE2 and not here; then nothing can be said
            return True
    return (
        (bool(wanted["prefix"]) and name.startswith(wanted["prefix"]))
        or (bool(wanted["suffix"]) and name.endswith(wanted["suffix"]))
        or (bool(wanted["contains"]) and wanted["contains"] in name)
        or (bool(wanted["exact"]) and name == wanted["exact"])
    )
