"""`make latency`: what limits add to the time of a request, at a sidecar as the manifests in istio/ make it.

Three sidecars stand side by side in one run: without tokens and limits, with tokens verified, and with tokens and
limits. Each gets requests at one steady rate, in turns, so that what the machine does besides hits all of them alike.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benches.machine import describe
from examples.mesh.processes import Missing
from examples.mesh.servers import Rls, UserService
from examples.tokens import Issuer
from tests.certs import Authority
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import Object, load
from tests.mesh.running import SERVICE, RunningProxy
from tests.mesh.world import TO_RLS, USERS_SIDECAR, rendered
from tests.redis_server import RedisServer, newest_binary, running

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: company, unit: hour, requests_per_unit: 1000000000, replaces: [{name: ip}]}
  - key: remote_address
    rate_limit: {name: ip, unit: hour, requests_per_unit: 1000000000}
"""
CLIENTS = 10
BEFORE, VERIFIED, LIMITED = "neither", "tokens", "tokens and limits"


def kept(case: str) -> list[Object]:
    """The objects of a case; without what demands mTLS, which the load does not speak."""
    left_out = {BEFORE: {"EnvoyFilter", "RequestAuthentication"}, VERIFIED: {"ratelimit", "ratelimit-istio-1.27"}}
    gone = left_out.get(case, set()) | {"PeerAuthentication", "from-gateway"}
    return [each for each in load() if not gone & {each["kind"], each["metadata"]["name"]}]


def send(port: int, token: str, rate: int, seconds: int, log: Path) -> list[float]:
    """Milliseconds of each request; *rate* requests a second, come what may."""
    number = rate * seconds // CLIENTS
    command = [
        "h2load",
        "--h1",
        f"-c{CLIENTS}",
        f"-n{number * CLIENTS}",
        f"--rps={rate / CLIENTS:g}",
        f"--log-file={log}",
    ]
    command += ["-H", f"authorization: Bearer {token}", f"http://127.0.0.1:{port}/users/1"]
    log.unlink(missing_ok=True)
    subprocess.run(command, check=True, capture_output=True)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    if failed := [row for row in rows if row[1] != "200"]:
        sys.exit(f"{len(failed)} of {len(rows)} requests were answered with {failed[0][1]}")
    return [int(row[2]) / 1000 for row in rows]


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def bounds(rls: Rls, name: str) -> dict[float, float]:
    """A histogram of rls: how many took up to so many seconds."""
    lines = re.findall(rf'^{name}_bucket{{.*?le="([^"]+)".*?}} (\S+)$', rls.get("/metrics").body.decode(), re.MULTILINE)
    found: dict[float, float] = {}
    for bound, count in lines:
        found[float(bound)] = found.get(float(bound), 0) + float(count)
    return found


def within(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Milliseconds that this share of what was observed in between took at most; a bound of the histogram."""
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = max(counts.values())
    return 1000 * min(bound for bound, count in counts.items() if count >= share * total)


def measure(rate: int, seconds: int, rounds: int) -> None:
    issuer, authority = Issuer(), Authority()
    token = issuer.token({"company_id": "acme", "sub": "ada"}, lifetime=36_000)
    with TemporaryDirectory(prefix="rls-latency-") as name, ExitStack() as stack:
        folder = Path(name)
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        redis = stack.enter_context(running(RedisServer(folder, newest_binary())))
        rls = stack.enter_context(Rls(rules, folder, ("--backend", redis.url, "--drain-timeout", "0s")))
        users = stack.enter_context(UserService(folder))
        endpoints = {TO_RLS: [Endpoint(rls.port)], "inbound|9000||": [Endpoint(users.port)]}
        proxies = {}
        for number, case in enumerate((BEFORE, VERIFIED, LIMITED)):
            made = rendered(kept(case), USERS_SIDECAR, jwks=issuer.jwks())
            proxies[case] = stack.enter_context(RunningProxy(made, endpoints, authority, folder / f"sidecar-{number}"))
        ports = {case: proxy.placed.ports[SERVICE] for case, proxy in proxies.items()}
        for case, port in ports.items():
            send(port, token, rate, 1, folder / f"warm-{case}")
        took: dict[str, list[list[float]]] = {case: [] for case in ports}
        before = {name: bounds(rls, name) for name in ("rls_check_duration_seconds", "rls_backend_duration_seconds")}
        for _ in range(rounds):
            for case, port in ports.items():
                took[case].append(send(port, token, rate, seconds, folder / "log"))
        after = {name: bounds(rls, name) for name in before}
        limits = proxies[LIMITED].limits()
    _report(took, rate, seconds, rounds)
    for name, counts in before.items():
        p50, p99 = (within(counts, after[name], share) for share in (0.5, 0.99))
        print(f"{name}: p50 ≤ {p50:g} ms, p99 ≤ {p99:g} ms")
    print("asked: " + ", ".join(f"{name} {count}" for name, count in limits.items()))


def _report(took: dict[str, list[list[float]]], rate: int, seconds: int, rounds: int) -> None:
    for name, value in describe().items():
        print(f"{name}: {value}")
    print(f"{rate} requests/s over {CLIENTS} connections, {rounds} rounds of {seconds} s for each case\n")
    print("| sidecar with | p50 ms | p95 ms | p99 ms | p99 of each round |")
    print("|---|---|---|---|---|")
    for case, each in took.items():
        together = [value for values in each for value in values]
        p50, p95, p99 = (quantile(together, share) for share in (0.5, 0.95, 0.99))
        of_rounds = ", ".join(f"{quantile(values, 0.99):.2f}" for values in each)
        print(f"| {case} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {of_rounds} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make latency", description="What limits add to the time of a request.")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=4, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        measure(arguments.rate, arguments.seconds, arguments.rounds)
    except Missing as error:
        sys.exit(f"latency: {error}")


if __name__ == "__main__":
    main()
