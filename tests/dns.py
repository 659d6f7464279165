"""A real DNS server (dnsmasq) that programs ask, in a network of their own, without a change to this machine.

Linux has such networks for root, and mostly for others too; where it has not, the tests skip. They do so in a CI as
well: some let nobody make one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from http.client import HTTPConnection
from pathlib import Path

from examples.mesh.processes import Process
from tests.redis_server import missing

_SBIN = "/usr/sbin"
_ENTER = f"""\
PATH=$PATH:{_SBIN}
set -e
folder=$0 first=$1
shift
: >"$folder/dns.log"
ip link set lo up
mount --bind "$folder/resolv.conf" /etc/resolv.conf
mount --bind "$folder/nsswitch.conf" /etc/nsswitch.conf
dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --local=/test/ --local-ttl=0 --addn-hosts="$folder/names" \
  --listen-address=127.0.0.1 --bind-interfaces >>"$folder/dns.log" 2>&1 &
until grep -q started "$folder/dns.log"; do sleep 0.02; done
kill -s "$first" $!
echo $! >"$folder/dns.pid"
exec "$@"
"""


class Network:
    """Where one program runs, and `NAME.test` has the addresses that it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "network"
        self._folder.mkdir()
        # glibc waits for an answer as shortly as it can.
        (self._folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        (self._folder / "nsswitch.conf").write_text("hosts: files dns\n")
        (self._folder / "names").touch()
        self._program: Process | None = None

    def start(self, command: Sequence[str | Path], *, silent: bool = False) -> Process:
        """Start the program beside a DNS server, which where it is *silent* answers nothing yet."""
        first = "STOP" if silent else "CONT"
        words = [*_apart(), "sh", "-c", _ENTER, self._folder, first, *command]
        self._program = Process("program", words, self._folder / "program.log")
        return self._program

    def name(self, name: str, addresses: Iterable[str]) -> None:
        """Give *name* other addresses; without any there is no such name."""
        (self._folder / "names").write_text("".join(f"{address} {name}.test\n" for address in addresses))
        if self._program is not None:
            self.send(signal.SIGHUP)

    def send(self, number: signal.Signals) -> None:
        """Send the DNS server a signal: SIGSTOP makes it silent, SIGCONT lets it answer."""
        os.kill(self._server(), number)

    def close(self) -> None:
        """Stop the program and the DNS server."""
        if self._program is not None:
            self._program.kill()
            if self._pid_file.exists():
                os.kill(int(self._pid_file.read_text()), signal.SIGKILL)

    @property
    def _pid_file(self) -> Path:
        return self._folder / "dns.pid"

    def _server(self) -> int:
        assert self._program is not None
        file = self._pid_file
        return self._program.wait_until(
            lambda: file.exists() and int(file.read_text() or 0), "the DNS server has started"
        )


def _apart() -> list[str]:
    """The command that gives a program a network and mounts of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("ip") is None:
        missing("needs Linux, with unshare and ip")
    words = ["unshare", "--mount", "--net", *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))]
    tried = subprocess.run(
        [*words, "mount", "--bind", "/dev/null", "/etc/resolv.conf"], capture_output=True, check=False
    )
    if tried.returncode:
        missing(f"needs a network of its own: {tried.stderr.decode().strip()}")
    if shutil.which("dnsmasq", path=f"{os.environ['PATH']}:{_SBIN}") is None:
        missing("needs dnsmasq, of the Debian package dnsmasq-base")
    return words


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket, which can be reached from all networks."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))
