"""Config dumps of the pods of a namespace, through kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

from rls.errors import RlsError
from rls.mesh.trees import Tree, text, tree, trees

CONTAINER = "istio-proxy"
ADMIN_PORT = 15000
DUMP = "config_dump?include_eds"
_SECONDS = 60
"""A call of kubectl takes at most."""


class CannotAsk(RlsError):
    """kubectl is missing, or failed; the text says which, and how."""


def program() -> str:
    """kubectl, or what the variable KUBECTL names instead."""
    return os.environ.get("KUBECTL") or "kubectl"


def pods(namespace: str) -> list[str]:
    """Names of the running pods of *namespace* that have a proxy, which may be no pod at all.

    Raises:
        CannotAsk: kubectl fails.
    """
    try:
        listed = json.loads(_output("get", "pods", "--namespace", namespace, "--output", "json"))
    except ValueError as error:
        raise CannotAsk(f"{program()} get pods: its answer is not JSON: {error}") from None
    return [text(each, "metadata", "name") for each in trees(listed, "items") if _has_proxy(each)]


def _has_proxy(pod: Tree) -> bool:
    spec = tree(pod, "spec")
    containers = [*trees(spec, "containers"), *trees(spec, "initContainers")]
    running = text(pod, "status", "phase") == "Running" and "deletionTimestamp" not in tree(pod, "metadata")
    return running and any(text(each, "name") == CONTAINER for each in containers)


def dump(namespace: str, pod: str) -> bytes:
    """The config dump of a pod's proxy: by pilot-agent in its container, else by a port-forward to its admin port.

    Raises:
        CannotAsk: Neither way works.
    """
    in_pod = ("exec", "--namespace", namespace, pod, "--container", CONTAINER, "--")
    try:
        return _output(*in_pod, "pilot-agent", "request", "GET", DUMP)
    except CannotAsk as error:
        try:
            with _forwarded(namespace, pod) as port:
                return _get(port)
        except CannotAsk as other:
            raise CannotAsk(f"{error}; and by its admin port: {other}") from None


def _get(port: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", f"/{DUMP}")
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise CannotAsk(f"port {ADMIN_PORT} does not answer: {error}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise CannotAsk(f"port {ADMIN_PORT} answers {response.status}")
    return body


@contextlib.contextmanager
def _forwarded(namespace: str, pod: str) -> Iterator[int]:
    """A port of this machine that leads to the admin port of *pod*."""
    command = [program(), "port-forward", "--namespace", namespace, f"pod/{pod}", f":{ADMIN_PORT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:  # noqa: S603
        try:
            line = running.stdout.readline() if running.stdout else ""
            found = re.search(r"127\.0\.0\.1:([0-9]+) ->", line)
            if found is None:
                raise CannotAsk(f"{program()} port-forward: {line.strip() or 'it ended'}")
            yield int(found[1])
        finally:
            running.terminate()


def _output(*arguments: str) -> bytes:
    command = [program(), *arguments]
    shown = " ".join(command[:3])
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)  # noqa: S603
    except FileNotFoundError:
        raise CannotAsk(
            f"{command[0]} is not installed: take dumps yourself with `istioctl proxy-config all POD -o json`"
        ) from None
    except OSError as error:
        raise CannotAsk(f"cannot run {command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"{shown}: no answer in {_SECONDS} s") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise CannotAsk(f"{shown}: {said[-1] if said else f'exit code {ran.returncode}'}")
    return ran.stdout
