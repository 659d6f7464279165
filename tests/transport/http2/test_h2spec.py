"""h2spec (github.com/summerwind/h2spec), all of its cases, against the native transport; skipped where it is not installed.

`go install github.com/summerwind/h2spec/cmd/h2spec@latest`, then put it on PATH or name it by H2SPEC.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from xml.etree import ElementTree as ET

import pytest

from rls.transport.base import ServerLimits, Tls
from rls.transport.handler import Call, ServiceDefinition, Unary
from rls.transport.native.server import NativeTransport
from tests.certs import Authority, put

H2SPEC = os.environ.get("H2SPEC") or shutil.which("h2spec")

PATH = "/t/echo"

# Package and case of what fails, each with its reason.
NO_TABLE = "its client ignores our SETTINGS_HEADER_TABLE_SIZE of 0, which RFC 9113, section 4.3.1 makes an error"
NO_PRIORITY = "RFC 9113, section 5.3 has dropped priorities: what depends on what is ignored"
EXPECTED = {
    ("generic/5", "Sends a dynamic table size update"): NO_TABLE,
    ("generic/5", "Sends multiple dynamic table size update"): NO_TABLE,
    ("http2/6.10", "Sends multiple CONTINUATION frames preceded by a HEADERS frame"): NO_TABLE,
    ("http2/5.3.1", "Sends HEADERS frame that depend on itself"): NO_PRIORITY,
    ("http2/5.3.1", "Sends PRIORITY frame that depend on itself"): NO_PRIORITY,
}


@pytest.mark.skipif(H2SPEC is None, reason="h2spec is not installed")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_h2spec(tmp_path, secure):
    assert H2SPEC is not None
    report = tmp_path / "report.xml"
    put(tmp_path, *Authority().issue("localhost"))
    tls = Tls(tmp_path / "tls.crt", tmp_path / "tls.key") if secure else None
    # So few streams that those which wait for a window fit into what may wait.
    limits = ServerLimits(max_concurrent_streams=100)
    transport = NativeTransport(ServiceDefinition({PATH: Unary(echo)}), "127.0.0.1:0", limits=limits, tls=tls)
    await transport.start()
    try:
        port = transport.address.rpartition(":")[2]
        command = [H2SPEC, "-h", "127.0.0.1", "-p", port, "-P", PATH, "-S", "-o", "2", "-j", str(report)]
        command += ["-t", "-k"] if secure else []
        ran = await asyncio.to_thread(
            subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
        )
    finally:
        await transport.aclose()

    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = {
        # Version 2.6 says "depends".
        (case.get("package"), case.get("classname", "").replace("depends", "depend"))
        for case in cases
        if case.find("error") is not None
    }
    assert len(cases) >= 140, ran.stdout
    assert failed == set(EXPECTED), ran.stdout


async def echo(call: Call) -> bytes:
    return call.message
