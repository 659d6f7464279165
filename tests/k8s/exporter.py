"""The exporter beside each Redis node, started as the StatefulSet of k8s/ starts it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from examples.mesh.http import ask
from examples.mesh.processes import Process, free_port
from tests.k8s.nodes import COMPONENT, Nodes
from tests.redis_server import missing

ADDRESS = "rediss://localhost:6379"


def exporter_binary() -> str:
    """Path of redis_exporter: REDIS_EXPORTER_BINARY, or Debian's; without one the test skips, and fails where `CI=true`."""
    return (
        os.environ.get("REDIS_EXPORTER_BINARY")
        or shutil.which("redis_exporter")
        or shutil.which("prometheus-redis-exporter")
        or missing("needs redis_exporter: Debian's prometheus-redis-exporter")
    )


class RedisExporter(Process):
    """That of node *number*; `address` is where Prometheus scrapes it."""

    def __init__(self, nodes: Nodes, number: int, folder: Path) -> None:
        assert nodes.secrets is not None
        spec = yaml.safe_load((COMPONENT / "statefulset.yaml").read_text())["spec"]["template"]["spec"]
        (container,) = (one for one in spec["containers"] if one["name"] == "exporter")
        assert any(ADDRESS in word for word in container["args"])
        node = f"rediss://localhost:{nodes.servers[number].port}"
        arguments = [word.replace(ADDRESS, node) for word in container["args"]]
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(
            f"exporter-{number}",
            [exporter_binary(), *arguments, f"--web.listen-address={self.address}"],
            folder / f"exporter-{number}.log",
            env=_environment(container, nodes.secrets),
        )
        self.wait_until(lambda: ask(port, "/health").status == 200, "it listens")


def _environment(container: dict[str, Any], secrets: Path) -> dict[str, str]:
    """The variables of *container*, its secrets and its certificates turned into those in *secrets*."""
    found = {}
    for variable in container["env"]:
        if "value" in variable:
            found[variable["name"]] = variable["value"].replace("/etc/redis/tls", str(secrets / "redis-tls"))
        else:
            key = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = (secrets / key["name"] / key["key"]).read_text()
    return found
