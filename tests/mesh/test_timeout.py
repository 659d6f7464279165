"""How long a request waits for `rls`, and how that fits what `rls` waits for itself."""

import json
import re
import subprocess

import pytest
import yaml

from rls.settings import Settings
from tests.k8s.nodes import program
from tests.mesh.manifests import ISTIO, find, load, of

PAGE = (ISTIO.parent / "docs" / "latency.md").read_text()


def seconds(text):
    return float(text.removesuffix("s"))


def times(objects):
    """Timeout and time of one try, of each filter that limits."""
    patches = [entry["patch"] for each in of(objects, "EnvoyFilter") for entry in each["spec"]["configPatches"]]
    values = [patch.get("value", {}) for patch in patches]
    configs = [value["typed_config"] for value in values if value.get("name") == "envoy.filters.http.ratelimit"]
    return [
        (
            seconds(config["timeout"]),
            seconds(config["rate_limit_service"]["grpc_service"]["retry_policy"]["retry_back_off"]["max_interval"]),
        )
        for config in configs
    ]


def connect(objects):
    """What a connection to `rls` may take."""
    pool = find(objects, "DestinationRule", "rls", "rate-limit")["spec"]["trafficPolicy"]["connectionPool"]
    return seconds(pool["tcp"]["connectTimeout"])


@pytest.mark.parametrize("component", [(), ("at-gateway",), ("waypoint",)], ids=["sidecars", "gateway", "waypoint"])
def test_the_shipped_times_are_those_of_the_page(component):
    found = times(load(*component))

    assert found == [(0.1, 0.08)] * 2
    assert connect(load(*component)) == 0.08
    assert "**100 ms** in `istio/`" in PAGE
    rows = dict(re.findall(r"^\| (?:`(\w+)`.*) \| (\d+) ms \|$", PAGE, re.MULTILINE))
    assert float(rows["max_interval"]) == 1000 * found[0][1]
    assert float(rows["RLS_BACKEND_TIMEOUT"]) == 1000 * Settings.model_fields["backend_timeout"].default
    assert float(rows["RLS_DEFAULT_DEADLINE"]) == 1000 * Settings.model_fields["default_deadline"].default


def test_within_one_try_rls_has_given_up_redis():
    for timeout, one_try in times(load()):
        assert one_try == pytest.approx(0.8 * timeout)
        assert Settings.model_fields["backend_timeout"].default <= one_try / 2


def test_the_patch_of_the_page_changes_both_in_every_filter(tmp_path):
    (shown,) = re.findall(r"^```yaml\n(patches:\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for name in ("at-gateway", "waypoint", None):
        folder = tmp_path / (name or "sidecars")
        folder.mkdir()
        (folder / "istio").symlink_to(ISTIO)
        own = {"resources": ["istio"], "components": [f"istio/{name}"] if name else [], **yaml.safe_load(shown)}
        (folder / "kustomization.yaml").write_text(json.dumps(own))

        built = subprocess.run([program("kubectl"), "kustomize", folder], capture_output=True, text=True, check=True)

        objects = list(yaml.safe_load_all(built.stdout))
        assert times(objects) == [(0.05, 0.04)] * 2
        assert connect(objects) == 0.04
