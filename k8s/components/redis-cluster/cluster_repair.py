"""Form a Redis Cluster from empty nodes, or repair one whose nodes lost their address, their data or each other.

Each run is one pass and safe to repeat: it does not touch healthy nodes. The CronJob `redis-keeper` runs it.

REDIS_NODES          HOST:PORT of every expected node, separated by spaces
REDIS_REPLICAS       replicas of each primary; default 1
REDIS_USER, REDIS_PASSWORD_FILE, REDIS_TLS
                     credentials for the nodes; the last is a directory with ca.crt, tls.crt and tls.key
REDIS_DEADLINE       seconds in which the nodes must agree; default 60

Exit codes: 0 cluster healthy, 1 cluster unhealthy; the last line says why, e.g. nodes that cannot be reached.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

SLOTS = 16_384
TIMEOUT_SECONDS = 5


class Line(NamedTuple):
    """What a node knows of another or of itself: a line of CLUSTER NODES."""

    id: str
    bus: int
    flags: frozenset[str]
    primary: str
    is_connected: bool
    slots: frozenset[int]


class Unhealthy(Exception):
    """This pass could not repair it."""


def parse_nodes(text: str) -> dict[str, Line]:
    """The reply of CLUSTER NODES, by id; slots on their way to another node count as where they come from."""
    lines = {}
    for line in text.splitlines():
        node_id, address, flags, primary, _, _, _, link, *ranges = line.split()
        bus = int(address.partition("@")[2].partition(",")[0])
        slots: set[int] = set()
        for one in ranges:
            if not one.startswith("["):
                first, _, last = one.partition("-")
                slots.update(range(int(first), int(last or first) + 1))
        lines[node_id] = Line(node_id, bus, frozenset(flags.split(",")), primary, link == "connected", frozenset(slots))
    return lines


class Node:
    """A node that can be reached.

    Args:
        name: Its host and port.
        client: Asks it.
    """

    def __init__(self, name: str, client: Redis) -> None:
        host, _, port = name.rpartition(":")
        self.name = name
        self.client = client
        # CLUSTER MEET takes no names.
        self.address = (address_of(host, int(port)), int(port))
        self.refresh()

    def refresh(self) -> None:
        """Ask it again for CLUSTER NODES."""
        self.lines = parse_nodes(self.ask("CLUSTER", "NODES"))
        self.me = next(line for line in self.lines.values() if "myself" in line.flags)

    def ask(self, *words: str | int) -> str:
        """The reply as text."""
        # redis-py does not say what it returns.
        client: Any = self.client
        reply = client.execute_command(*words)
        return reply if isinstance(reply, str) else str(reply)

    @property
    def is_empty(self) -> bool:
        """Whether it knows no other node, serves no slots and holds no keys."""
        return len(self.lines) == 1 and not self.me.slots and self.ask("DBSIZE") == "0"

    def has_slots(self) -> bool:
        """Whether it serves any now."""
        self.refresh()
        return bool(self.me.slots)

    @property
    def is_primary(self) -> bool:
        return "master" in self.me.flags

    @property
    def is_healthy(self) -> bool:
        return "cluster_state:ok" in self.ask("CLUSTER", "INFO")


class Cluster:
    """The reachable ones of the expected nodes."""

    def __init__(self, nodes: Sequence[Node], expected: int, replicas: int, deadline_seconds: float) -> None:
        self.nodes = nodes
        self.is_whole = len(nodes) == expected
        self._replicas = replicas
        self._primaries = expected // (1 + replicas)
        self._deadline_seconds = deadline_seconds

    def repair(self) -> None:
        """Form or repair it.

        Raises:
            Unhealthy: It cannot be done now.
        """
        if all(node.is_empty for node in self.nodes):
            if not self.is_whole:
                raise Unhealthy("no cluster yet, and not all expected nodes can be reached")
            self._form()
            return
        self._meet()
        if self.is_whole:
            # All expected nodes are here, so any other node that they know never comes back.
            self._take_over()
            self._forget_lost()
            self._serve_all_slots()
            self._employ_idle()
        self._await_healthy()

    def _form(self) -> None:
        say(f"forming a cluster of {len(self.nodes)} nodes")
        share = -(-SLOTS // self._primaries)
        for number, node in enumerate(self.nodes):
            if number < self._primaries:
                add_slots(node, range(number * share, min(SLOTS, (number + 1) * share)))
            # Else all begin with 0, and sort it out by collisions.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._meet()
        for number, node in enumerate(self.nodes[self._primaries :], 1):
            # Nodes whose numbers differ by the count of primaries tend to share a zone: replicas are set off by one.
            self._replicate(node, self.nodes[number % self._primaries])
        self._await_healthy()

    def _meet(self) -> None:
        """Introduce all nodes to each other, at their current addresses."""
        first = self.nodes[0]
        for node in self.nodes[1:]:
            if not (knows(first, node) and knows(node, first)):
                say(f"{first.name} meets {node.name}")
                first.ask("CLUSTER", "MEET", *node.address, node.me.bus)
        self._eventually(self._all_know_all, "all nodes know each other")

    def _all_know_all(self) -> bool:
        self._refresh()
        return all(knows(node, other) for node in self.nodes for other in self.nodes)

    def _take_over(self) -> None:
        """Let replicas replace lost primaries, where too many are lost for a vote."""
        for node in self.nodes:
            lost = node.lines.get(node.me.primary)
            # Where another replica has taken over, no slots are left with it.
            if lost is not None and lost.slots and lost.id not in self._ids():
                say(f"{node.name} takes over from {lost.id}, which is lost")
                node.ask("CLUSTER", "FAILOVER", "TAKEOVER")
                self._eventually(node.has_slots, "it took over")
        self._refresh()

    def _forget_lost(self) -> None:
        lost = {line.id for node in self.nodes for line in node.lines.values()} - self._ids()
        for node_id in sorted(lost):
            say(f"forgetting {node_id}, which is lost")
            # Within a minute, or the others tell of it again.
            for node in self.nodes:
                if node_id in node.lines and node.me.primary != node_id:
                    node.ask("CLUSTER", "FORGET", node_id)
        if lost:
            self._refresh()

    def _serve_all_slots(self) -> None:
        """Assign slots that nobody serves, whose counters are lost, to idle nodes, or else to the smallest primary."""
        serving = [node for node in self.nodes if node.is_primary and node.me.slots]
        missing = sorted(set(range(SLOTS)) - frozenset().union(*(node.me.slots for node in serving)))
        if not missing:
            return
        idle = [node for node in self.nodes if node.is_primary and not node.me.slots]
        takers = idle[: max(1, self._primaries - len(serving))] or [min(serving, key=lambda node: len(node.me.slots))]
        share = -(-len(missing) // len(takers))
        for number, taker in enumerate(takers):
            slots = missing[number * share : (number + 1) * share]
            say(f"{taker.name} takes {len(slots)} slots that nobody serves")
            add_slots(taker, slots)
            # Of two that claim a slot the higher epoch wins; a new node has 0.
            taker.ask("CLUSTER", "BUMPEPOCH")
        self._eventually(lambda: self._all_agree_on(takers), "all nodes see who serves them")

    def _all_agree_on(self, takers: Sequence[Node]) -> bool:
        self._refresh()
        return all(node.lines[taker.me.id].slots == taker.me.slots for node in self.nodes for taker in takers)

    def _employ_idle(self) -> None:
        """Make empty nodes replicas of the primaries with the fewest replicas."""
        for node in self.nodes:
            if node.is_primary and not node.me.slots:
                serving = [one for one in self.nodes if one.is_primary and one.me.slots]
                self._replicate(node, min(serving, key=self._followers))

    def _followers(self, primary: Node) -> int:
        return sum(node.me.primary == primary.me.id for node in self.nodes)

    def _replicate(self, node: Node, primary: Node) -> None:
        def has_heard() -> bool:
            node.refresh()
            return "master" in node.lines[primary.me.id].flags

        # One that has just taken over is still a replica for those who have not heard of it.
        self._eventually(has_heard, f"{node.name} has heard that {primary.name} is a primary")
        say(f"{node.name} becomes a replica of {primary.name}")
        node.ask("CLUSTER", "REPLICATE", primary.me.id)
        node.refresh()

    def _await_healthy(self) -> None:
        def is_healthy() -> bool:
            return all(node.is_healthy for node in self.nodes)

        self._eventually(is_healthy, "all nodes report a healthy cluster")
        if not self.is_whole:
            raise Unhealthy("not all expected nodes can be reached")

    def _ids(self) -> set[str]:
        return {node.me.id for node in self.nodes}

    def _refresh(self) -> None:
        for node in self.nodes:
            node.refresh()

    def _eventually(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._deadline_seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Unhealthy(f"timed out waiting until {what}")
            time.sleep(0.1)


def address_of(host: str, port: int) -> str:
    """Where *host* can be reached; of a name with several addresses a node may listen on one only."""
    found = {str(place[0]) for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    if len(found) == 1:
        return found.pop()
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
        return str(connection.getpeername()[0])


def knows(node: Node, other: Node) -> bool:
    """Whether *node* has a connection to *other*, or is it."""
    line = node.lines.get(other.me.id)
    return line is not None and (
        node is other or (line.is_connected and not line.flags & {"handshake", "fail", "noaddr"})
    )


def add_slots(node: Node, slots: Sequence[int]) -> None:
    """Let *node* serve *slots*."""
    ranges: list[list[int]] = []
    for slot in slots:
        if ranges and slot == ranges[-1][1] + 1:
            ranges[-1][1] = slot
        else:
            ranges.append([slot, slot])
    node.ask("CLUSTER", "ADDSLOTSRANGE", *(bound for one in ranges for bound in one))


def reachable(env: Mapping[str, str]) -> list[Node]:
    """The nodes that respond, in the order of REDIS_NODES."""
    options: dict[str, Any] = {
        "username": env.get("REDIS_USER"),
        "socket_timeout": TIMEOUT_SECONDS,
        # redis-py tries ten times: a node that hangs would take longer than the job may. Its next turn is in a minute.
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
    }
    if "REDIS_PASSWORD_FILE" in env:
        options["password"] = Path(env["REDIS_PASSWORD_FILE"]).read_text("utf-8").strip()
    if "REDIS_TLS" in env:
        tls = Path(env["REDIS_TLS"])
        options |= {"ssl": True, "ssl_ca_certs": str(tls / "ca.crt"), "ssl_check_hostname": True}
        options |= {"ssl_certfile": str(tls / "tls.crt"), "ssl_keyfile": str(tls / "tls.key")}
    nodes = []
    for name in env["REDIS_NODES"].split():
        host, _, port = name.rpartition(":")
        try:
            nodes.append(Node(name, Redis(host, int(port), **options)))
        except (RedisError, OSError) as error:
            say(f"{name} cannot be reached: {error}")
    return nodes


def say(text: str) -> None:
    print(text, flush=True)


def main(env: Mapping[str, str]) -> int:
    """The exit code."""
    nodes = reachable(env)
    replicas, deadline_seconds = int(env.get("REDIS_REPLICAS", "1")), float(env.get("REDIS_DEADLINE", "60"))
    try:
        Cluster(nodes, len(env["REDIS_NODES"].split()), replicas, deadline_seconds).repair()
    except (Unhealthy, RedisError, OSError) as error:
        say(f"cluster unhealthy: {error}")
        return 1
    finally:
        for node in nodes:
            node.client.close()
    say("cluster healthy")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
