"""The configurations of `examples/works-with`: what each product makes of Envoy, with its places for ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from examples.mesh.envoy import Tree

FOLDER = Path(__file__).parents[2] / "examples" / "works-with"
PORT_OF_RLS = 8081


class ProductConfig:
    """`envoy.yaml` of *product*, in front of the service on port *users*, asking the `rls` on port *rls*.

    Attributes:
        filter: What the HTTP ratelimit filter is configured with.
    """

    def __init__(self, product: str, *, users: int, rls: int, folder: Path) -> None:
        self.tree: Tree = yaml.safe_load((FOLDER / product / "envoy.yaml").read_text())
        self.access_log = folder / "no-access.log"
        resources = self.tree["static_resources"]
        (listener,) = resources["listeners"]
        # Port 0: Envoy takes a free one, and says which.
        for place in (self.tree["admin"], listener):
            place["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        for cluster in resources["clusters"]:
            for address in _addresses(cluster["load_assignment"]):
                asked = address["port_value"] == PORT_OF_RLS
                address["port_value"] = rls if asked else users
                if not asked:
                    self.upstream: str = cluster.get("alt_stat_name", cluster["name"])
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        (self.filter,) = (
            entry["typed_config"]
            for entry in manager["http_filters"]
            if entry["typed_config"]["@type"].endswith(".ratelimit.v3.RateLimit")
        )


def _addresses(assignment: Tree) -> Iterator[Tree]:
    for locality in assignment["endpoints"]:
        for endpoint in locality["lb_endpoints"]:
            yield endpoint["endpoint"]["address"]["socket_address"]
