"""Which servers a command asks: one, those that a name stands for, or pods through kubectl."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from rls.addresses import join_address, split_host, unix_path
from rls.cli.admin import UNANSWERED, WRONG, AdminError
from rls.cli.output import pass_on
from rls.kubectl import CannotAsk, forwarded, output

PodsOption = Annotated[
    str,
    typer.Option(
        "--pods",
        metavar="WHICH",
        help="Ask all pods: HOST[:PORT],… that DNS resolves, or kubectl[:NAMESPACE], which forwards ports.",
    ),
]
ADMIN_PORT = 6070
NAMESPACE = "rate-limit"
_SELECTOR = "app.kubernetes.io/name=rls"
_AT_ONCE = 16


class Pod(NamedTuple):
    """A server.

    Attributes:
        name: As people know it.
        address: Its admin address, as it is reached from here.
    """

    name: str
    address: str


class Told(NamedTuple):
    """What a pod answered.

    Attributes:
        pod: Who.
        answer: What; None without one.
        error: Why it did not answer; "" if it did.
        is_wrong: Whether it did not because it was asked for what it does not understand.
    """

    pod: Pod
    answer: dict[str, Any] | None
    error: str = ""
    is_wrong: bool = False


@contextmanager
def asked_pods(admin: str, which: str) -> Iterator[list[Pod]]:
    """The servers to ask: those of `--pods` if *which* is given, else the one at *admin*; kubectl forwards ports meanwhile.

    Raises:
        typer.BadParameter: *which* cannot be understood.
        typer.Exit: There is nobody to ask, since DNS does not know the name, or kubectl failed; that was printed.
    """
    with ExitStack() as stack:
        if not which:
            yield [Pod(admin, admin)]
        elif which == "kubectl" or which.startswith("kubectl:"):
            yield _forwarded(stack, which.partition(":")[2] or NAMESPACE)
        else:
            yield [pod for address in which.split(",") for pod in _resolved(address.strip())]


def ask_all(pods: Sequence[Pod], ask: Callable[[str], dict[str, Any]]) -> list[Told]:
    """What *ask* returns for the address of each pod, many at a time.

    Raises:
        typer.BadParameter: No pod understands what is asked.
    """

    def told(pod: Pod) -> Told:
        try:
            return Told(pod, ask(pod.address))
        except AdminError as error:
            return Told(pod, None, str(error), error.code == WRONG)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(threads.map(told, pods))
    if found and all(one.is_wrong for one in found):
        raise typer.BadParameter(found[0].error)
    return found


def _resolved(address: str) -> list[Pod]:
    if unix_path(address) is not None:
        return [Pod(address, address)]
    if not address:
        raise typer.BadParameter("--pods has an empty part: expected commas only between addresses")
    expected = "expected kubectl, kubectl:NAMESPACE, or HOST[:PORT] that DNS resolves, such as rls-replicas.rate-limit"
    try:
        host, port = split_host(address)
        found = socket.getaddrinfo(host, port or ADMIN_PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        _nobody(f"--pods is '{address}': {error.strerror}: {expected}")
    except UnicodeError:  # of IDNA
        raise typer.BadParameter(f"--pods is '{address}', which is no host name: {expected}") from None
    except ValueError as error:
        raise typer.BadParameter(f"--pods is '{address}': expected {error}") from None
    # A pod may have an address of each family: the first family counts.
    hosts = sorted({str(where[0]) for family, _, _, _, where in found if family == found[0][0]})
    addresses = [join_address(one, port or ADMIN_PORT) for one in hosts]
    return [Pod(address, address) for address in addresses]


def _forwarded(stack: ExitStack, namespace: str) -> list[Pod]:
    """The running pods of *namespace*, each with a port of this machine that kubectl forwards."""
    try:
        listed = output("get", "pods", "--namespace", namespace, "--selector", _SELECTOR, "--output", "json")
        items = json.loads(listed)["items"]
        names = [item["metadata"]["name"] for item in items if item.get("status", {}).get("phase") == "Running"]
        ports = [(name, stack.enter_context(forwarded(namespace, name, ADMIN_PORT))) for name in names]
    except CannotAsk as error:
        _nobody(f"--pods kubectl: {error}")
    if not names:
        _nobody(f"--pods kubectl: no pod runs in namespace {namespace} with the label {_SELECTOR}")
    return [Pod(name, f"127.0.0.1:{port}") for name, port in ports]


def _nobody(why: str) -> NoReturn:
    """End the command as one without an answer."""
    pass_on(f"rls: {why}", err=True)
    raise typer.Exit(UNANSWERED)
