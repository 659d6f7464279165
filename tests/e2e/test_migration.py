"""`docs/migration.md`, rehearsed: envoyproxy/ratelimit under load gives way to `rls` and comes back, and no hit is lost.

The commands are those of the page, as they are written there, but for addresses and paths.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from examples.mesh.envoy import Envoy, EnvoyConfig
from examples.mesh.http import ask
from examples.mesh.metrics import total
from examples.mesh.processes import Process, free_port, wait_for
from rls.sources.load import load
from tests.differential.reference import SERVER, binary
from tests.e2e.load import Load
from tests.e2e.mesh import Mesh, Redis
from tests.migration_page import PAGE, commands, printed_by, run
from tests.redis_server import missing

# By the year, so that no window ends meanwhile; the page has a minute.
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {unit: year, requests_per_unit: 5}
  - key: company_id
    value: busy
    rate_limit: {unit: year, requests_per_unit: 1000000000}
"""


class GoServer(Process):
    """envoyproxy/ratelimit with the environment of Istio's sample, its root in *data*."""

    def __init__(self, data: Path, redis: Redis, folder: Path, name: str, *, watch_root: str = "false") -> None:
        self.port, http, self.debug_port = free_port(), free_port(), free_port()
        environment = {
            "LOG_LEVEL": "debug",
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": f"127.0.0.1:{redis.port}",
            "USE_STATSD": "false",
            "RUNTIME_ROOT": str(data),
            "RUNTIME_SUBDIRECTORY": "ratelimit",
            "RUNTIME_WATCH_ROOT": watch_root,
            "RUNTIME_IGNOREDOTFILES": "true",
            "HOST": "127.0.0.1",
            "PORT": str(http),
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": str(self.port),
            "DEBUG_HOST": "127.0.0.1",
            "DEBUG_PORT": str(self.debug_port),
        }
        variables = [f"{key}={value}" for key, value in environment.items()]
        super().__init__(name, ["env", "-i", *variables, binary(SERVER)], folder / f"{name}.log")
        self.wait_until(lambda: ask(http, "/healthcheck").status == 200, "it is ready")


class NewServer(Process):
    """`rls serve` with the environment that the page exports, in place of *key_format* with another one or none."""

    def __init__(self, data: Path, redis: Redis, folder: Path, name: str, *, key_format: str = "compat") -> None:
        exported = next(command for command, _ in commands() if command.startswith("export "))
        variables = dict(word.split("=", 1) for word in exported.split()[1:])
        assert variables["RLS_KEY_FORMAT"] == "compat"
        variables["RLS_KEY_FORMAT"] = key_format
        variables["RLS_CONFIG"] = variables["RLS_CONFIG"].replace("/data", str(data))
        variables["RLS_BACKEND"] = variables["RLS_BACKEND"].replace("redis:6379", f"127.0.0.1:{redis.port}")
        self.port, self.http_port = free_port(), free_port()
        # Beside the page: where it listens, and the patience of a busy machine.
        variables |= {
            "RLS_GRPC": f"127.0.0.1:{self.port}",
            "RLS_HTTP": f"127.0.0.1:{self.http_port}",
            "RLS_ADMIN": "off",
        }
        variables |= {"RLS_BACKEND_TIMEOUT": "10s", "RLS_MAX_CONCURRENCY": "0", "RLS_DRAIN_TIMEOUT": "1s"}
        command = ["env", *(f"{key}={value}" for key, value in variables.items() if value)]
        super().__init__(name, [*command, sys.executable, "-m", "rls", "serve"], folder / f"{name}.log")
        self.wait_until(lambda: ask(self.http_port, "/readyz").status == 200, "it is ready")

    def metric(self, name: str) -> float:
        return total(ask(self.http_port, "/metrics").body.decode(), name)


