"""`rls check --envoyfilter`: rules and actions that do not go together, each fault with its exact text; and those that do."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rls.cli import app
from rls.config.compile import compile_file
from rls.core.match import match
from rls.core.model import Entry
from rls.core.rules import Domain
from rls.mesh.checks.rules import rules_for

ROOT = Path(__file__).parents[2]
FILTER = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      patch:
        value:
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
            domain: mesh
            rate_limits:
              - actions: [{request_headers: {header_name: x-company, descriptor_key: company_id}}]
              - actions: [{remote_address: {}}]
"""
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: minute, requests_per_unit: 100, replaces: [{name: ip}]}
  - key: remote_address
    rate_limit: {name: ip, unit: minute, requests_per_unit: 20}
"""
WITH_PATH = """\
              - actions: [{remote_address: {}}, {request_headers: {header_name: ":path", descriptor_key: path}}]
"""
BELOW = """\
    descriptors:
      - key: path
        rate_limit: {unit: second, requests_per_unit: 20}
"""
LOCAL = """\
---
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
  rate_limits: [{actions: [{remote_address: {}}, {remote_address: {}}]}]
"""


def checked(*options: str) -> list[str]:
    return CliRunner().invoke(app, ["check", *options]).stdout.splitlines()


@pytest.mark.parametrize(
    ("rules", "actions", "expected"),
    [
        (RULES, FILTER, []),
        (RULES, FILTER + LOCAL, []),
        (RULES, FILTER.replace("rate_limits:", "rateLimits:").replace("remote_address", "remoteAddress"), []),
        (
            RULES,
            FILTER.replace("domain: mesh", "domain: Mesh"),
            [
                "filter.yaml:9:13: no rule is for the domain `Mesh`, so every request passes; the rules have mesh",
                "rules.yaml:3:5: note: no rate limit filter names the domain `mesh`",
            ],
        ),
        (
            RULES,
            FILTER.replace("descriptor_key: company_id", "descriptor_key: company"),
            [
                ("filter.yaml:12:17: warning: no rule is for the descriptor [company]; "
                "those of `mesh` begin with company_id, remote_address"),
                ("rules.yaml:3:5: warning: no descriptor reaches `company_id`: "
                "no list of actions makes its keys, in their order"),
            ],
        ),
        (
            RULES + BELOW,
            FILTER,
            [
                ("rules.yaml:8:9: note: 20/second refuses nothing where a request is also counted for `remote_address`, "
                "20/minute at rules.yaml:5, which refuses it sooner"),
                ("rules.yaml:8:9: warning: no descriptor reaches `remote_address.path`: "
                "no list of actions makes its keys, in their order"),
            ],
        ),
        (
            RULES.replace(", replaces: [{name: ip}]", "") + BELOW,
            FILTER + WITH_PATH,
            [
                ("rules.yaml:8:9: warning: 20/second refuses nothing: each such request is also counted for "
                "`remote_address`, 20/minute at rules.yaml:5, which refuses it sooner"),
            ],
        ),
        (RULES.replace(", replaces: [{name: ip}]", "") + BELOW.replace("20}", "2}"), FILTER + WITH_PATH, []),
        (
            RULES,
            FILTER.replace("header_name: x-company", 'header_name: ":path"'),
            ["rules.yaml:5:5: warning: `ip` never counts: every request also has [company_id], whose limits replace it"],
        ),
        (
            RULES,
            "a: 1\n",
            ["filter.yaml:1:1: neither a rate limit filter nor `rate_limits` found, expected an EnvoyFilter"],
        ),
        (RULES, "a: [1\n", ["filter.yaml:1:4: a list in brackets that is not closed, expected `]`"]),
        (RULES.replace("unit: minute", "unit: minutes", 1), FILTER.replace("mesh", "x"), [
            "rules.yaml:4:33: unknown unit `minutes`, did you mean `minute`?",
        ]),
    ],
    ids=["good", "local", "camel case", "domain", "key", "unreached", "below", "below and lower", "replaced", "other",
         "no YAML", "rules with an error"],
)  # fmt: skip
def test_what_does_not_go_together(
    rules: str, actions: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(rules)
    Path("filter.yaml").write_text(actions)
    assert checked("rules.yaml", "--envoyfilter", "filter.yaml") == expected


def test_what_a_request_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(RULES)
    Path("filter.yaml").write_text(FILTER)
    result = CliRunner().invoke(app, ["check", "rules.yaml", "--cost", "--envoyfilter", "filter.yaml"])
    assert "one of these; a request has at most 2\n" in result.stderr


def test_limits_of_another_file_belong_to_its_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Istio's task: the filter in one EnvoyFilter, the actions in another, on the virtual host."""
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(
        "domain: ratelimit\ndescriptors:\n"
        '  - {key: PATH, value: "/productpage", rate_limit: {unit: minute, requests_per_unit: 1}}\n'
        "  - {key: PATH, rate_limit: {unit: minute, requests_per_unit: 100}}\n"
    )
    Path("filter.yaml").write_text(FILTER.partition("            rate_limits:")[0].replace("mesh", "ratelimit"))
    actions = "[{request_headers: {header_name: ':path', descriptor_key: KEY}}]"
    both = ("rules.yaml", "--envoyfilter", "filter.yaml", "--envoyfilter", "host.yaml")
    for key, faults in (("PATH", 0), ("path", 3)):
        Path("host.yaml").write_text(
            f"patch: {{value: {{rate_limits: [{{actions: {actions}}}]}}}}\n".replace("KEY", key)
        )
        assert len(checked(*both)) == faults
    assert CliRunner().invoke(app, ["check", *both, "--envoyfilter", "gone.yaml"]).exit_code == 2


