"""What kubectl knows of a cluster, and the way into its pods."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from rls.errors import RlsError

_SECONDS = 60
"""A call of kubectl takes at most."""
_FORWARDING = re.compile(r"127\.0\.0\.1:([0-9]+) ->")


class CannotAsk(RlsError):
    """kubectl is missing, or failed; the text says which, and how."""


def program() -> str:
    """kubectl, or what the variable KUBECTL names instead."""
    return os.environ.get("KUBECTL") or "kubectl"


def output(*arguments: str) -> bytes:
    """What kubectl prints.

    Raises:
        CannotAsk: It is missing, or failed.
    """
    command = [program(), *arguments]
    shown = " ".join(command[:3])
    try:
        ran = subprocess.run(  # noqa: S603 - the program that people use, with names of objects
            command, capture_output=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise CannotAsk(f"{command[0]} is not installed") from None
    except OSError as error:
        raise CannotAsk(f"cannot run {command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"{shown}: no answer in {_SECONDS} s") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise CannotAsk(f"{shown}: {said[-1] if said else f'exit code {ran.returncode}'}")
    return ran.stdout


@contextmanager
def forwarded(namespace: str, pod: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to *port* of a pod, as long as the context lasts.

    Raises:
        CannotAsk: kubectl is missing, or failed.
    """
    command = [program(), "port-forward", "--namespace", namespace, f"pod/{pod}", f":{port}"]
    try:
        running = subprocess.Popen(  # noqa: S603 - as above
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise CannotAsk(f"cannot run {command[0]}: {error.strerror}") from None
    with running:
        try:
            line = running.stdout.readline() if running.stdout else ""
            found = _FORWARDING.search(line)
            if found is None:
                raise CannotAsk(f"{program()} port-forward: {line.strip() or 'it ended'}")
            yield int(found[1])
        finally:
            running.terminate()
