"""One browser, and two servers that count in one Valkey."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.mesh.http import ask
from examples.mesh.processes import Missing, free_port
from examples.screenshots.browser import Browser
from tests.redis_server import RedisServer, missing, newest_binary, running
from tests.rls_process import RlsProcess

TOKEN = "s3cr3t-of-alice-0123456789"
SCRIPT = "<script>document.title='hacked'</script><img src=x onerror=alert(1)>"
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit: {name: per company, unit: year, requests_per_unit: 5}
    descriptors:
      - key: path
        rate_limit: {unit: year, requests_per_unit: 2}
  - key: company_id
    value: umbrella
    rate_limit: {unit: year, requests_per_unit: 5000}
  - key: remote_address
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 1}
"""


def check(server: RlsProcess, *entries: str, times: int = 1) -> int:
    """The status of the last of so many checks."""
    pairs = [entry.partition("=") for entry in entries]
    asked = {"domain": "mesh", "descriptors": [{"entries": [{"key": key, "value": value} for key, _, value in pairs]}]}
    port, body = int(server.addresses["http"].rpartition(":")[2]), json.dumps(asked).encode()
    return [ask(port, "/json", method="POST", body=body).status for _ in range(times)][-1]


class Servers(NamedTuple):
    one: RlsProcess
    other: RlsProcess


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """They have refused, would have refused, and know names without rules."""
    folder: Path = tmp_path_factory.mktemp("page")
    (folder / "tokens").write_text(f"alice:{TOKEN}")
    with running(RedisServer(folder, newest_binary())) as redis:
        options = ("--backend", redis.url, "--backend-timeout", "5s", "--admin-token-file", str(folder / "tokens"))
        admin = ("--admin", f"127.0.0.1:{free_port()}")
        with (
            RlsProcess(folder, *options, *admin, rules=RULES, name="one") as one,
            RlsProcess(folder, *options, rules=RULES, name="other") as other,
        ):
            check(one, "company_id=acme", times=8)
            check(one, "company_id=acme", "path=/checkout", times=4)
            check(one, f"company_id={SCRIPT}", times=7)
            check(one, "remote_address=203.0.113.7", times=3)
            check(one, f"path={SCRIPT}")
            yield Servers(one, other)


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        found = Browser(tmp_path_factory.mktemp("browser"))
    except Missing as error:
        missing(str(error))
    with found:
        yield found
