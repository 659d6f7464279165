"""The guided tour: what a mesh with limits does, scene by scene, each shown as it happens."""

from __future__ import annotations

import time

from rich.console import Console

from examples.demo import show
from examples.demo.clients import Client, Curl, Tally
from examples.mesh.processes import NotSo, wait_for
from tests.mesh.running import HTTPS
from tests.mesh.stage import Stage
from tests.mesh.world import HOST
from tests.redis_cluster import PRIMARIES
from tests.redis_server import RedisServer

HOUR = 3600
ENOUGH_SECONDS = 45
"""What the tour takes at most, on a slow machine."""

ACME = Client("a company, 10 requests an hour", 12, company="acme", source="127.0.0.2")
CLIENTS = (
    ACME,
    Client("a company that has paid for more", 12, company="globex", source="127.0.0.2"),
    Client("an address without a token, 4 an hour; a company was not charged for it", 6, source="127.0.0.2"),
    Client("another address has a limit of its own", 3, source="127.0.0.3"),
    Client(
        "a token that says globex, signed by somebody else: its address is counted",
        6,
        token="FORGED",
        source="127.0.0.4",
    ),
    Client(
        "the same address, which says that it is another: nobody believes it",
        2,
        address="203.0.113.7",
        source="127.0.0.4",
    ),
)


def tour(console: Console, stage: Stage, tokens: dict[str, str]) -> None:
    """All scenes."""
    _introduce(console, stage)
    show.wait_for_a_full_window(console, HOUR, ENOUGH_SECONDS, "hour")
    port = stage.gateway.placed.ports[HTTPS]
    curl = Curl(f"http://127.0.0.1:{port}/users", tokens, host=HOST)
    tallies = [show.send(console, curl, client) for client in CLIENTS]
    _refusal(console, stage, curl, tallies[0])
    _writing(console, stage, tokens)
    _kill_a_primary(console, stage, curl, tallies[1])
    _edit_the_rules(console, stage, curl, tallies[0])
    console.print(show.table(tallies))
    limits = stage.sidecar.limits()
    console.print("\nThe sidecar's statistics: " + ", ".join(f"{name} {count}" for name, count in limits.items()))


def _scene(console: Console, title: str, story: str) -> None:
    console.rule(f"[bold]{title}[/]: {story}", align="left", style="dim")


def _introduce(console: Console, stage: Stage) -> None:
    gateway, sidecar = stage.gateway.placed.ports[HTTPS], stage.sidecar.port
    ports = " and ".join(str(rls.port) for rls in stage.rls)
    nodes = ", ".join(str(server.port) for server in stage.redis.servers)
    console.print(f"""\
A request comes to the [bold]gateway[/] on port {gateway} and goes by mTLS to the [bold]sidecar[/] on port {sidecar},
two Envoys with what istiod would make of the manifests in istio/. The sidecar asks [bold]rls[/]
on ports {ports} before the [bold]user service[/] on port {stage.users.port} gets the request.
They count in a [bold]Redis Cluster[/], three primaries and their replicas, on ports
{nodes}.
Timeouts are longer than in the manifests, for busy laptops.
""")
    chain = " → ".join(each["name"].rpartition(".")[2] for each in stage.sidecar.placed.http_filters)
    console.print(f"The sidecar's filters: {chain}\n")


def _refusal(console: Console, stage: Stage, curl: Curl, tally: Tally) -> None:
    """One refusal, whole, and what the sidecar logged of it."""
    _scene(console, "A refusal", "which rule, and when to come again")
    show.command(console, curl.line(tally.client))
    (answer,) = curl.send(tally.client)
    tally.answers.append(answer)
    show.answer_whole(console, answer)
    console.print("The sidecar's access log:")
    (refused,) = wait_for(
        lambda: [line for line in stage.sidecar.access_log() if line["path"] == "/users"], "it in the access log"
    )
    show.logged(console, refused)


def _writing(console: Console, stage: Stage, tokens: dict[str, str]) -> None:
    _scene(console, "Writing needs a valid token", "the AuthorizationPolicy that goes with letting invalid ones on")
    for variable in ("FORGED", "GLOBEX"):
        headers = {"authorization": f"Bearer {tokens[variable]}", "content-type": "application/json"}
        body = b'{"name": "Alan", "email": "alan@example.com"}'
        status = stage.gateway.request(headers, method="POST", body=body).status
        console.print(f"POST /users as {variable.lower()}: [{'green' if status == 201 else 'red'}]{status}[/]")
    console.print()


def _kill_a_primary(console: Console, stage: Stage, curl: Curl, tally: Tally) -> None:
    """The one that counts for a company; its replica takes over, with the counts."""
    name = tally.client.name
    killed = _holder(stage, name.encode())
    _scene(console, "A primary of Redis is killed", f"the one on port {killed.port}, which counts for {name}")
    before = _remaining(curl, tally)
    console.print(f"{name} has {before} left.")
    killed.kill()
    begin = time.monotonic()
    others = 0

    def is_enforced() -> bool:
        return all(one.get("/readyz").json()["state"] == "enforced" for one in stage.rls)

    def counted() -> str:
        """What is left as Redis counts it, once no `rls` counts by itself any more."""
        nonlocal others
        was_enforced, left = is_enforced(), _remaining(curl, tally)
        if was_enforced and is_enforced():
            return left
        others += 1
        return ""

    after = wait_for(counted, f"{name} is counted again")
    seconds = time.monotonic() - begin
    wait_for(lambda: len(stage.redis.primaries()) == PRIMARIES, "a replica has taken over")
    heir = _holder(stage, name.encode())
    console.print(f"After {seconds:.1f} s its replica on port {heir.port} counts, and had the counts: {after} left.")
    console.print(
        f"Of the {others} requests in the meantime, rls counted by itself those that Redis missed, as on_backend_error"
    )
    console.print("says: local. Redis got them afterwards.\n")


def _remaining(curl: Curl, tally: Tally) -> str:
    """How much the company has left, as one more answer says; nothing where that was not counted."""
    (answer,) = curl.send(tally.client)
    return answer.headers.get("x-ratelimit-remaining", "")


def _holder(stage: Stage, text: bytes) -> RedisServer:
    """The primary that holds a counter with *text* in its key."""
    for server in stage.redis.primaries():
        with stage.redis.client(server) as client:
            if any(text in key for key in client.scan_iter()):
                return server
    raise NotSo(f"no primary holds a counter of {text.decode()}")


def _edit_the_rules(console: Console, stage: Stage, curl: Curl, tally: Tally) -> None:
    _scene(console, "The rules are edited", "10 an hour become 100, in the file, while all runs")
    path = stage.rules
    show.command(console, f"sed -i 's/requests_per_unit: 10$/requests_per_unit: 100/' {path.name}")
    path.write_text(path.read_text().replace("requests_per_unit: 10\n", "requests_per_unit: 100\n"))
    begin = time.monotonic()
    # Where rls counts by itself for a moment, acme may pass under the old rules, too.
    wait_for(lambda: _limit(curl, tally) == "100", "acme passes, with 100 an hour")
    console.print(f"After {time.monotonic() - begin:.1f} s acme passes, with 100 an hour.\n")


def _limit(curl: Curl, tally: Tally) -> str:
    """Of the company, as an answer says that passes; nothing where it does not."""
    (answer,) = curl.send(tally.client)
    return answer.headers["x-ratelimit-limit"].partition(",")[0] if answer.status == 200 else ""
