"""Programs that scripts run."""

from __future__ import annotations

import os
import subprocess


class Failed(Exception):
    """A program is missing, or ended with an error; the text has what it said."""


def output(*command: str, stdin: str = "") -> str:
    """What *command* prints.

    Raises:
        Failed: It cannot be run, or fails.
    """
    try:
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"cannot run {command[0]}: {error.strerror}") from None
    if ran.returncode:
        raise Failed(f"{ran.stdout}{' '.join(command)}: {ran.stderr.strip() or f'exit code {ran.returncode}'}")
    return ran.stdout


def kubectl(*arguments: str, stdin: str = "") -> str:
    """As `output`, of kubectl or what the variable KUBECTL names instead."""
    return output(os.environ.get("KUBECTL", "kubectl"), *arguments, stdin=stdin)
