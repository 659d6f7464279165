import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls import __version__
from rls.cli import app


def rls(*arguments: str):
    return CliRunner().invoke(app, arguments)


def test_version() -> None:
    result = rls("version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"rls {__version__} (Python 3.")


def test_the_schema_is_a_json_schema() -> None:
    result = rls("schema")
    assert result.exit_code == 0
    assert "$schema" in json.loads(result.stdout)


def test_help_lists_the_commands() -> None:
    result = rls("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in ("serve", "check", "call", "hash", "schema", "version", "mesh"))


@pytest.mark.parametrize(
    ("command", "usage"),
    [("check", "rls check [OPTIONS] {PATH}...\n"), ("call", "rls call [OPTIONS] {ADDRESS} [KEY=VALUE]...\n")],
)
def test_help_names_arguments_once_and_without_types_of_python(command: str, usage: str) -> None:
    text = rls(command, "--help").stdout
    assert f"Usage: {usage}" in text.replace("root ", "rls ")
    assert "list[" not in text


@pytest.mark.parametrize("arguments", [["bogus"], ["serve", "--bogus"], ["version", "bogus"]])
def test_a_usage_error_exits_with_2(arguments: list[str]) -> None:
    assert rls(*arguments).exit_code == 2


EMPTY_PATHS = {
    "check ''": "PATH",
    "check rules.yaml --against ''": "--against",
    "check rules.yaml --envoyfilter ''": "--envoyfilter",
    "diff '' rules.yaml": "OLD",
    "diff rules.yaml ''": "NEW",
    "env ''": "FILE",
    "explain --config '' --domain mesh a=b": "--config",
    "hash --hash-secret-file '' a=b": "--hash-secret-file or RLS_HASH_SECRET_FILE",
    "istio ''": "PATH",
    "mesh check ''": "DUMP",
    "mesh check dump.json --rules ''": "--rules",
    "replay '' --config rules.yaml": "LOG",
    "replay access.log --config ''": "--config",
    "replay access.log --config rules.yaml --svg ''": "--svg",
    "test '' rules.yaml": "PATH",
    "test tests --config ''": "--config",
    "test tests --junit ''": "--junit",
    "doctor --config ''": "--config",
}
"""Commands with an empty text in place of a path, as of a variable that is not set, and what is wrong."""


@pytest.mark.parametrize("arguments", EMPTY_PATHS)
def test_an_empty_path_is_not_the_current_directory(arguments: str) -> None:
    result = rls(*shlex.split(arguments))
    message = f"rls: {EMPTY_PATHS[arguments]} is '': expected a path; is a variable of the shell empty?\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


@pytest.mark.parametrize(
    "arguments",
    [
        "explain --config - --domain mesh a=b",
        "istio -",
        "replay access.log --config -",
        "replay access.log --config - --against rules.yaml",
        "test -",
        "test tests --config -",
        "doctor --config -",
    ],
)
def test_rules_from_standard_input_are_refused_where_nothing_reads_them(arguments: str) -> None:
    result = rls(*shlex.split(arguments))
    message = "- is standard input: expected a file or directory; only rls check and rls diff read rules from -"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"rls: {message}\n")


@pytest.mark.parametrize(
    "arguments", ["check - --against -", "diff - -", "replay - - --config rules.yaml", "mesh check - -"]
)
def test_standard_input_is_read_once(arguments: str) -> None:
    result = rls(*shlex.split(arguments))
    message = "- is given twice: standard input can be read once, expected a file for the other one"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"rls: {message}\n")


DEVICES = {
    "replay /dev/zero --config rules.yaml": "cannot read /dev/zero: it is a device, not a file or a pipe",
    "env /dev/zero": "cannot read /dev/zero: it is a device, not a file or a pipe",
    "mesh check /dev/zero": "cannot read /dev/zero: it is a device, not a file or a pipe, expected a config dump",
    "explain -d mesh --envoyfilter /dev/zero": "--envoyfilter: cannot read /dev/zero: it is a device, not a file or a pipe",
    "diff rules.yaml rules.yaml --top /dev/zero": (
        "--top is '/dev/zero': it cannot be read: it is a device, not a file or a pipe"
    ),
    "explain -d mesh --envoyfilter rules.yaml --token /dev/zero": (
        "--token is no JWT and no file that can be read: expected a JWT, three parts with dots between them, "
        "or a file that holds one"
    ),
}  # fmt: skip
"""Commands that are given a device, which has no end, and what is wrong."""


@pytest.mark.parametrize("arguments", DEVICES)
def test_a_device_is_not_read_for_ever(arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(
        "domain: mesh\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1}}]\n"
    )
    result = rls(*shlex.split(arguments))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"rls: {DEVICES[arguments]}\n")


def test_a_pipe_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `rls replay <(zcat access.log.*.gz)`."""
    monkeypatch.chdir(tmp_path)
    line = '{"time": 1796000000, "company_id": "acme", "address": "10.0.0.1", "flags": "-"}\n'
    Path("rules.yaml").write_text(
        "domain: mesh\ndescriptors: [{key: company_id, rate_limit: {unit: day, requests_per_unit: 1}}]\n"
    )
    reading, writing = os.pipe()
    os.write(writing, line.encode())
    os.close(writing)
    assert rls("replay", f"/dev/fd/{reading}", "--config", "rules.yaml").stdout.startswith("1 request in /dev/fd/")
    os.close(reading)


def test_output_that_is_no_terminal_has_no_colours() -> None:
    for arguments in (["--help"], ["serve", "--help"], ["check"], ["bogus"]):
        assert "\x1b" not in rls(*arguments).output


@pytest.mark.parametrize(
    "arguments", [["version"], ["--help"], ["check", "--help"], ["call", "--help"], ["mesh", "check", "--help"]]
)
def test_what_needs_no_server_does_not_load_one(arguments: list[str]) -> None:
    """Help and version are quick."""
    heavy = {
        "grpc",
        "google.protobuf",
        "pydantic_settings",
        "prometheus_client",
        "redis",
        "starlette",
        "structlog",
        "yaml",
    }
    code = (
        "import sys; from rls.cli import app\n"
        f"try: app({arguments!r})\n"
        f"finally: print('loaded:', sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "loaded: []\n")


def on_the_command_line(arguments: str) -> subprocess.CompletedProcess[str]:
    """`rls` with *arguments*, which a shell reads."""
    command = f"{shlex.quote(sys.executable)} -m rls {arguments}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", ["version", "schema", "--help", "serve --help"])
def test_output_for_which_there_is_no_room_is_an_error_in_words(arguments: str) -> None:
    done = on_the_command_line(f"{arguments} >/dev/full")
    assert (done.returncode, done.stderr) == (os.EX_IOERR, "rls: cannot print: No space left on device\n")
    assert on_the_command_line(f"{arguments} >/dev/full 2>/dev/full").returncode == os.EX_IOERR


def test_output_that_nobody_reads_is_no_error() -> None:
    assert on_the_command_line("schema | head -1").stderr == ""
    assert on_the_command_line("schema >&- 2>&-").returncode == 0
