"""The rules of k8s/alerts, as Python objects, and Prometheus' own tool to try them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.redis_server import missing

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "k8s" / "alerts"
Object = dict[str, Any]


class Alert(NamedTuple):
    """An alerting rule, and the file that has it."""

    name: str
    file: str
    rule: Object

    @property
    def severity(self) -> str:
        return str(self.rule["labels"]["severity"])

    @property
    def runbook(self) -> str:
        return str(self.rule["annotations"]["runbook_url"])


@cache
def rule_files() -> tuple[Path, ...]:
    """In the order of the kustomization."""
    (generator,) = yaml.safe_load((ALERTS / "kustomization.yaml").read_text())["configMapGenerator"]
    return tuple(ALERTS / name for name in generator["files"])


@cache
def groups() -> list[Object]:
    """All groups of all files."""
    return [group for file in rule_files() for group in yaml.safe_load(file.read_text())["groups"]]


@cache
def alerts() -> tuple[Alert, ...]:
    return tuple(
        Alert(rule["alert"], file.name, rule)
        for file in rule_files()
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    )


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What a program of Prometheus or of Alertmanager does with *arguments*; without it, the test skips."""
    program = shutil.which(name) or missing(f"needs {name}")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
