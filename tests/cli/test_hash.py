import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rls.cli import app
from rls.core.pseudonyms import Pseudonyms

SECRET = b"5f3c0b1e9a7d4c26"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    return str(file)


def run(*arguments: str, **env: str):
    return CliRunner(env={"COLUMNS": "200", **env}).invoke(app, ["hash", *arguments])


def test_a_line_for_each_entry_in_their_order(secret: str) -> None:
    hide = Pseudonyms(SECRET).hide
    said = run("--hash-secret-file", secret, "company_id=acme", "remote_address=2001:db8::1", "company_id=a=b", "path=")
    assert said.exit_code == 0
    assert said.stdout.splitlines() == [
        f"company_id={hide('company_id', 'acme')}",
        f"remote_address={hide('remote_address', '2001:db8::1')}",
        f"company_id={hide('company_id', 'a=b')}",
        "path=",
    ]


def test_in_a_pod_its_environment_says_how_values_are_hashed(secret: str) -> None:
    """So `kubectl exec … rls hash company_id=acme` needs no option."""
    said = run("company_id=acme", "path=/x", RLS_HASH_SECRET_FILE=secret, RLS_HASH_KEYS="company_id")
    assert said.stdout.splitlines() == [f"company_id={Pseudonyms(SECRET).hide('company_id', 'acme')}", "path=/x"]


def test_bytes_that_are_not_utf_8(secret: str) -> None:
    said = run("--hash-secret-file", secret, os.fsdecode(b"user=\xff"))
    assert said.stdout.strip() == f"user={Pseudonyms(SECRET).hide('user', os.fsdecode(bytes([255])))}"


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (None, "secret: No such file or directory"),
        (b"short", "a secret of 5 bytes, expected at least 16; try `openssl rand -hex 32`"),
    ],
)
def test_a_secret_that_cannot_be_used(contents: bytes | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if contents is not None:
        file.write_bytes(contents)
    said = run("--hash-secret-file", str(file), "a=b")
    assert said.exit_code == 2
    assert said.stderr.startswith("rls: --hash-secret-file or RLS_HASH_SECRET_FILE: cannot ")
    assert says in said.stderr


def test_what_is_no_entry_and_a_secret_that_is_missing(secret: str) -> None:
    said = run("--hash-secret-file", secret, "acme")
    assert said.exit_code == 2
    assert "expected KEY=VALUE" in said.stderr
    said = run("a=b")
    assert said.exit_code == 2
    assert "RLS_HASH_SECRET_FILE" in said.stderr
