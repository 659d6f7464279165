"""Pods of `rls` on this machine: the server, its sidecar where it has one, and what can happen to them."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, Self

from examples.mesh.http import ask
from examples.mesh.processes import free_port
from examples.mesh.servers import Rls
from tests.certs import Authority
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import load
from tests.mesh.running import RunningProxy
from tests.mesh.world import RLS_SIDECAR, rendered

GRPC = 8081


class Options(NamedTuple):
    """How pods are made.

    Attributes:
        sidecar: Whether each has an Envoy before the server, as the mesh injects it.
        drain: RLS_DRAIN_TIMEOUT.
        vanishing: Whether it can vanish; the way to it is slower then.
    """

    sidecar: bool
    drain: str = "2s"
    vanishing: bool = False


class Pod:
    """One pod, whose server is ready; its files are in *folder*, which is made for it."""

    def __init__(self, folder: Path, rules: Path, authority: Authority, options: Options) -> None:
        folder.mkdir()
        self.name = folder.name
        self._folder, self._rules, self._options = folder, rules, options
        self._stack = ExitStack()
        self._ports = (free_port(), free_port())
        self.server = self._serve()
        self.sidecar: RunningProxy | None = None
        port = self.server.port
        if options.sidecar:
            inbound = {f"inbound|{GRPC}||": [Endpoint(port)]}
            made = rendered(load(), RLS_SIDECAR)
            self.sidecar = self._stack.enter_context(RunningProxy(made, inbound, authority, folder / "sidecar"))
            port = self.sidecar.placed.ports[GRPC]
        self._way = self._stack.enter_context(Way(port)) if options.vanishing else None
        self.endpoint = Endpoint(self._way.port if self._way else port, mtls=options.sidecar)

    def _serve(self) -> Rls:
        options = ("--drain-timeout", self._options.drain)
        return self._stack.enter_context(Rls(self._rules, self._folder, options, ports=self._ports, name=self.name))

    def is_ready(self) -> bool:
        """What kubelet's probe finds, which waits for a second."""
        if (self._way and self._way.lost) or self.server.returncode is not None:
            return False
        try:
            return ask(self.server.http_port, "/readyz", timeout=1).status == 200
        except OSError:
            return False

    def hang(self) -> None:
        """The server stops for good, and all its connections stay open."""
        self.server.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.server.send(signal.SIGCONT)

    def vanish(self) -> None:
        """No packet arrives any more: nothing is answered, and nothing refused."""
        assert self._way is not None, "it is not made to vanish"
        self._way.lose()

    def kill(self) -> None:
        """The server ends at once, as when it has no memory left; a sidecar stays."""
        self.server.kill()

    def start_again(self) -> None:
        """What kubelet does with a container that has ended."""
        self.server = self._serve()

    def restart(self) -> None:
        """The server is asked to end, drains, and is started again; a sidecar stays."""
        self.server.send(signal.SIGTERM)
        self.server.wait()
        self.start_again()

    def terminate(self) -> None:
        """The pod is asked to end: the server drains, and a sidecar lasts as long."""
        self.server.send(signal.SIGTERM)
        if self.sidecar is not None:
            ask(self.sidecar.admin_port, "/drain_listeners?graceful&skip_exit&inboundonly", method="POST")

    def stop(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Way:
    """The network before a pod: it forwards each connection to *target*, until it loses all packets.

    A connection to a pod that is gone waits for its timeout. So does one to a socket whose queue of connections is
    full, which is how this one is made to look gone.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._filling: list[socket.socket] = []
        self.lost = False

    def lose(self) -> None:
        self.lost = True
        # Two wake the loop that accepts; the others fill the queue.
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self._filling.append(one)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lost = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in (*self._open, *self._filling):
            one.close()

    def _accept(self) -> None:
        while not self.lost:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        """Until one end closes; what comes when packets are lost is thrown away."""
        with suppress(OSError):
            while data := source.recv(65_536):
                if not self.lost:
                    target.sendall(data)
        if not self.lost:
            for one in (source, target):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