OWN = sorted(
    [(ROOT / "config/descriptors.yaml", path) for path in (ROOT / "istio").rglob("envoyfilter*.yaml") if "rate_limits" in path.read_text()]
    + [(path.parent / "rules.yaml", path) for path in (ROOT / "examples/works-with").rglob("envoy.yaml")]
)  # fmt: skip


@pytest.mark.parametrize(("rules", "actions"), OWN, ids=[str(path.relative_to(ROOT)) for _, path in OWN])
def test_our_own_go_together(rules: Path, actions: Path) -> None:
    assert checked(str(rules), "--envoyfilter", str(actions)) == []


VALUES = ("x", "y", "z")
DESCRIPTORS: st.SearchStrategy[list[Any]] = st.recursive(
    st.just([]),
    lambda below: st.lists(
        st.fixed_dictionaries({
            "key": st.sampled_from(["a", "b"]),
            "value": st.sampled_from(["", "x", "y*", "*"]),
            "limit": st.booleans(),
            "below": below,
        }),
        max_size=3,
        unique_by=lambda one: (one["key"], one["value"]),
    ),
    max_leaves=6,
)  # fmt: skip


def yaml_of(descriptors: list[Any]) -> str:
    items = []
    for one in descriptors:
        limit = "rate_limit: {unit: minute, requests_per_unit: 1}, " if one["limit"] else ""
        items.append(f"{{key: {one['key']}, value: '{one['value']}', {limit}descriptors: {yaml_of(one['below'])}}}")
    return f"[{', '.join(items)}]"


@settings(max_examples=60)
@given(
    DESCRIPTORS,
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, *VALUES])), min_size=1, max_size=3),
)
def test_rules_that_a_descriptor_reaches_are_those_that_the_engine_finds(
    descriptors: list[Any], shape: list[Any]
) -> None:
    """For values that each rule tells apart: all that are found are foreseen."""
    (document,) = compile_file("f", f"domain: d\ndescriptors: {yaml_of(descriptors)}\n".encode()).documents
    domain = Domain("d", document.root)
    foreseen = rules_for(domain, tuple(shape))
    found = set()
    for values in product(*[VALUES if value is None else (value,) for _, value in shape]):
        matched = match(domain, tuple(Entry(key, value) for (key, _), value in zip(shape, values, strict=True)))
        if matched is not None:
            found.add(matched.rule)
    assert found <= foreseen
    if all(value is not None for _, value in shape):
        assert found == foreseen