class Service:
    """What the Service of Kubernetes does: it says which pods Envoy asks. A new file is in force at once."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "endpoints.json"

    def configure(self, config: EnvoyConfig) -> None:
        """Let Envoy follow the file, and ask for the domain of the page."""
        config.ratelimit["domain"] = "mesh"
        config.tree["node"] = {"id": "envoy", "cluster": "envoy"}
        cluster = config.clusters["ratelimit"]
        del cluster["load_assignment"], cluster["health_checks"]
        source = {"path_config_source": {"path": str(self.file)}, "resource_api_version": "V3"}
        cluster |= {"type": "EDS", "eds_cluster_config": {"eds_config": source}}

    def select(self, *servers: GoServer | NewServer) -> None:
        """From now on, Envoy asks *servers* only."""
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server.port}}}}
            for server in servers
        ]
        assignment = {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "ratelimit",
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"version_info": str(time.monotonic_ns()), "resources": [assignment]}))
        new.rename(self.file)


def asked(envoy: Envoy, server: GoServer | NewServer) -> int:
    """Calls of Envoy to *server*, of those that it asks now."""
    clusters = envoy.admin("/clusters?format=json").json()["cluster_statuses"]
    hosts: Sequence[Any] = next(one for one in clusters if one["name"] == "ratelimit").get("host_statuses", [])
    for host in hosts:
        if host["address"]["socket_address"]["port_value"] == server.port:
            return next(int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_total")
    return 0


def wait_for_calls(envoy: Envoy, *servers: GoServer | NewServer) -> None:
    """Return when *servers*, and they alone, are asked."""
    wait_for(lambda: envoy.stats("cluster.ratelimit.")["membership_total"] == len(servers), "Envoy asks them alone")
    before = [asked(envoy, server) for server in servers]
    wait_for(
        lambda: all(asked(envoy, server) > count + 20 for server, count in zip(servers, before, strict=True)),
        "each is asked",
    )


def shape(printed: str) -> list[list[str]]:
    """The words of a table, without what differs from run to run."""
    text = re.sub(r"[\d.]+ ms", "… ms", re.sub(r"\d+ s\b", "… s", printed)).replace("per minute", "per year")
    return [line.split() for line in text.splitlines()]


def call_as_the_page_does(command: str, server: GoServer | NewServer, folder: Path) -> None:
    """The page's `rls call` prints what stands there: the counter goes down from one server to the other."""
    printed = run(re.sub(r"(old|new):8081", f"127.0.0.1:{server.port}", command), folder)
    expected = printed_by(command)
    assert [line[:-2] for line in shape(printed)] == [line[:-2] for line in shape(expected)], printed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`/data` of both Deployments, which mount one ConfigMap."""
    rules = tmp_path / "data" / "ratelimit" / "config"
    rules.mkdir(parents=True)
    (rules / "config.yaml").write_text(RULES)
    return tmp_path / "data"


def statuses(envoy: Envoy, headers: Mapping[str, str], times: int) -> list[int]:
    return [envoy.get(headers=headers).status for _ in range(times)]


def scan(redis: Redis, folder: Path) -> str:
    """The page's `redis-cli`."""
    command = "redis-cli --scan --pattern 'mesh_*'"
    if shutil.which("redis-cli") is None:
        missing("needs redis-cli")
    return run(command.replace("redis-cli", f"redis-cli -p {redis.port}"), folder)


