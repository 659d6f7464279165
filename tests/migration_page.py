"""`docs/migration.md`: its commands, and what it says that they print."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "migration.md").read_text()


def commands() -> list[tuple[str, str]]:
    """The commands of the page, each with what it prints there."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [
        (command, printed)
        for block in blocks
        for command, printed in re.findall(r"^\$ (.*)\n([^$]*)", block, re.MULTILINE)
    ]


def printed_by(command: str) -> str:
    """What the page says that *command* prints."""
    (printed,) = [printed for one, printed in commands() if one == command]
    return printed


def run(command: str, folder: Path) -> str:
    """What *command*, which may be one of `rls`, prints in *folder*."""
    words = shlex.split(command)
    program = [sys.executable, "-m", "rls"] if words[0] == "rls" else [shutil.which(words[0]) or words[0]]
    done = subprocess.run([*program, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
