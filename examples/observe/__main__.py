"""`python -m examples.observe`: run all that watches rls, print where to look, stop all on Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from examples.mesh.processes import Missing, NotSo, exit_on_signals, sleep_until_signal
from examples.observe.faults import act
from examples.observe.stage import Stage, stage

EXPLORE = "http://127.0.0.1:{port}/graph?g0.expr={expr}&g0.tab=0&g0.range_input=15m"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make observe", description="Watch a loaded rls on this machine.")
    parser.add_argument("--seconds", type=float, default=0, help="stop after this time, instead of at Ctrl-C")
    parser.add_argument(
        "--faults", action="store_true", help="let Valkey hang, change the rules and stop a pod meanwhile"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="let faults happen, draw the overview's panels as an SVG, and stop"
    )
    arguments = parser.parse_args()
    # A pipe has no width; a table and a URL want one.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    exit_on_signals()
    try:
        with (
            TemporaryDirectory(prefix="rls-observe-") as folder,
            stage(Path(folder), standard_ports=True) as running,
            running.load(),
        ):
            introduce(console, running)
            if arguments.picture:
                picture(console, running, arguments.picture)
            elif arguments.faults:
                act(console, running)
            elif arguments.seconds:
                time.sleep(arguments.seconds)
            if not (arguments.seconds or arguments.picture):
                sleep_until_signal()
    except (Missing, NotSo) as error:
        sys.exit(f"observe: {error}")
    except KeyboardInterrupt:
        console.print()
    console.print("All that was started is stopped.")


def introduce(console: Console, running: Stage) -> None:
    """Say where to look."""
    table = Table(title="Running until Ctrl-C", title_style="bold", title_justify="left")
    for column in ("what", "where", "look at"):
        table.add_column(column, overflow="fold")
    prometheus = running.prometheus
    table.add_row("Prometheus", prometheus.url, EXPLORE.format(port=prometheus.port, expr="rls_rule_utilization_ratio"))
    if running.alertmanager:
        table.add_row("Alertmanager", running.alertmanager.url, f"{running.alertmanager.url}/#/alerts")
    if running.jaeger:
        table.add_row("Jaeger", running.jaeger.url, f"{running.jaeger.url}/search?service=envoy")
    for rls, admin in zip(running.rls, running.admin, strict=True):
        http = f"http://127.0.0.1:{rls.http_port}"
        table.add_row(rls.name, f"{http}/readyz", f"{http}/metrics   http://127.0.0.1:{admin}/rlconfig")
    envoy = f"http://127.0.0.1:{running.envoy.admin_port}"
    table.add_row("Envoy", f"http://127.0.0.1:{running.envoy.port}/users", f"{envoy}/stats/prometheus")
    table.add_row("rules", str(running.rules), "edit them: a change is in force within two seconds")
    console.print(table)
    for text in running.missing:
        console.print(f"[yellow]Not running:[/] {text}", soft_wrap=True)
    console.print(
        "Grafana is not run here. Import k8s/components/dashboards/*.json into one of yours, with this Prometheus as its"
        " data source.",
        soft_wrap=True,
    )


def picture(console: Console, running: Stage, file: Path) -> None:
    """Draw the overview's panels after faults."""
    try:
        from examples.observe.picture import draw  # noqa: PLC0415
    except ImportError as error:
        raise Missing(f"{error.name} is not installed: `make picture` installs it") from None
    start = time.time()
    happened = act(console, running)
    draw(file, running.prometheus, start, time.time(), happened)
    console.print(f"Drawn: {file}")


if __name__ == "__main__":
    main()
