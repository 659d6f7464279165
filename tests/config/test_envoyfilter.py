"""The `rate_limits` of Envoy's configuration, wherever they stand."""

from pathlib import Path

import pytest

from rls.config.envoyfilter import read_filters
from rls.errors import ConfigError

ISTIO = Path(__file__).parents[2] / "istio"
TYPE = '"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit'
FILES = sorted(path for path in ISTIO.rglob("envoyfilter*.yaml") if "rate_limits:" in path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ISTIO)))
def test_our_own_files(path: Path) -> None:
    found = read_filters(str(path), path.read_bytes())
    assert found.domains == ["mesh"]
    kinds = [[kind for action in policy.fields["actions"] for kind in action] for policy in found.in_force]
    assert kinds == [["metadata"], ["remote_address"]]


def test_a_list_in_the_filter_hides_those_of_routes() -> None:
    routes = "routes: [{rate_limits: [{actions: [{generic_key: {descriptor_value: r}}]}]}]"
    own = f"filter: {{{TYPE}, domain: a, rate_limits: [{{actions: []}}]}}"
    assert [policy.fields for policy in read_filters("f", f"{routes}\n{own}".encode()).in_force] == [{"actions": []}]
    bare = f"{routes}\nfilter: {{{TYPE}, domain: a}}"
    (policy,) = read_filters("f", bare.encode()).in_force
    assert policy.fields["actions"] == [{"generic_key": {"descriptor_value": "r"}}]
    assert str(policy.place) == "f:1:25"


def test_a_filter_takes_the_items_of_its_stage() -> None:
    text = f"a: {{rate_limits: [{{stage: 1}}, {{stage: 2}}, {{}}]}}\nfilter: {{{TYPE}, stage: 1}}"
    assert [policy.fields for policy in read_filters("f", text.encode()).in_force] == [{"stage": 1}]


def test_names_in_camel_case_and_several_documents() -> None:
    text = "rateLimits: [{actions: [{requestHeaders: {headerName: X-A, descriptorKey: aB}}]}]\n---\na: [1, {rate_limits: [{}]}]"
    first, second = read_filters("f", text.encode()).in_force
    assert first.fields["actions"] == [{"request_headers": {"header_name": "X-A", "descriptor_key": "aB"}}]
    assert second.place.line == 3


def test_what_is_no_list_of_items_is_passed_over() -> None:
    assert (
        read_filters("f", b"rate_limits: 5\na: {rate_limits: [x]}\nb: {descriptors: [{rate_limit: {}}]}").limits == []
    )
    with pytest.raises(ConfigError):
        read_filters("f", b"[")
