"""Config dumps of the pods of a namespace, through kubectl."""

from __future__ import annotations

import json
from http import HTTPStatus

from rls.http_client import NoHttp, ask
from rls.kubectl import CannotAsk, forwarded, output, program
from rls.mesh.trees import Tree, text, tree, trees

CONTAINER = "istio-proxy"
ADMIN_PORT = 15000
DUMP = "config_dump?include_eds"
_SECONDS = 60
_MOST_BYTES = 1 << 30


def pods(namespace: str) -> list[str]:
    """Names of the running pods of *namespace* that have a proxy, which may be no pod at all.

    Raises:
        CannotAsk: kubectl fails.
    """
    try:
        listed = json.loads(output("get", "pods", "--namespace", namespace, "--output", "json"))
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
        return output(*in_pod, "pilot-agent", "request", "GET", DUMP)
    except CannotAsk as error:
        try:
            with forwarded(namespace, pod, ADMIN_PORT) as port:
                return _get(port)
        except CannotAsk as other:
            raise CannotAsk(f"{error}; and by its admin port: {other}") from None


def _get(port: int) -> bytes:
    try:
        answer = ask(f"127.0.0.1:{port}", f"/{DUMP}", seconds=_SECONDS, most=_MOST_BYTES)
    except (OSError, NoHttp) as error:
        raise CannotAsk(f"port {ADMIN_PORT} does not answer: {error}") from None
    if answer.status != HTTPStatus.OK:
        raise CannotAsk(f"port {ADMIN_PORT} answers {answer.status}")
    return answer.body
