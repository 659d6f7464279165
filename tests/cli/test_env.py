"""`rls env`: what people have → our variables."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rls.cli import app

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ratelimit}
spec:
  template:
    spec:
      containers:
        - name: exporter
          env: [{name: LOG_LEVEL, value: info}]
        - name: ratelimit
          image: envoyproxy/ratelimit:master
          envFrom:
            - configMapRef: {name: old}
          env:
            - {name: REDIS_URL, value: "redis:6379"}
            - name: REDIS_AUTH
              valueFrom: {secretKeyRef: {name: redis, key: password}}
            - name: CACHE_KEY_PREFIX
              valueFrom: {configMapKeyRef: {name: gone, key: prefix}}
            - name: PORT
              valueFrom: {configMapKeyRef: {name: old, key: port}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old}
data:
  port: "9080"
  REDIS_SOCKET_TYPE: tcp
  RUNTIME_ROOT: /data
  RUNTIME_SUBDIRECTORY: ratelimit
  RUNTIME_WATCH_ROOT: "false"
"""
COMPOSE = """\
services:
  redis: {image: "redis:7"}
  ratelimit:
    image: envoyproxy/ratelimit:master
    environment:
      - USE_STATSD=false
      - REDIS_SOCKET_TYPE=tcp
      - REDIS_URL=${REDIS:-redis:6379}
      - CACHE_KEY_PREFIX=$PREFIX
      - RUNTIME_ROOT=/data
      - RUNTIME_SUBDIRECTORY=ratelimit
      - RUNTIME_WATCH_ROOT=false
"""
LINES = """\
# of the old server
export RUNTIME_ROOT=/data
RUNTIME_SUBDIRECTORY="ratelimit"   # a folder
RUNTIME_WATCH_ROOT=false
REDIS_SOCKET_TYPE=tcp
REDIS_URL='redis:6379'
PATH=/bin
"""
MAP = "{RUNTIME_ROOT: /data, RUNTIME_SUBDIRECTORY: ratelimit, REDIS_SOCKET_TYPE: tcp, REDIS_URL: 'redis:6379'}\n"


def env(text: str, *options: str):
    return CliRunner().invoke(app, ["env", *options], input=text.encode(errors="surrogateescape"))


def variables(text: str, *options: str) -> dict[str, str]:
    said = json.loads(env(text, "--format", "json", *options).stdout)
    return {one["name"]: one["value"] for one in said["variables"]}


@pytest.mark.parametrize("text", [DEPLOYMENT, COMPOSE, LINES, MAP], ids=["Deployment", "compose", "lines", "map"])
def test_each_form_is_read(text: str) -> None:
    found = variables(text)
    assert found["RLS_CONFIG"] == "/data/ratelimit/config"
    assert found["RLS_BACKEND"].startswith("redis://redis:6379")


def test_a_list_and_a_config_map_alone_are_read() -> None:
    documents = list(yaml.safe_load_all(DEPLOYMENT))
    assert variables(yaml.safe_dump({"kind": "List", "items": documents})) == variables(DEPLOYMENT)
    assert variables(yaml.safe_dump(documents[1]))["RLS_CONFIG"] == "/data/ratelimit/config"


def test_what_is_elsewhere_is_named_and_passwords_are_files() -> None:
    result = env(DEPLOYMENT)
    assert result.exit_code == 1
    assert 'value: "redis://redis:6379?password_file=/etc/rls/redis/password"' in result.stdout
    assert (
        "  #   CACHE_KEY_PREFIX: its value is in the ConfigMap gone, key prefix: translate it as well. "
        "RLS_KEY_PREFIX: the same value\n"
    ) in result.stdout
    assert "its value is in the variable PREFIX of the shell that runs compose" in env(COMPOSE).stdout


def test_the_block_for_kubernetes_is_yaml() -> None:
    result = env(LINES)
    assert (result.exit_code, result.stderr) == (0, "2 set, 0 not needed, 1 ignored, 0 to do by hand\n")
    assert yaml.safe_load(result.stdout) == {
        "env": [
            {"name": "RLS_CONFIG", "value": "/data/ratelimit/config"},
            {"name": "RLS_BACKEND", "value": "redis://redis:6379"},
        ]
    }


def ignored(text: str) -> list[tuple[str, str]]:
    return [(one["what"], one["reason"]) for one in json.loads(env(text, "--format", "json").stdout)["ignored"]]


