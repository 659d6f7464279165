import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from examples.mesh.http import ask
from rls.cli import app
from rls.settings import RENAMED, Settings, flag, old_flag, variable
from tests.rls_process import RULES, RlsProcess
from tests.terminal import HOSTILE, harm


def serve(*arguments: str, **env: str):
    wide = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    return CliRunner(env={**wide, **env}).invoke(app, ["serve", *arguments])


def shown(*arguments: str) -> str:
    """A help page as words."""
    return " ".join(re.sub(r"-\n +", "-", serve(*arguments).stdout).split())


def test_all_help_has_a_flag_a_variable_and_a_purpose_for_every_setting() -> None:
    text = shown("--help-all")
    for name, field in Settings.model_fields.items():
        option = flag(f"no_{name}") if field.default is True else flag(name)
        assert f" {option} " in text
        assert f"{variable(name)}{'=false' if field.default is True else ''}]" in text
        assert field.description is not None
        assert field.description[1:] in text


def test_every_purpose_is_a_sentence() -> None:
    """It stands alone: in help nothing comes before it."""
    for name, field in Settings.model_fields.items():
        text = field.description or ""
        assert (name, text[:1].isupper(), text[-1:]) == (name, True, ".")


def test_help_has_the_common_settings_and_names_the_others() -> None:
    text = shown("--help")
    common = {name for name in Settings.model_fields if f" {flag(name)} " in text}
    assert {"config", "backend", "grpc", "http", "drain_timeout"} <= common
    assert len(common) < len(Settings.model_fields) / 2
    assert "--help-all All options" in text


def test_old_names_are_in_no_help() -> None:
    for text in (shown("--help"), shown("--help-all")):
        assert [old for old in RENAMED if f" {old_flag(old)} " in text] == []


def test_help_of_a_flag_that_turns_off_says_so() -> None:
    text = shown("--help-all")
    assert "Do not answer gRPC server reflection; with grpcio only. [RLS_REFLECTION=false]" in text


@pytest.mark.parametrize("default", ["0.0.0.0:8081", "127.0.0.1:6070", "memory://", "10ms", "5s", "0.8", "1048576"])
def test_help_has_the_defaults(default: str) -> None:
    assert f"[default: {default}; RLS_" in shown("--help-all")


def test_help_has_the_values_of_choices() -> None:
    assert "--on-backend-error local|allow|deny|error " in shown("--help")


def test_all_help_has_headings() -> None:
    headings = ["Rules", "Counting", "Answers", "Listeners", "TLS", "Limits", "Process"]
    text = serve("--help-all").stdout
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == [*headings, "Options"]


CHECK = {"domain": "mesh", "descriptors": [{"entries": [{"key": "company_id", "value": "acme"}]}]}


@pytest.mark.parametrize(("options", "status"), [(["--no-json-checks"], 404), ([], 200)])
def test_a_flag_that_turns_off_does_so(options: list[str], status: int, tmp_path: Path) -> None:
    with RlsProcess(tmp_path, *options) as server:
        port = int(server.addresses["http"].rpartition(":")[2])
        answer = ask(port, "/json", method="POST", body=json.dumps(CHECK).encode())
    assert answer.status == status


def test_an_old_name_is_read_and_logged(tmp_path: Path) -> None:
    """The flag that turned charging off turns refunds on."""
    options = ["--no-charge-refused", "--log-format", "json"]
    with RlsProcess(tmp_path, *options, env={"RLS_MAX_STREAMS": "7"}) as server:
        events = [json.loads(line) for line in server.output().splitlines()]
    old = "is an old name, which the next release will not read: use"
    assert [event["reason"] for event in events if event["event"] == "setting_deprecated"] == [
        f"--no-charge-refused {old} --refund-over-limit, which means the opposite",
        f"RLS_MAX_STREAMS {old} RLS_MAX_CONCURRENT_STREAMS",
    ]


def test_a_mistyped_variable_stops_the_start() -> None:
    result = serve("--config", "rules", RLS_BACKEN="redis://h")
    assert result.exit_code == 2
    assert result.stderr == "rls: RLS_BACKEN is not a setting; did you mean RLS_BACKEND?\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", "10 has no unit, expected 10ms or 10s"), ("1sec", "expected a duration such as 10ms, 5s or 1m30s")],
)
def test_a_duration_needs_a_unit(text: str, expected: str) -> None:
    result = serve("--config", "rules", "--backend-timeout", text)
    assert (result.exit_code, result.stderr) == (2, f"rls: --backend-timeout is '{text}': {expected}\n")


def test_settings_that_cannot_be_used() -> None:
    """Each has its line, and the exit code is that of a wrong call."""
    result = serve("--drain-timeout", "soon", "--config", "rules", RLS_GRPC="nowhere")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "rls: RLS_GRPC is 'nowhere': expected HOST:PORT, [IPV6]:PORT, PORT or unix:/path",
        "rls: --drain-timeout is 'soon': expected a duration such as 10ms, 5s or 1m30s",
    ]


def test_no_rules_to_serve() -> None:
    result = serve()
    assert result.exit_code == 2
    assert (
        result.stderr == "rls: --config (RLS_CONFIG) is missing: expected at least one file or directory with rules\n"
    )


def test_a_server_reads_no_rules_from_standard_input() -> None:
    result = serve("--config", "-")
    reason = "expected files or directories with rules: a server does not read them from standard input"
    assert (result.exit_code, result.stderr) == (2, f"rls: --config is '-': {reason}\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_of_files_that_are_no_text_are_shown_safely(form: str, tmp_path: Path) -> None:
    """In the log, on the terminal and to probes; whatever they are, the rules in them hold."""
    folder = tmp_path / "rules"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/good-\xff\x1b[2J.yaml")).write_text(RULES)
    Path(os.fsdecode(os.fsencode(folder) + b"/bad-\xff\x1b[2J\n.yaml")).write_text("domain: x\ndomian: x\n")
    with RlsProcess(tmp_path, "--config", str(folder), "--log-format", form) as server:
        state, _, problems = server.readiness()
    assert (state, problems) == ("degraded", [rf"{folder}/bad-\xff\x1b[2J\n.yaml:2:1: {MISTAKE}"])
    assert "good-" in server.output()
    assert not harm(server.output())
    if form == "text":
        assert rf"{folder}/bad-\xff\x1b[2J\n.yaml:2:1: {MISTAKE}" in server.output()


MISTAKE = "unknown key `domian`, did you mean `domain`?"


def test_a_setting_that_cannot_be_used_is_not_shown_raw() -> None:
    """One mistake is one line, whatever it holds."""
    result = serve("--drain-timeout", HOSTILE, "--config", f"/none{HOSTILE}", RLS_GRPC=HOSTILE)
    assert not harm(result.stderr)
    assert [line[:16] for line in result.stderr.splitlines()] == ["rls: RLS_GRPC is", "rls: --drain-tim"]
    assert not harm(serve("--config", f"/none{HOSTILE}").stderr)
