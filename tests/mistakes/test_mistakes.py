"""Every mistake of mistakes.yaml: made with the real command, a real server and a real Redis, and all that is printed."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.mesh.http import ask
from examples.mesh.processes import NotSo, Process, free_port, wait_for
from tests.certs import Authority
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RULES, RlsProcess

ROOT = Path(__file__).parents[2]
MISTAKES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text())
MADE = [found for found in MISTAKES if "run" in found]
HELD = [found for found in MISTAKES if "held_by" in found]
_LOGGED = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (.*)$")


@pytest.fixture(scope="module")
def running_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `run` may name: servers and ports, and the folder with files of TLS."""
    folder = tmp_path_factory.mktemp("parts")
    authority = Authority()
    for name, pem in zip(("cert.pem", "key.pem"), authority.issue("localhost"), strict=True):
        (folder / name).write_bytes(pem)
    (folder / "other.pem").write_bytes(Authority().issue("localhost")[1])
    tls = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    with ExitStack() as stack:
        plain = stack.enter_context(RlsProcess(folder))
        secure = stack.enter_context(RlsProcess(folder, *tls, name="tls"))
        redis = RedisServer(folder, redis_binary(), ("--requirepass", "right"))
        stack.enter_context(running(redis))
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield {
            "rls": plain.addresses["grpc"],
            "http": plain.addresses["http"],
            "tls": secure.addresses["grpc"],
            "redis": str(redis.port),
            "taken": str(taken.getsockname()[1]),
            "closed": str(free_port()),
            "folder": str(folder),
        }


class Made:
    """A mistake that is made in *folder*, with *parts* running."""

    def __init__(self, mistake: Mapping[str, Any], folder: Path, parts: Mapping[str, str]) -> None:
        self._mistake = mistake
        self._folder = folder
        self._parts = parts
        for name, text in {"rules.yaml": RULES, **mistake.get("files", {})}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        for name in ("cert.pem", "key.pem", "other.pem"):
            (folder / name).symlink_to(Path(parts["folder"]) / name)
        variables = " ".join(f"{name}={shlex.quote(text)}" for name, text in mistake.get("env", {}).items())
        path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
        command = self.filled(mistake["run"]).removeprefix("rls ")
        environment = f"{variables} COLUMNS=200 PYTHONPATH={shlex.quote(path)}"
        rls = f"{shlex.quote(sys.executable)} -m rls"
        self.command = ["sh", "-c", f"cd {shlex.quote(str(folder))} && exec env {environment} {rls} {command}"]

    def filled(self, text: str) -> str:
        for name, value in self._parts.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    @property
    def prints(self) -> str:
        return self.filled(self._mistake.get("prints", ""))

    @property
    def logs(self) -> list[str]:
        return [self.filled(line) for line in self._mistake.get("logs", [])]

    def run(self) -> None:
        """Run it to its end."""
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=120, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        printed = "".join(f"{comparable(line)}\n" for line in lines if not _LOGGED.match(line))
        assert (printed, done.returncode) == (self.prints, self._mistake["exit"])

    def serve(self) -> None:
        """Run it until it says what it must."""
        with Process("rls", self.command, self._folder / "rls.log") as process:
            process.wait_until(lambda: " server_started " in process.output(), "it listens", 60)
            for name, text in self._mistake.get("reload", {}).items():
                (self._folder / name).write_text(text)
            if self.prints:
                found = re.search(r" http=127\.0\.0\.1:(\d+) ", process.output())
                assert found is not None
                port = int(found[1])
                with suppress(NotSo):
                    wait_for(lambda: said_at(port) == self.prints, "/readyz says so", 30)
                assert said_at(port) == self.prints
            with suppress(NotSo):
                wait_for(lambda: set(self.logs) <= set(logged(process.output())), "the log says so", 30)
            assert [line for line in self.logs if line not in logged(process.output())] == [], process.output()


def comparable(line: str) -> str:
    """*line* without what differs each time."""
    return re.sub(r" in [\d.]+ ms", " in N ms", line.rstrip())


def logged(output: str) -> list[str]:
    """The lines of the log, without their times."""
    found = (_LOGGED.match(line) for line in output.splitlines())
    return [re.sub(r" revision=\w+", " revision=REVISION", line[1]) for line in found if line is not None]


def said_at(port: int) -> str:
    """The texts of /readyz: problems, or else reasons. Tests may run under a CPU limit."""
    said = ask(port, "/readyz").json()
    texts = said["problems"] or [one["text"] for one in said["reasons"] if one["reason"] != "cpu_throttled"]
    return "".join(f"{text}\n" for text in texts)


@pytest.mark.parametrize("mistake", MADE, ids=[f"{at}: {found['mistake']}" for at, found in enumerate(MADE)])
def test_what_is_printed(mistake: dict[str, Any], tmp_path: Path, running_parts: dict[str, str]) -> None:
    made = Made(mistake, tmp_path, running_parts)
    if "exit" in mistake:
        made.run()
    else:
        made.serve()


@pytest.mark.parametrize("held_by", [found["held_by"] for found in HELD])
def test_what_another_test_holds_is_there(held_by: str) -> None:
    path, _, name = held_by.partition("::")
    text = (ROOT / path).read_text()
    assert f"def {name}(" in text if name else text.startswith("# ")


def test_there_are_thirty_at_least() -> None:
    assert len(MADE) >= 30
    assert all({"run", "held_by"} & found.keys() for found in MISTAKES)
