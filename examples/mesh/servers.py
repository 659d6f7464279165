"""The user service and `rls`, as processes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.mesh.http import Answer, ask
from examples.mesh.metrics import total
from examples.mesh.processes import Missing, Process, free_port

USER_SERVICE = Path(__file__).parents[1] / "user-service" / "user_service.py"


class UserService(Process):
    """The user service, ready."""

    def __init__(self, folder: Path) -> None:
        _need("uvicorn", "starlette", "prometheus_client")
        self.port = free_port()
        super().__init__(
            "user service", [sys.executable, USER_SERVICE, "--port", str(self.port)], folder / "user-service.log"
        )
        try:
            self.wait_until(lambda: ask(self.port, "/healthz").status == 200, "it answers")
        except BaseException:
            self.kill()
            raise


class Rls(Process):
    """`rls serve`, ready, on ports of its own, or on those of *ports*: gRPC, HTTP; *env* is added to its environment."""

    def __init__(
        self,
        config: Path,
        folder: Path,
        options: Sequence[str] = (),
        *,
        ports: tuple[int, int] | None = None,
        name: str = "rls",
        env: Mapping[str, str] | None = None,
    ) -> None:
        _need("rls")
        self.ports = ports or (free_port(), free_port())
        self.port, self.http_port = self.ports
        command = [sys.executable, "-m", "rls", "serve", "--config", str(config), "--admin", "off"]
        addresses = ["--grpc", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http_port}"]
        super().__init__(name, [*command, *addresses, *options], folder / f"{name}.log", env=env)
        try:
            self.wait_until(lambda: self.get("/readyz").status == 200, "it is ready")
        except BaseException:
            self.kill()
            raise

    def get(self, path: str) -> Answer:
        """What its HTTP address says."""
        return ask(self.http_port, path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have *labels*."""
        return total(self.get("/metrics").body.decode(), name, **labels)


def _need(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise Missing(f"{' and '.join(missing)} cannot be imported: `make demo` installs all that is needed")
