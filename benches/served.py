"""A server that counts in a Redis, with a rule for each company of the load, for benches that disturb it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benches import processes, rule_files
from benches.client import Phase, Result, measure
from benches.machine import on_core
from benches.processes import LOAD_CORE, Running
from examples.mesh.processes import free_port

_CLIENT_WAITS_MS = 20


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and what it has."""

    process: Running
    redis: Running
    http: int
    rules: Path
    log: Path
    certificate: Path | None
    peak: float = 0.0
    """Calls a second that it answers on 32 connections; 0 with TLS."""

    def load(self, phase: Phase, connections: int, *, timeout_ms: int = _CLIENT_WAITS_MS) -> Result:
        """Put *phase* on it."""
        address, core = self.process.address, on_core(LOAD_CORE)
        return measure(
            address, [phase], connections=connections, keys=rule_files.COMPANIES, timeout_ms=timeout_ms, prefix=core
        )[0]


@contextlib.contextmanager
def serve(*, secure: bool) -> Iterator[Served]:
    """A new server with a new Redis; without TLS all of its rules have counted."""
    with tempfile.TemporaryDirectory(prefix="rls-bench-") as path, contextlib.ExitStack() as stack:
        folder, http = Path(path), free_port()
        certificate, key, rules = folder / "tls.crt", folder / "tls.key", folder / "rules"
        options = ["--tls-cert", str(certificate), "--tls-key", str(key)] if secure else []
        if secure:
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
            subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        rules.mkdir()
        (rules / "mesh.yaml").write_text(rule_files.of_companies())
        redis = stack.enter_context(processes.redis(folder))
        backend = f"redis://{redis.address}"
        process = stack.enter_context(processes.serve(folder, rules, backend, http, options))
        log = folder / f"log-{process.address.rpartition(':')[2]}"
        served = Served(process, redis, http, rules, log, certificate if secure else None)
        if not secure:
            served.load(Phase(2.0, in_flight=128), 32, timeout_ms=0)
            found = [served.load(Phase(1.0, in_flight=number), 32, timeout_ms=0) for number in (64, 128)]
            served = replace(served, peak=max(got.goodput for got in found))
        yield served
