"""Every object in `istio/` is what Istio's CRDs say, and has no field that they do not know."""

import copy
import re

import pytest

from tests.crds import KINDS, mistakes
from tests.mesh.manifests import find, load, of
from tests.mesh.test_manifests import combinations
from tests.redis_server import missing


def validator():
    """For objects of Kubernetes itself."""
    try:
        import kubernetes_validate
    except ImportError:
        missing("needs the wheel kubernetes-validate")
    return kubernetes_validate


@combinations
def test_it_is_what_the_crds_say(components):
    kubernetes = validator()
    for each in load(*components):
        if each["kind"] in KINDS:
            assert mistakes(each) == [], each["metadata"]
        else:
            kubernetes.validate(each, "1.33", strict=True)
        assert all(
            re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", each["metadata"][name]) for name in ("name", "namespace")
        )


@combinations
def test_no_two_objects_have_one_name(components):
    names = [(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in load(*components)]

    assert len(names) == len(set(names))


@combinations
def test_no_namespace_has_two_telemetries_without_a_selector(components):
    """IST0160 of istioctl analyze, which does not look at targetRefs; which of them holds is open."""
    without = [
        each["metadata"]["namespace"] for each in of(load(*components), "Telemetry") if "selector" not in each["spec"]
    ]

    assert sorted(without) == ["istio-ingress", "users"]


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "message"),
    [
        ("EnvoyFilter", "ratelimit", ("spec", "configPatches", 0, "applyTo"), "HTTP_FILTERS", "is not one of"),
        ("EnvoyFilter", "ratelimit", ("spec", "configPatch"), [], "'configPatch' was unexpected"),
        ("EnvoyFilter", "ratelimit", ("spec", "configPatches", 0, "patch", "operation"), "BEFORE", "is not one of"),
        ("RequestAuthentication", "company-tokens", ("spec", "jwtRules", 0, "audience"), "users", "was unexpected"),
        ("AuthorizationPolicy", "from-gateway", ("spec", "action"), "PERMIT", "is not one of"),
        ("PeerAuthentication", "default", ("spec", "mtls", "mode"), "strict", "is not one of"),
        ("Sidecar", "default", ("spec", "egress", 0, "hosts"), "./*", "is not of type 'array'"),
    ],
)
def test_a_mistake_is_found(kind, name, path, value, message):
    each = copy.deepcopy(find(load(), kind, name))
    *way, last = path
    place = each
    for part in way:
        place = place[part]
    place[last] = value

    assert any(message in text for text in mistakes(each))


def test_an_api_version_that_is_not_there_is_found():
    each = {**find(load(), "EnvoyFilter", "ratelimit"), "apiVersion": "networking.istio.io/v1"}

    assert mistakes(each) == ["no CRD for networking.istio.io/v1 EnvoyFilter"]
