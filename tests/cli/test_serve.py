import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from rls.settings import Settings, flag, variable
from tests.rls_process import RULES, RlsProcess
from tests.terminal import HOSTILE, harm


def serve(*arguments: str, **env: str):
    wide = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    return CliRunner(env={**wide, **env}).invoke(app, ["serve", *arguments])


def test_help_has_a_flag_a_variable_and_a_purpose_for_every_setting() -> None:
    text = " ".join(serve("--help").stdout.split())
    for name, field in Settings.model_fields.items():
        shown = flag(f"no_{name}") if field.default is True else flag(name)
        assert f" {shown} " in text
        assert f"{variable(name)}{'=false' if field.default is True else ''}]" in text
        assert field.description is not None
        assert field.description[1:] in text


def test_help_of_a_flag_that_turns_off_says_so() -> None:
    text = " ".join(serve("--help").stdout.split())
    assert "Do not answer gRPC server reflection (grpcio only). [RLS_REFLECTION=false]" in text


@pytest.mark.parametrize("default", ["0.0.0.0:8081", "127.0.0.1:6070", "memory://", "10ms", "5s", "0.8", "1048576"])
def test_help_has_the_defaults(default: str) -> None:
    assert f"[default: {default}; RLS_" in " ".join(serve("--help").stdout.split())


def test_help_has_headings() -> None:
    headings = ["Rules", "Counting", "Answers", "Listeners", "TLS", "Limits", "Process"]
    text = serve("--help").stdout
    assert [heading for heading in headings if f"─ {heading} ─" in text] == headings


def test_settings_that_cannot_be_used() -> None:
    """Each has its line, and the exit code is that of a wrong call."""
    result = serve("--drain", "soon", "--config", "rules", RLS_GRPC="nowhere")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "rls: RLS_GRPC is 'nowhere': expected HOST:PORT, [IPV6]:PORT, PORT or unix:/path",
        "rls: --drain is 'soon': expected a duration such as 10ms, 5s, 1m30s, or a number of seconds",
    ]


def test_no_rules_to_serve() -> None:
    result = serve()
    assert result.exit_code == 2
    assert (
        result.stderr == "rls: --config (RLS_CONFIG) is missing: expected at least one file or directory with rules\n"
    )


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
    result = serve("--drain", HOSTILE, "--config", f"/none{HOSTILE}", RLS_GRPC=HOSTILE)
    assert not harm(result.stderr)
    assert [line[:16] for line in result.stderr.splitlines()] == ["rls: RLS_GRPC is", "rls: --drain is "]
    assert not harm(serve("--config", f"/none{HOSTILE}").stderr)
