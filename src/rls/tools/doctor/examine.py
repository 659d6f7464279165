"""All looks, in the order in which a fault shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rls.addresses import split_address, unix_path
from rls.api.client import ClientTls
from rls.engine.digests import digest_domain, revision_of
from rls.slices import finish
from rls.sources.load import LoadResult, load
from rls.tools.doctor import cpu, server
from rls.tools.doctor.envoy import Envoy, timeouts
from rls.tools.doctor.grpc_port import GrpcPort
from rls.tools.doctor.redis import Redis
from rls.tools.doctor.result import Result, bad, good, unknown

_ENVOY = "--envoy HOST:PORT of its admin port, 15000 in Istio"
_LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to look; "" for nowhere. See the options of `rls doctor`."""

    grpc: str
    http: str
    admin: str
    redis: str
    envoy: str
    config: Sequence[Path] = ()
    domain: str = ""
    key_prefix: str = ""
    backend_timeout: float = 0.01
    envoy_timeout: float | None = None
    tls: ClientTls | None = None
    token: str = ""
    root: Path = field(default=Path("/"))


async def examine(asked: Asked) -> AsyncIterator[Result]:
    """Each result as it is found."""
    rules = load(asked.config) if asked.config else None
    envoy = Envoy(asked.envoy) if asked.envoy else None
    if envoy is not None:
        envoy.read()
    admin = server.AdminPort(asked.admin, asked.token)
    throttled = server.throttled_periods(asked.http) if asked.http else None
    grpc = GrpcPort(asked.grpc, asked.tls)
    if asked.grpc:
        for result in grpc.look(_domains(asked, envoy, rules, admin)):
            yield result
    if asked.http:
        for result in server.look_at_http(asked.http):
            yield result
    for result in _of_admin(asked, admin, rules):
        yield result
    async for result in _of_redis(asked, admin):
        yield result
    for result in [unknown("envoy", "not asked", _ENVOY)] if envoy is None else envoy.look():
        yield result
    for result in timeouts((envoy and envoy.timeout) or asked.envoy_timeout, asked.backend_timeout, grpc.p99):
        yield result
    if asked.http:
        yield server.throttling(throttled, server.throttled_periods(asked.http))
    if not (asked.grpc or asked.http or asked.admin):
        yield unknown("cpu limit", "no server was asked")
    else:
        yield cpu.look_at_cpu(asked.root) if _is_here(asked) else cpu.elsewhere()


def _domains(asked: Asked, envoy: Envoy | None, rules: LoadResult | None, admin: server.AdminPort) -> list[str]:
    """Those that are to be known to the server."""
    found = [asked.domain] if asked.domain else []
    found += [one.domain for one in envoy.filters] if envoy else []
    if not found and rules is not None:
        found += rules.rules.domains
    if not found and asked.admin and (domain := admin.domain()):
        found.append(domain)
    return list(dict.fromkeys(found))


async def _of_redis(asked: Asked, admin: server.AdminPort) -> AsyncIterator[Result]:
    if asked.redis:
        async for result in Redis(asked.redis, key_prefix=asked.key_prefix, timeout=asked.backend_timeout).look():
            yield result
    elif str(admin.status.get("backend", "")).startswith("memory"):
        yield unknown("redis", "the backend is memory://: each pod counts for itself")
    else:
        yield unknown("redis", "not asked", "--redis URL, or RLS_BACKEND as the server has it")


def _of_admin(asked: Asked, admin: server.AdminPort, rules: LoadResult | None) -> Iterator[Result]:
    revision = ""
    if rules is not None:
        if rules.diagnostics:
            yield bad("rules file", str(rules.diagnostics[0]), "rls check lists all mistakes")
        else:
            yield good("rules file", f"{', '.join(map(str, asked.config))}: no mistakes")
            revision = revision_of({name: finish(digest_domain(one)) for name, one in rules.rules.domains.items()})
    if asked.admin:
        yield from admin.look(revision)


def _is_here(asked: Asked) -> bool:
    """Whether the server is on this machine."""
    address = asked.grpc or asked.http or asked.admin
    return unix_path(address) is not None or split_address(address)[0].startswith(_LOOPBACK)
