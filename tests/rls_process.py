"""`rls serve` as a process, on free ports that it says itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.mesh.http import Answer, ask
from examples.mesh.metrics import total
from examples.mesh.processes import Process

RULES = """\
domain: mesh
descriptors:
  - key: company_id
    rate_limit:
      unit: year
      requests_per_unit: 2
"""
"""By the year, so that no window ends while a test runs."""


class RlsProcess(Process):
    """A server that listens, its files in *folder*, under *rules* unless it is given a `--config`; without a drain.

    *python* runs *program*: this interpreter, unless it is given another.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        rules: str = RULES,
        env: Mapping[str, str] | None = None,
        name: str = "rls",
        program: Sequence[str | Path] = ("-m", "rls"),
        python: Sequence[str | Path] = (sys.executable,),
    ) -> None:
        self.rules = folder / "rules.yaml"
        if "--config" not in options:
            self.rules.write_text(rules)
            options = ("--config", str(self.rules), *options)
        # What is given twice counts once, the last time.
        addresses = [word for kind in ("grpc", "http", "admin") for word in (f"--{kind}", "127.0.0.1:0")]
        variables = [f"{variable}={value}" for variable, value in (env or {}).items()]
        command = ["env", *variables, *python, *program, "serve", *addresses, "--drain-timeout", "0", *options]
        super().__init__(name, command, folder / f"{name}.log")
        try:
            self.wait_until(lambda: self.addresses, "it listens")
        except BaseException:
            self.kill()
            raise

    @property
    def addresses(self) -> dict[str, str]:
        """Where it listens; empty until it does."""
        started = re.search(r"^.*\bserver_started\b.*$", self.output(), re.MULTILINE)
        return (
            {} if started is None else dict(re.findall(r"\b(grpc|http|admin)[^\w\[]{1,4}([\w.:\[\]]+:\d+)", started[0]))
        )

    def get(self, path: str, of: str = "http") -> Answer:
        """What its HTTP or its admin address says."""
        return ask(int(self.addresses[of].rpartition(":")[2]), path)

    def readyz(self) -> tuple[Answer, dict[str, Any]]:
        """`/readyz`: the answer and what it says, without `cpu_throttled`: tests may run under a CPU limit."""
        answer = self.get("/readyz")
        said = answer.json()
        said["reasons"] = [reason for reason in said["reasons"] if reason["reason"] != "cpu_throttled"]
        if not said["reasons"]:
            said["state"] = "enforced"
        return answer, said

    def readiness(self) -> list[object]:
        """Enforcement state, the reasons' texts, and problems."""
        _, said = self.readyz()
        return [said["state"], [reason["text"] for reason in said["reasons"]], said["problems"]]

    def reasons(self) -> list[str]:
        """The enforcement state's reasons, by name."""
        return [reason["reason"] for reason in self.readyz()[1]["reasons"]]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have *labels*."""
        return total(self.get("/metrics").body.decode(), name, **labels)
