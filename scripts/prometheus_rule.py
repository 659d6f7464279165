"""Make the PrometheusRule of k8s/components/monitoring from the rules of k8s/alerts, which plain Prometheus reads as they are.

`--check` only says whether it is as it would be made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "k8s" / "alerts"
OUTPUT = ROOT / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = """\
# Made by `make alerts` from k8s/alerts: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rls
  namespace: rate-limit
  labels: { app.kubernetes.io/name: rls, app.kubernetes.io/part-of: istio-rate-limiter }
spec:
  groups:
"""


def made() -> str:
    """The object, with the groups of all files in the kustomization's order, comments included."""
    (generator,) = yaml.safe_load((ALERTS / "kustomization.yaml").read_text())["configMapGenerator"]
    parts = [HEAD]
    for name in generator["files"]:
        _, _, groups = (ALERTS / name).read_text().partition("groups:\n")
        parts += [f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True)]
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        OUTPUT.write_text(made())
        return 0
    if OUTPUT.exists() and OUTPUT.read_text() == made():
        return 0
    print(f"{OUTPUT.relative_to(ROOT)} is not what k8s/alerts makes: run `make alerts`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