def test_what_is_not_read_is_said() -> None:
    text = "# of the old server\nREDIS_URL=a:1\n\nREDIS_URL b:2\nNEAR_LIMIT_RATO=0.5\nREDIS_URL=c:3\nPATH=/bin\n"
    assert variables(text)["RLS_BACKEND"] == "redis://c:3"
    found = [
        ("line 4", "not NAME=VALUE"),
        ("line 2, REDIS_URL", "line 6 has it again, and the last one counts"),
        ("line 5, NEAR_LIMIT_RATO", "no variable of envoyproxy/ratelimit; did you mean NEAR_LIMIT_RATIO?"),
        ("line 7, PATH", "no variable of envoyproxy/ratelimit"),
    ]
    assert ignored(text) == found
    said = env(text)
    assert "  # ignored:\n" + "".join(f"  #   {what}: {why}\n" for what, why in found) in said.stdout
    assert "2 set, 0 not needed, 4 ignored, 0 to do by hand\n" in said.stderr


@pytest.mark.parametrize(
    "text",
    [
        "services: {a: {environment: [REDIS_URL=a:1, GOGC=9, RUNTIME_ROOT=/a, REDIS_URL=c:3]}}",
        (
            "{kind: Deployment, spec: {template: {spec: {containers: [{name: a, env: [{name: REDIS_URL, value: 'a:1'},"
            " {name: GOGC, value: 9}, {name: RUNTIME_ROOT, value: /a}, {name: REDIS_URL, value: 'c:3'}]}]}}}}"
        ),
    ],
    ids=["compose", "Deployment"],
)
def test_what_is_not_read_of_a_container_is_said(text: str) -> None:
    assert variables(text)["RLS_BACKEND"] == "redis://c:3"
    twice = ("REDIS_URL", "given more than once: the last one counts")
    assert ignored(text) == [twice, ("GOGC", "no variable of envoyproxy/ratelimit")]


def test_a_shell_reads_the_lines_and_the_flags(tmp_path: Path) -> None:
    text = LINES + "CACHE_KEY_PREFIX='it''s; echo $HOME'\nSHADOW_MODE=true\nQUOTA_MODE=false\n"
    (tmp_path / "env").write_text(env(text, "--format", "env").stdout)
    script = 'set -a; . ./env; printf "%s" "$RLS_KEY_PREFIX|$RLS_CONFIG"'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "its; echo $HOME|/data/ratelimit/config"
    words = subprocess.run(
        ["sh", "-c", env(text, "--format", "flags").stdout.replace("rls serve", "printf '%s\\n'")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert words == [
        "--config",
        "/data/ratelimit/config",
        "--key-prefix",
        "its; echo $HOME",
        "--shadow-mode",
        "--backend",
        "redis://redis:6379",
    ]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", (), "no variable of envoyproxy/ratelimit, expected a Deployment, a ConfigMap, a compose file, or lines"),
        ("services: {web: {environment: {A: b}}}", (), "no variable of envoyproxy/ratelimit"),
        ("\udcff\udcfe", (), "no variable of envoyproxy/ratelimit"),
        ("[" * 10_000, (), "no variable of envoyproxy/ratelimit"),
        ("{kind: ConfigMap, metadata: null, data: 7}", (), "no variable of envoyproxy/ratelimit"),
        ("{kind: Deployment, metadata: {name: [x]}, spec: [7]}", (), "no variable of envoyproxy/ratelimit"),
        ("{kind: List, items: [7, null]}", (), "no variable of envoyproxy/ratelimit"),
        ("services: [a]", (), "no variable of envoyproxy/ratelimit"),
        ("services: {web: 7, b: {environment: 7}, c: {environment: [[x]]}}", (), "no variable of envoyproxy/ratelimit"),
        (COMPOSE, ("--container", "web"), "no container 'web', expected one of ratelimit"),
        (LINES, ("--container", "web"), "no container 'web', expected no --container, since none is named here"),
        (
            "services: {a: {environment: {RUNTIME_ROOT: /a}}, b: {environment: {RUNTIME_ROOT: /b}}}",
            (),
            "several containers have such variables: choose one of a, b with --container",
        ),
    ],
)
def test_wrong_usage(text: str, options: tuple[str, ...], said: str) -> None:
    result = env(text, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["env", str(tmp_path / "gone.yaml")])
    assert (result.exit_code, "No such file or directory" in result.stderr) == (2, True)
