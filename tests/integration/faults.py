"""Faults in real servers, and the alerts that each must fire."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from pathlib import Path

from rls.api.client import Client
from tests.alerts.running import DAYS_FASTER
from tests.alerts.traffic import Traffic, ask
from tests.certs import Authority, put
from tests.integration.faulty import (
    BY_VALUE,
    GENEROUS,
    NEARLY,
    OFTEN_INSPECTED,
    ONE_HIT,
    PATIENT,
    WRONG_CLOCK,
    Fault,
    Provoke,
    a_redis,
    server,
)
from tests.integration.load_faults import (
    crowded,
    impatient,
    overloaded,
    paused,
    rarely_slow,
    rarely_unanswered,
    slow_redis,
    starved,
    throttled,
)
from tests.rls_process import RULES, RlsProcess
from tests.tries import descriptor, request


def without_redis(policy: str) -> Provoke:
    """Redis dies while calls come."""

    def provoke(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
        redis = a_redis(stack, folder)
        options = ("--backend", redis.url, "--on-backend-error", policy, *PATIENT)
        process = server(stack, folder, *options, rules=GENEROUS)
        ask(stack, traffic, process, ("company_id", "acme"))
        process.wait_until(lambda: process.metric("rls_hits_total") > 5, "it counts")
        redis.kill()
        return [process]

    return provoke


def rejected(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    rules = folder / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(RULES)
    process = server(stack, folder, "--config", str(rules))
    (rules / "b.yaml").write_text("domain: [")
    return [process]


def none_at_all(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    rules = folder / "rules"
    rules.mkdir()
    process = server(stack, folder, "--config", str(rules))
    return [process]


def differ(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    return [server(stack, folder / "a"), server(stack, folder / "b", rules=NEARLY)]


def hidden_apart(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """One pod has a new secret for hashes, the other still the old one."""
    found = []
    for name in "ab":
        (folder / name).mkdir()
        secret = folder / name / "secret"
        secret.write_text(name * 32)
        found.append(server(stack, folder / name, "--hash-secret-file", str(secret)))
    return found


def elsewhere(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    process = server(stack, folder)
    ask(stack, traffic, process, ("company_id", "acme"), domain="msh")
    return [process]


def invalid(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    process = server(stack, folder)
    ask(stack, traffic, process)
    return [process]


def hammers(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    process = server(stack, folder, rules=BY_VALUE)
    for company in ("acme", "acme", "acme", "zeta"):
        ask(stack, traffic, process, ("company_id", company))
    ask(stack, traffic, process, ("path", "/"))
    return [process]


def near(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    process = server(stack, folder, rules=NEARLY)
    with Client(process.addresses["grpc"]) as client:
        client.check(request(descriptor(("company_id", "acme")), domain="mesh", hits_addend=95), timeout=10)
    return [process]


def more_values_than_room(rules: str) -> Provoke:
    def provoke(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
        process = server(stack, folder, "--memory-counters", "8", rules=rules)
        client = stack.enter_context(Client(process.addresses["grpc"]))
        values = itertools.count()
        traffic.again(
            lambda: client.check(request(descriptor(("company_id", str(next(values)))), domain="mesh"), timeout=2)
        )
        return [process]

    return provoke


def expires(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    put(folder, *Authority().issue("localhost", days=0.9))
    return [server(stack, folder, "--tls-cert", f"{folder}/tls.crt", "--tls-key", f"{folder}/tls.key")]


def spoiled(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """A counter that holds a list."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT)
    with redis.client() as keys, Client(process.addresses["grpc"]) as client:
        client.check(request(descriptor(("company_id", "acme")), domain="mesh"), timeout=10)
        (key,) = keys.keys("*acme*")
        keys.delete(key)
        keys.rpush(key, "x")
    ask(stack, traffic, process, ("company_id", "acme"))
    return [process]


