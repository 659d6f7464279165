"""`docs/cli.md`: its commands, what it says that they print, and what they do print.

A section is a shell session of its own, in a folder with the files that the page shows. A fenced block `yaml NAME` is such
a file: of the part before the first section for all sections, of a section for this one. In a block `console`, `$ ` begins
a command, and what it prints on stdout and stderr follows. A server that is started with `&` runs to the end of its section, on
ports of its own in place of those that it is given or has by default. Where a command fails, `; echo $?` shows so.

`python -m tests.cli.cli_page` writes into the page what the commands print now; look at the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from rls.cli import app
from tests.rls_process import RlsProcess

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
PORTS = {"grpc": 8081, "http": 8080, "admin": 6070}
_BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_DIFFERS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b(in|for|after|reset|resets in) \d[\d.]*( ?m?s\b| min\b| h\b| d\b)+"), r"\1 DURATION"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "DURATION"),
    (re.compile(r"\|\d{10}\b"), "|WINDOW"),
    (re.compile(r"\bpod \S+, up"), "pod POD, up"),
    (re.compile(r" \d+\.\d "), " NUMBER "),
    (re.compile(r"\b[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"\d+\.\d+\.\d+\S* \(Python \S+\)"), "VERSION"),
    (re.compile(r" *[|│] *| {2,}|[─━]{2,}"), " "),
    (re.compile(r" +$", re.MULTILINE), ""),
)
"""What differs from run to run, and what stands for it when outputs are compared; columns are as wide as what is in them."""


class Section(NamedTuple):
    """A part of the page below a heading of the second level; "" is the part before them."""

    name: str
    text: str

    @property
    def files(self) -> dict[str, str]:
        """Those that it shows, by name."""
        return {name: text for _, name, text in _BLOCK.findall(self.text) if name}

    @property
    def examples(self) -> list[tuple[str, str]]:
        """Its commands, each with what it prints."""
        blocks = [text for kind, _, text in _BLOCK.findall(self.text) if kind == "console"]
        return [example for text in blocks for example in _EXAMPLE.findall(text)]


def sections(page: str) -> list[Section]:
    """Those of the page, in its order."""
    first, *others = re.split(r"^## ", page, flags=re.MULTILINE)
    return [Section("", first), *(Section(text.partition("\n")[0], text) for text in others)]


def comparable(text: str) -> str:
    """*text* without what differs from run to run."""
    for pattern, stands_for in _DIFFERS:
        text = pattern.sub(stands_for, text)
    return text


class Session:
    """Runs the commands of one section in *folder*, which is the current one; to be closed."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._moved: dict[str, str] = {}
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        program = folder / ".bin" / "rls"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rls "$@"\n')
        program.chmod(0o755)

    def close(self) -> None:
        """End the servers."""
        self._stack.close()

    def run(self, command: str) -> str:
        """What *command* prints on stdout and stderr; then, where the command asks for it or fails, its exit code."""
        if command.endswith(" &"):
            self._serve(command.removesuffix(" &").split())
            return ""
        for shown, real in self._moved.items():
            command = command.replace(shown, real)
        printed = self._in_process(command) if re.match(r"rls [^|&;<>$'\"\\]*(; echo \$\?)?$", command) else None
        if printed is None:
            printed = self._in_shell(command)
        for shown, real in self._moved.items():
            printed = printed.replace(real, shown)
        return printed

    def _in_process(self, command: str) -> str:
        """Sooner than a process of its own."""
        line, asked, _ = command.partition("; echo $?")
        result = CliRunner(env={"COLUMNS": "120"}).invoke(app, line.split()[1:], prog_name="rls")
        failed = result.exit_code != 0 or asked
        return f"{result.output}{result.exit_code}\n" if failed else result.output

    def _in_shell(self, command: str) -> str:
        env = {**os.environ, "PATH": f"{self._folder}/.bin:{os.environ['PATH']}", "COLUMNS": "120"}
        done = subprocess.run(
            ["sh", "-c", f"{{ {command}; }} 2>&1"], env=env, stdout=-1, text=True, timeout=60, check=False
        )
        return done.stdout if done.returncode == 0 else f"{done.stdout}{done.returncode}\n"

    def _serve(self, words: list[str]) -> None:
        assert words[:2] == ["rls", "serve"], "only servers run in the background"
        options = words[2:]
        shown = {kind: f"127.0.0.1:{port}" for kind, port in PORTS.items()}
        for kind in PORTS:
            if f"--{kind}" in options:
                at = options.index(f"--{kind}")
                shown[kind] = options[at + 1]
                del options[at : at + 2]
        server = RlsProcess(self._folder, *options, name=f".server{len(self._moved)}")
        self._stack.callback(server.kill)
        self._moved |= {shown[kind]: address for kind, address in server.addresses.items()}


def played(section: Section, files: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The commands of *section*, what the page says that each prints, and what it does print."""
    with tempfile.TemporaryDirectory() as name, chdir(name):
        session = Session(Path(name), {**files, **section.files})
        try:
            for command, shown in section.examples:
                yield command, shown, session.run(command)
        finally:
            session.close()


def _written(section: Section, files: Mapping[str, str]) -> str:
    """The text of *section* with what its commands print now, where that differs."""
    text = section.text
    for command, shown, printed in played(section, files):
        if comparable(shown) != comparable(printed):
            stripped = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
            text = text.replace(f"$ {command}\n{shown}", f"$ {command}\n{stripped}")
    return text


if __name__ == "__main__":
    first, *others = sections(PAGE.read_text())
    PAGE.write_text("## ".join([first.text, *(_written(one, first.files) for one in others)]))
