"""Which rule refuses whom and since when, and which is about to."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import Section, board, chosen_rules, domains
from dashboards.parts import (
    AGO,
    COUNT,
    GREEN,
    NONE_IS_GOOD,
    PER_SECOND,
    RED,
    SECONDS,
    SHARE,
    SIXTH,
    YELLOW,
    Panel,
    Query,
    Steps,
    Text,
    graph,
    number,
    rows,
)
from dashboards.promql import RULES, or_zero, rate

NEAR = 0.8
"""From this share of its limit on, a rule is shown as near its limit: the default of `--near-limit-ratio`."""
_BY_RULE = "domain, rule"
_LEGEND = "{{domain}} {{rule}}"
# Hits on unlimited rules have a metric of their own.
_HITS = f"({or_zero(rate('rls_hits_total', RULES))}) + ({or_zero(rate('rls_unlimited_total', RULES))})"
_HITS_BY_RULE = f"{rate('rls_hits_total', RULES, _BY_RULE)} or {rate('rls_unlimited_total', RULES, _BY_RULE)}"
_USED = Steps(GREEN, {NEAR: YELLOW, 1: RED})


def rules() -> Dashboard:
    """*RLS / Rules and tenants*."""
    return board(
        "rls-rules",
        "Rules and tenants",
        "Which rule refuses whom, since when, and which limit is about to bite. Choose domains and rules above.",
        Section("The chosen rules, now", _now()),
        Section("Every rule", [_every_rule()]),
        Section("Hits over time", _hits()),
        Section("Tenants, and what no rule matches", _tenants()),
        variables=(domains(), chosen_rules()),
    )


def _now() -> list[Panel]:
    since = f"min(rls_rule_over_limit_since_timestamp_seconds{RULES}) * 1000"
    last = f"max(rls_rule_last_over_limit_timestamp_seconds{RULES}) * 1000"
    return [
        number(Text("Hits", "Hits on these rules, in a second."), PER_SECOND, _HITS),
        number(
            Text("Over the limit", "Hits above the limits, in a second, those that shadow mode let pass included."),
            PER_SECOND,
            rate("rls_over_limit_total", RULES),
            steps=Steps(GREEN, {1e-9: YELLOW}),
        ),
        number(
            Text(
                "Refusing since",
                "When hits began to be over the limit: the first one after five minutes without any. Compare it with the"
                " blue marks: a push at that time did it.",
            ),
            AGO,
            since,
            no_value="not refusing",
        ),
        number(Text("Last refusal", "When a hit was over a limit for the last time."), AGO, last, no_value="none"),
        number(
            Text(
                "Fullest counter",
                "The highest share of its limit that any counter of these rules reached in the current or the last window.",
            ),
            SHARE,
            f"max(rls_rule_utilization_ratio{RULES})",
            steps=_USED,
            no_value="no hits",
        ),
        number(
            Text(
                "Decided by policy",
                "Checks in a second that on_backend_error decided, since Redis did not count in time.",
                "when-the-backend-fails",
            ),
            PER_SECOND,
            or_zero(rate("rls_fallback_total", RULES)),
            width=SIXTH,
            steps=NONE_IS_GOOD,
        ),
    ]


def _every_rule() -> Panel:
    by = f"by ({_BY_RULE})"
    return rows(
        Text(
            "Rules",
            "Limit, use and refusals of each rule, and where it stands. `used` above 100 %: hits were over the limit."
            " An unlimited rule has no limit here.",
            "metrics.md#a-rules-identity",
        ),
        {
            "limit": f"max {by} (rls_rule_limit{RULES})",
            "window": f"max {by} (rls_rule_window_seconds{RULES})",
            "used": f"max {by} (rls_rule_utilization_ratio{RULES})",
            "hits": _HITS_BY_RULE,
            "over": rate("rls_over_limit_total", RULES, _BY_RULE),
            "since": f"min {by} (rls_rule_over_limit_since_timestamp_seconds{RULES}) * 1000",
            "place": f"max by ({_BY_RULE}, name, file, line) (rls_rule_info{RULES})",
        },
        {"limit": COUNT, "window": SECONDS, "used": SHARE, "hits": PER_SECOND, "over": PER_SECOND, "since": AGO},
        names={"domain": "domain", "rule": "rule", "name": "name", "file": "file", "line": "line"},
        hidden=["Value #G"],
        sort="over",
        height=11,
        bounds={"used": _USED},
    )


def _hits() -> list[Panel]:
    return [
        graph(
            Text("Hits by rule", "Hits on each rule, in a second."),
            PER_SECOND,
            Query(_HITS_BY_RULE, _LEGEND),
        ),
        graph(
            Text(
                "Use of the limits",
                "The fullest counter of each rule, as a share of its limit. The lines are near the limit (80 %) and at it.",
            ),
            SHARE,
            Query(f'max by ({_BY_RULE}) (rls_rule_utilization_ratio{RULES[:-1]}, period="current"}})', _LEGEND),
            steps=_USED,
        ),
        graph(
            Text(
                "Over the limit by rule", "Hits above the limit, in a second, those that shadow mode let pass included."
            ),
            PER_SECOND,
            Query(rate("rls_over_limit_total", RULES, _BY_RULE), _LEGEND),
        ),
        graph(
            Text(
                "Near the limit",
                "Hits between the near-limit share and the limit, in a second. Refusals come next if they grow.",
            ),
            PER_SECOND,
            Query(rate("rls_near_limit_total", RULES, _BY_RULE), _LEGEND),
        ),
        graph(
            Text(
                "Shadow mode",
                "Hits above the limit that a rule in shadow mode let pass, in a second: what it would refuse.",
            ),
            PER_SECOND,
            Query(rate("rls_shadow_mode_total", RULES, _BY_RULE), _LEGEND),
        ),
        graph(
            Text(
                "Policies by rule",
                "Checks that on_backend_error decided instead of a count, in a second, by rule and policy.",
                "when-the-backend-fails",
            ),
            PER_SECOND,
            Query(rate("rls_fallback_total", RULES, f"{_BY_RULE}, policy"), f"{_LEGEND}: {{{{policy}}}}"),
        ),
    ]


def _tenants() -> list[Panel]:
    chosen = RULES[:-1] + ', value!=""}'
    by = "domain, rule, value"
    hits, over = rate("rls_hits_total", chosen, by), rate("rls_over_limit_total", chosen, by)
    return [
        rows(
            Text(
                "Top values",
                "The twenty values with the most hits over the limit, then with the most hits. Only rules with"
                " detailed_metric or value_to_metric have values here; /api/v1/top on the admin address has those of all"
                " rules.",
                "admin-api.md#top-talkers",
            ),
            {"over": f"topk(20, {over})", "hits": hits, "refused share": f"{over} / ({hits} > 0)"},
            {"hits": PER_SECOND, "over": PER_SECOND, "refused share": SHARE},
            names={"domain": "domain", "rule": "rule", "value": "value"},
            sort="over",
            height=10,
        ),
        graph(
            Text(
                "Does one client hammer?",
                "Of a rule's refusals, the share of the one client, or other combination of entries, that was refused"
                " most. Near 100 %: one hammers. Low: many are refused a little, so the limit may be too small. The runbook"
                " says how to see who it is.",
                "admin-api.md#top-talkers",
            ),
            SHARE,
            Query(f"max by ({_BY_RULE}) (rls_top_refused_ratio{RULES})", _LEGEND),
            largest=1,
            height=10,
        ),
        graph(
            Text(
                "Matched by no rule",
                "Descriptors that no rule matches, by domain, and requests for a domain that has no rules: an EnvoyFilter"
                " that names a wrong domain. Neither is limited.",
                "answers.md#why-is-nothing-limited",
            ),
            PER_SECOND,
            Query(rate("rls_unmatched_descriptors_total", '{domain=~"$domain"}', "domain"), "{{domain}}: no rule"),
            Query(rate("rls_domain_not_found_total"), "unknown domain"),
            height=10,
        ),
    ]
