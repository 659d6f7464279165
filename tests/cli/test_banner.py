import shutil
import subprocess
import sys

import pytest

from rls.cli.banner import banner, example_call
from rls.core.rules import RuleSet
from tests.redis_server import missing
from tests.terminal import HOSTILE, commands, harm
from tests.tries import Step, rule, rule_set


def test_where_it_listens_and_what_to_try() -> None:
    addresses = {"grpc": "0.0.0.0:8081", "http": "off"}
    assert banner(addresses, rule_set({(Step("a"),): rule()}), tls=True).splitlines() == [
        "rls listens on",
        "  grpc  0.0.0.0:8081",
        "  http  off",
        "try",
        "  rls call 127.0.0.1:8081 --tls --domain domain a=acme",
    ]
    assert banner(addresses, RuleSet()).splitlines()[3:] == []


@pytest.mark.parametrize(
    ("admin", "page"),
    [
        ("127.0.0.1:6070", "http://127.0.0.1:6070"),
        ("0.0.0.0:6070", "http://127.0.0.1:6070"),
        ("[::]:1", "http://[::1]:1"),
    ],
)
def test_the_page_to_look_at(admin: str, page: str) -> None:
    assert banner({"grpc": "HOST:1", "admin": admin}, RuleSet()).endswith(f"look at\n  {page}\n")


@pytest.mark.parametrize("admin", ["off", "unix:/run/rls"])
def test_no_page_that_a_browser_reaches(admin: str) -> None:
    assert "look at" not in banner({"grpc": "HOST:1", "admin": admin}, RuleSet())


def test_the_command_to_try_is_quoted_for_the_shell() -> None:
    rules = rule_set({(Step("path", "/a b/*"),): rule()})
    assert example_call("HOST:1", rules) == "rls call HOST:1 --domain domain 'path=/a b/acme'"


@pytest.mark.parametrize(
    ("address", "callable_at"), [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "'[::1]:1'"), ("10.0.0.1:1", "10.0.0.1:1")]
)
def test_the_command_to_try_can_be_called(address: str, callable_at: str) -> None:
    rules = rule_set({(Step("a"),): rule()})
    assert example_call(address, rules) == f"rls call {callable_at} --domain domain a=acme"


def test_the_command_to_try_is_one_that_the_shell_finds(monkeypatch, tmp_path) -> None:
    ours, other = tmp_path / "ours" / "rls", tmp_path / "other" / "rls"
    for path in (ours, other):
        path.parent.mkdir()
        path.touch(mode=0o755)
    rules = rule_set({(Step("a"),): rule()})
    monkeypatch.setattr(sys, "argv", [str(ours), "serve"])
    for path, command in (("", str(ours)), (other.parent, str(ours)), (ours.parent, "rls")):
        monkeypatch.setenv("PATH", str(path))
        assert example_call("HOST:1", rules) == f"{command} call HOST:1 --domain domain a=acme"


def test_no_rules_no_command_to_try() -> None:
    assert example_call("127.0.0.1:1", RuleSet()) == ""


@pytest.mark.parametrize("value", [HOSTILE, "it's \x1b[2J", "\u202e\\"])
def test_the_command_to_try_is_harmless_and_means_the_same(value: str) -> None:
    shown = banner({"grpc": "127.0.0.1:1"}, rule_set({(Step("a", value),): rule()}))
    assert not harm(shown)
    assert not commands(shown)
    bash = shutil.which("bash") or missing("needs bash")
    script = f"rls() {{ printf '%s\\0' \"$@\"; }}\n{shown.splitlines()[-1]}"
    done = subprocess.run([bash, "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode().split("\0")[-2] == f"a={value}"