def test_the_other_server_gives_way_under_load_and_comes_back(mesh: Mesh, data: Path, tmp_path: Path) -> None:
    binary(SERVER)
    redis = mesh.start_redis()
    old = mesh.keep(GoServer(data, redis, tmp_path, "old"))
    service, acme = Service(tmp_path), mesh.bearer("acme")
    service.select(old)
    envoy = mesh.start_envoy(change=service.configure)

    # Step 1: the rules, which both take.
    assert "0 errors" in run(f"rls check --for envoyproxy {data}/ratelimit/config", tmp_path)
    with Load(envoy.port, mesh.bearer("busy")) as load:
        load.go_on()
        assert statuses(envoy, acme, 2) == [200, 200]

        # Step 2: both count in one Redis, and answer.
        new = mesh.keep(NewServer(data, redis, tmp_path, "new"))
        call_as_the_page_does("rls call old:8081 --domain mesh company_id=acme", old, tmp_path)
        call_as_the_page_does("rls call new:8081 --domain mesh company_id=acme", new, tmp_path)
        assert re.search(r"^mesh_company_id_acme_\d+$", scan(redis, tmp_path), re.MULTILINE)
        service.select(old, new)
        wait_for_calls(envoy, old, new)

        # Step 3: only `rls` answers, and the old Deployment is scaled to 0.
        service.select(new)
        wait_for_calls(envoy, new)
        stop(old)
        load.go_on()
        assert statuses(envoy, acme, 2) == [200, 429]
        assert new.metric("rls_requests_total") > 300
        for name in ("rls_backend_errors_total", "rls_domain_not_found_total", "rls_request_errors_total"):
            assert new.metric(name) == 0

        # And back: the old Deployment is scaled up, and the Service selects it.
        again = mesh.keep(GoServer(data, redis, tmp_path, "again"))
        service.select(new, again)
        wait_for_calls(envoy, new, again)
        service.select(again)
        wait_for_calls(envoy, again)
        new.send(signal.SIGTERM)
        assert new.wait() == 0
        load.go_on()
        assert statuses(envoy, acme, 1) == [429]

    assert set(load.statuses) == {200}
    limits = envoy.limits()
    assert (limits["error"], limits["failure_mode_allowed"]) == (0, 0)
    # Five by Envoy of `acme`, one of them with 429 twice, and two by hand; each once.
    assert sorted(redis.counters()) == sorted([load.answered, 7])


def stop(server: Process) -> None:
    """As Kubernetes does when a Deployment is scaled to 0."""
    server.send(signal.SIGTERM)
    server.wait()


def test_names_of_our_own_begin_at_0_once(mesh: Mesh, data: Path, tmp_path: Path) -> None:
    """The last part of step 3; going back to `compat` finds what was counted before."""
    redis = mesh.start_redis()
    compatible = mesh.keep(NewServer(data, redis, tmp_path, "compat"))
    assert remaining(compatible) == [4, 3]
    own = mesh.keep(NewServer(data, redis, tmp_path, "own", key_format=""))
    assert remaining(own) == [4, 3]
    keys = run(f"redis-cli -p {redis.port} --scan --pattern 'r1|mesh|*'", tmp_path).split()
    pattern = re.search(r"`(r1\|mesh\|company_id=acme\|)60\|\d+`", PAGE)
    assert pattern is not None
    assert len(keys) == 1
    assert keys[0].startswith(pattern[1])
    assert remaining(compatible) == [2, 1]


def test_a_root_that_the_other_server_watches(mesh: Mesh, data: Path, tmp_path: Path) -> None:
    """It reads `config.*` beside `config`, too; ours reads them where `RLS_CONFIG` names them, as the page has it."""
    root = data / "ratelimit"
    for name, key in (("config.yaml", "beside"), ("config.d/more.yaml", "below")):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"domain: {key}\ndescriptors: [{{key: {key}, rate_limit: {{unit: day, requests_per_unit: 1}}}}]\n"
        )
    old = mesh.keep(GoServer(data, mesh.start_redis(), tmp_path, "old", watch_root="true"))
    theirs = ask(old.debug_port, "/rlconfig").body.decode()
    assert all(f"{key}.{key}: " in theirs for key in ("beside", "below"))

    (named,) = re.findall(r"reads only what `RLS_CONFIG` names: `RLS_CONFIG=([^`]+)`", PAGE)
    paths = named.replace("/data", str(data)).split(",")
    loaded = load([*map(Path, paths)], None).rules
    assert sorted(loaded.domains) == ["beside", "mesh"]
    assert "below" in load([*map(Path, paths), root / "config.d"], None).rules.domains


def remaining(server: NewServer) -> list[int]:
    """What two calls leave of the limit of `acme`."""
    command = [sys.executable, "-m", "rls", "call", f"127.0.0.1:{server.port}", "--domain", "mesh", "--json", "-n", "2"]
    done = subprocess.run(
        [*command, "company_id=acme"], env=os.environ, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line)["statuses"][0]["limitRemaining"] for line in done.stdout.splitlines()]
