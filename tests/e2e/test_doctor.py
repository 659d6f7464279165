"""`rls doctor` with a real Envoy: what its filters say, what became of its requests, and what it cannot know."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.servers import Rls
from rls.cli import app
from tests.e2e.mesh import Mesh

HIDDEN = {"exclusion_list": {"patterns": [{"contains": "ratelimit"}]}}


def doctor(envoy: Envoy, rls: Rls) -> dict[str, list[tuple[str, str]]]:
    """State and text of what was found, by what it is about."""
    words = [
        "--grpc",
        f"127.0.0.1:{rls.port}",
        "--http",
        "off",
        "--admin",
        "off",
        "--envoy",
        f"127.0.0.1:{envoy.admin_port}",
    ]
    result = CliRunner().invoke(app, ["doctor", "--json", "--redis", "memory://", *words])
    found: dict[str, list[tuple[str, str]]] = {}
    for one in json.loads(result.stdout):
        found.setdefault(one["about"], []).append((one["state"], one["text"]))
    return found


def other_domain_and_no_statistics(config: EnvoyConfig) -> None:
    config.ratelimit["domain"] = "Users"
    config.ratelimit["timeout"] = "0.015s"
    config.ratelimit["failure_mode_deny"] = True
    config.tree["stats_config"] = {"stats_matcher": HIDDEN}


def test_what_envoy_says(mesh: Mesh) -> None:
    rls = mesh.start_rls()
    envoy = mesh.start_envoy(rls)
    other = mesh.start_envoy(rls, change=other_domain_and_no_statistics)
    assert envoy.get().status == 200

    found = doctor(envoy, rls)
    waits = "a filter asks for the domain users, waits 10000 ms, and without an answer lets the request pass"
    assert found["envoy"] == [("good", waits)]
    assert found["domain"] == [("good", "the server has rules for the domain users")]
    assert found["envoy stats"] == [("good", "1 requests: 1 ok, 0 over limit, 0 without an answer")]
    assert found["timeouts"][0] == ("good", "a call waits at most 10 ms for Redis, and Envoy 10000 ms for the call")

    found = doctor(other, rls)
    waits = "a filter asks for the domain Users, waits 15 ms, and without an answer answers 500"
    assert found["envoy"] == [("good", waits)]
    assert found["domain"] == [("bad", "the server has no rules for the domain Users: every request passes")]
    assert found["envoy stats"] == [("unknown", "Envoy shows no statistics of rate limits")]
    assert found["timeouts"][0] == ("bad", "a call may wait 10 ms for Redis, and Envoy waits 15 ms for the call")

    rls.stop()
    assert envoy.get().status == 200
    found = doctor(envoy, rls)
    assert found["grpc"][0][0] == "bad"
    text = "2 requests: 1 ok, 0 over limit, 1 without an answer, 1 of which passed unlimited"
    assert found["envoy stats"] == [("bad", text)]
