import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from rls import __version__
from rls.cli import app
from rls.cli.serve import SHORT
from rls.settings import Flag, Settings, duration_text, flag
from tests.redis_server import missing


def commands(group: Any) -> dict[str, Any]:
    """Those of *group*, by name."""
    found: dict[str, Any] = getattr(group, "commands", {})
    return found


RLS: Any = typer.main.get_command(app)
ALL = commands(RLS)
COMMANDS = RLS.list_commands(typer.Context(RLS))
PAGES = [[], *([name] for name in COMMANDS), *([name, one] for name in COMMANDS for one in commands(ALL[name]))]


def shown_by(field: Any) -> Flag:
    return next(part for part in field.metadata if isinstance(part, Flag))


def page(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("arguments", PAGES, ids=" ".join)
def test_help_fits_a_screen_and_ends_with_an_example(arguments: list[str]) -> None:
    """A screen is a terminal of 24 lines by 80 columns; `serve --help-all` and the list of commands are longer.

    The example names the command.
    """
    lines = page(*arguments).splitlines()
    assert len(lines) <= (24 if arguments else 40)
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith(f"Example: {' '.join(['rls', *arguments])}")


def test_the_short_page_of_serve_has_each_common_setting_in_a_line_of_its_own() -> None:
    """With its default."""
    common = {name: field for name, field in Settings.model_fields.items() if shown_by(field).common}
    assert common.keys() == SHORT.keys()
    lines = [line for line in page("serve").splitlines() if line.startswith("  --")]
    assert [line.split()[0] for line in lines] == [*map(flag, common), "--help-all"]
    for name, field in common.items():
        default = duration_text(field.default) if name == "drain_timeout" else str(field.default)
        if field.default and name != "config":
            assert SHORT[name].endswith(f" [{default}]")


@pytest.mark.parametrize("arguments", [*PAGES, ["serve", "--help-all"]], ids=" ".join)
def test_help_shows_values_and_neither_types_nor_markup(arguments: list[str]) -> None:
    text = page(*arguments)
    assert [word for word in ("<", "bool", "None", "[bold]", "[dim]", "TEXT]") if word in text] == []


@pytest.mark.parametrize(
    "arguments", [[], ["check"], ["call"], ["explain"], ["hash"], ["test"], ["mesh"], ["mesh", "check"]], ids=" ".join
)
def test_without_arguments_help_is_printed(arguments: list[str]) -> None:
    """On stderr, with the exit code of wrong usage."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.strip() == page(*arguments).strip()


def test_version_is_an_option_too() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"rls {__version__} (Python 3.")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rls ", COMMANDS),
        ("rls serve --on-b", ["--on-backend-error"]),
        ("rls serve --refund", ["--refund-over-limit"]),
        ("rls serve --on-backend-error ", ["local", "allow", "deny", "error"]),
        ("rls serve --drain", ["--drain-timeout"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(typed: str, expected: list[str]) -> None:
    """As the script does that --install-completion installs."""
    variables = {"_RLS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    code = "from rls.cli import main; main()"
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.split() == expected


IN_BASH = """\
eval "$(rls --show-completion bash)"
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rls_completion rls; echo "${COMPREPLY[@]}"; }
complete_words rls serve --on-backend-error ""
complete_words rls check --format ""
complete_words rls ch
"""


def test_the_script_that_is_shown_completes_in_a_real_bash(tmp_path: Path) -> None:
    bash = shutil.which("bash") or missing("needs bash")
    program = tmp_path / "rls"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rls "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", IN_BASH], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (
        ["local allow deny error", "text github json sarif", "check"],
        "",
    )
