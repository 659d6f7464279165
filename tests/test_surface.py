"""What users rely on, as text: `tests/surface.txt`. After a change that is meant: `python -m tests.test_surface`."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main
from prometheus_client.parser import text_string_to_metric_families

from examples.mesh.http import ask
from rls.cli import app
from rls.cli.call import OVER_LIMIT, UNANSWERED, UNLIMITED
from rls.settings import Settings, flag, variable
from tests.rls_process import RlsProcess

SURFACE = Path(__file__).with_name("surface.txt")
RULES = """\
domain: mesh
descriptors:
  - key: company_id
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 2}
  - key: internal
    rate_limit: {unlimited: true}
  - key: user
    value_to_metric: true
    rate_limit: {unit: year, requests_per_unit: 1}
"""


def asked(key: str, **more: object) -> bytes:
    """A check in JSON."""
    return json.dumps({"domain": "mesh", "descriptors": [{"entries": [{"key": key, "value": "x"}], **more}]}).encode()


ASKED = (
    *[asked("company_id", hitsAddend=3)] * 2,
    asked("company_id", isNegativeHits=True),
    asked("user"),
    asked("none"),
)
"""Whatever makes a series appear."""
OVERRIDE = json.dumps(
    {
        "domain": "mesh",
        "entries": [{"key": "company_id", "value": "x"}],
        "limit": "3/year",
        "for": "1h",
        "reason": "a test",
    }
).encode()


def surface() -> str:
    served = list(paths_and_metrics())
    sections = {
        "commands": list(commands()),
        "exit codes: 0 well, 1 not, 2 called wrongly; of `rls call`": [
            f"{OVER_LIMIT} over limit",
            f"{UNANSWERED} no answer",
            f"{UNLIMITED} no limit, with --expect-limit",
        ],
        "settings: flag, variable, default": list(settings()),
        "HTTP": [line for line in served if "/" in line],
        "metrics: name, type, labels": sorted(line for line in served if "/" not in line),
    }
    return "\n".join(f"# {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections.items())


def commands() -> Iterator[str]:
    """Each with its parameters; those of `serve` are the settings."""
    group: Any = typer.main.get_command(app)
    for name, command in _all_commands(group):
        words = [
            max(parameter.opts, key=len)
            if parameter.param_type_name == "option"
            else parameter.metavar + "..." * (parameter.nargs != 1)
            for parameter in command.params
        ]
        yield " ".join(["rls", name, *words])


def _all_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Those of *group* and of the groups in it, by their whole names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _all_commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        shown = flag(f"no_{name}") if field.default is True else flag(name)
        default = "required" if field.is_required() else repr(field.default)
        choices = "|".join(get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
        yield f"{shown} {variable(name)} {default} {choices}".rstrip()


def paths_and_metrics() -> Iterator[str]:
    """Of running servers, one for each kind of backend."""
    types: dict[str, str] = {}
    labels: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        token = Path(folder, "token")
        token.write_text("token-of-16-bytes")
        processes = [
            stack.enter_context(
                RlsProcess(
                    Path(folder),
                    "--backend",
                    backend,
                    "--json-token-file",
                    str(token),
                    "--admin-token-file",
                    str(token),
                    "--hash-secret-file",
                    str(token),
                    rules=RULES,
                    name=name,
                )
            )
            for name, backend in (("memory", "memory://"), ("redis", "redis://127.0.0.1:1"))
        ]
        for process in processes:
            port = int(process.addresses["http"].rpartition(":")[2])
            shown = {"Authorization": "Bearer token-of-16-bytes"}
            for body in ASKED:
                ask(port, "/json", shown, method="POST", body=body)
            admin = int(process.addresses["admin"].rpartition(":")[2])
            for headers in ({**shown, "Content-Type": "application/json"}, {}):
                ask(admin, "/api/v1/overrides", headers, method="POST", body=OVERRIDE)
            for family in text_string_to_metric_families(process.get("/metrics").body.decode()):
                suffix = "_total" if family.type == "counter" else ""
                if family.name.startswith("rls_"):
                    name = family.name + suffix
                    types[name] = family.type
                    labels.setdefault(name, set()).update(name for sample in family.samples for name in sample.labels)
        for kind in ("http", "admin"):
            listed = processes[0].get("/none", of=kind).body.decode().partition("available: ")[2].rstrip(")\n")
            yield f"{kind}: {listed}"
    for name, kind in types.items():
        yield " ".join([name, kind, *sorted(labels[name] - {"le"})])


def test_the_surface_has_not_changed() -> None:
    assert surface() == SURFACE.read_text()


def test_every_metric_stands_in_the_page() -> None:
    metrics = SURFACE.read_text().partition("# metrics")[2].splitlines()[1:]
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    assert [line for line in metrics if f"`{line.split()[0]}`" not in page] == []


if __name__ == "__main__":
    SURFACE.write_text(surface())