def emptied(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Somebody flushes Redis under traffic."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT, rules=GENEROUS)
    ask(stack, traffic, process, ("company_id", "acme"))
    process.wait_until(lambda: process.metric("rls_hits_total") > 5, "it counts")

    def flush() -> None:
        with redis.client() as client:
            client.flushall()

    # Again and again: it must be a loss after Prometheus has seen the first number.
    traffic.again(flush, 4)
    return [process]


def full(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Redis has no room, and makes some."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT, rules=GENEROUS, program=OFTEN_INSPECTED)
    keys = stack.enter_context(redis.client())
    keys.config_set("maxmemory-policy", "allkeys-lru")
    keys.config_set("maxmemory", 4_000_000)
    values = itertools.count()
    traffic.again(lambda: keys.set(f"filler{next(values)}", bytes(100_000)), 0.05)
    return [process]


def unsteady(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """Somebody cuts the connections to Redis again and again, so that it fails while it gets what it has missed."""
    redis = a_redis(stack, folder)
    process = server(stack, folder, "--backend", redis.url, *PATIENT, rules=GENEROUS)
    client = stack.enter_context(Client(process.addresses["grpc"]))
    values = itertools.count()

    def new_values() -> None:
        for _ in range(20):
            client.check(request(descriptor(("company_id", str(next(values)))), domain="mesh"), timeout=2)

    traffic.again(new_values, 0.02)
    keys = stack.enter_context(redis.client())
    traffic.again(lambda: keys.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), 0.01)
    return [process]


def clocks(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    redis = a_redis(stack, folder)
    options = ("--backend", redis.url, *PATIENT)
    return [server(stack, folder / "a", *options), server(stack, folder / "b", *options, program=WRONG_CLOCK)]


def companies_gone(folder: Path, stack: ExitStack, traffic: Traffic) -> list[RlsProcess]:
    """As when Envoy cannot verify tokens: companies stop, addresses go on."""
    process = server(
        stack, folder, rules=RULES + "  - key: remote_address\n    rate_limit: {unit: year, requests_per_unit: 9}\n"
    )
    client = stack.enter_context(Client(process.addresses["grpc"]))
    company = request(descriptor(("company_id", "acme")), domain="mesh")
    address = request(descriptor(("remote_address", "10.0.0.1")), domain="mesh")
    end = time.monotonic() + 45
    traffic.again(lambda: client.check(company if time.monotonic() < end else address, timeout=2))
    return [process]


ACME = {"domain": "mesh", "rule": "company_id"}
FAULTS = {
    "redis-dies": Fault(
        (
            ("RlsRedisDown", {}),
            ("RlsBackendErrors", {}),
            ("RlsDegraded", {"reason": "backend_unavailable"}),
            ("RlsPolicyAnswers", ACME | {"policy": "local"}),
        ),
        without_redis("local"),
    ),
    "allowed-without-redis": Fault((("RlsPolicyAllows", ACME),), without_redis("allow")),
    "errors-without-redis": Fault(
        (
            ("RlsRequestErrors", {"reason": "backend"}),
            ("RlsOff", {"reason": "backend_unavailable"}),
            ("RlsAvailabilityBudgetBurnsFast", {}),
        ),
        without_redis("error"),
    ),
    "bad-file": Fault((("RlsRulesRejected", {}), ("RlsDegraded", {"reason": "rules_invalid"})), rejected),
    "no-rules": Fault((("RlsOff", {"reason": "no_rules"}), ("RlsNotReady", {})), none_at_all),
    "two-revisions": Fault((("RlsRevisionsDiffer", {}),), differ),
    "two-secrets": Fault((("RlsHashSecretsDiffer", {}),), hidden_apart),
    "wrong-domain": Fault((("RlsUnknownDomain", {}),), elsewhere),
    "no-descriptors": Fault((("RlsInvalidRequests", {}),), invalid),
    "tenant": Fault(
        (("RlsTenantHammers", ACME | {"value": "company_id_acme"}), ("RlsOneClientRefused", ACME)),
        hammers,
    ),
    "near-limit": Fault((("RlsNearLimit", ACME),), near),
    "no-room": Fault((("RlsNoRoom", {}), ("RlsDegraded", {"reason": "no_room"})), more_values_than_room(ONE_HIT)),
    "evictions": Fault((("RlsEvicts", {"store": "memory"}),), more_values_than_room(NEARLY)),
    "certificate": Fault((("RlsCertificateExpires", {}), ("RlsCertificateExpiresToday", {})), expires),
    "crowd": Fault(
        (("RlsConnectionsNearLimit", {}), ("RlsConnectionsClosed", {"reason": "too_many"})),
        crowded,
    ),
    "spoiled-counter": Fault((("RlsCounterRefused", {}), ("RlsDegraded", {"reason": "counter_refused"})), spoiled),
    "slow-redis": Fault((("RlsRedisSlow", {}), ("RlsLatencyBudgetBurnsFast", {})), slow_redis),
    "no-cpu": Fault((("RlsLoopLate", {}),), paused),
    "throttled": Fault((("RlsCpuThrottled", {}),), throttled),
    "overload": Fault((("RlsSheds", {}), ("RlsDegraded", {"reason": "calls_shed"})), overloaded),
    "late": Fault((("RlsCallsLate", {}),), impatient),
    "emptied": Fault((("RlsCountersLost", {}),), emptied),
    "full": Fault((("RlsRedisEvicts", {}),), full),
    "unsteady-redis": Fault((("RlsHitsLost", {}),), unsteady),
    "clocks": Fault((("RlsClocksDiffer", {}),), clocks),
    "few-descriptors": Fault((("RlsFileDescriptorsNearLimit", {}),), starved),
    # On a busy machine more checks are slow than those of the fault, but no more are unanswered.
    "rarely-slow": Fault((("RlsLatencyBudgetBurnsSlowly", {}),), rarely_slow, DAYS_FASTER),
    "rarely-unanswered": Fault(
        (("RlsAvailabilityBudgetBurnsSlowly", {}),),
        rarely_unanswered,
        DAYS_FASTER,
        ("RlsAvailabilityBudgetBurnsFast",),
    ),
    "no-companies": Fault((("RlsCompaniesGone", {"domain": "mesh"}),), companies_gone),
}
