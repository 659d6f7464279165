"""`rls mesh check` as a command: files, kubectl, both forms of output, exit codes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from examples.tokens import Issuer
from rls.cli import app
from tests.mesh.dumps import config_dump, configured
from tests.mesh.manifests import ISTIO, load
from tests.mesh.test_mistakes import another_cluster
from tests.mesh.world import GATEWAY, USERS_SIDECAR, rendered
from tests.terminal import HOSTILE, harm

RULES = str(ISTIO.parent / "config" / "descriptors.yaml")


def mesh_check(*arguments, env=None, stdin=None):
    return CliRunner(env=env).invoke(app, ["mesh", "check", *map(str, arguments)], input=stdin)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """Files with dumps: of a gateway, of a sound sidecar, and of one whose cluster does not exist."""
    folder, jwks, bad = tmp_path_factory.mktemp("dumps"), Issuer().jwks(), load()
    another_cluster(bad)
    for name, objects, proxy in (
        ("gateway", load(), GATEWAY),
        ("users", load(), USERS_SIDECAR),
        ("bad", bad, USERS_SIDECAR),
    ):
        (folder / f"of-{name}").mkdir()
        text = config_dump(rendered(objects, proxy, jwks=jwks), folder / f"of-{name}")
        (folder / f"{name}.json").write_text(text)
    return folder


SOUND = """\
gateway istio-ingress/istio-ingress-5d8f, Istio 1.31.0, from gateway.json
  limits nothing
sidecar users/users-5d8f, Istio 1.31.0, from users.json
  counts each request once in the domain mesh, as [company_id] and [remote_address]:
    listener virtualInbound, chain 0.0.0.0_9000, port 9000
    listener virtualInbound, chain virtualInbound-catchall-http, all other ports
  asks outbound|8081||rls.rate-limit.svc.cluster.local (2 endpoints); a request waits at most 100 ms, and passes without an answer
"""
BAD = """
error other_cluster: sidecar users/users-5d8f: the proxy has no cluster outbound|8081||rls.ratelimit.svc.cluster.local, but it has \
outbound|8081||rls.rate-limit.svc.cluster.local
  where    listener virtualInbound, chain 0.0.0.0_9000, port 9000
           listener virtualInbound, chain virtualInbound-catchall-http
  traffic  every request passes unlimited
  change   EnvoyFilter, istio/envoyfilter.yaml, envoy_grpc.cluster_name
  do       Write the name as the proxy has it
"""


def test_what_is_well_exits_with_0(dumps, monkeypatch):
    monkeypatch.chdir(dumps)

    result = mesh_check("gateway.json", "users.json", "--rules", RULES)

    assert (result.exit_code, result.stdout) == (0, SOUND)
    assert result.stderr == "0 errors, 0 warnings, 0 notes; 2 proxies, 1 of which limits requests\n"


def test_a_finding_says_where_what_it_means_and_what_to_change(dumps, monkeypatch):
    monkeypatch.chdir(dumps)

    result = mesh_check("bad.json")

    assert result.exit_code == 1
    assert result.stdout.endswith(BAD)
    assert result.stderr == "1 error, 0 warnings, 0 notes; 1 proxy, 1 of which limits requests\n"


def test_programs_get_the_same_in_json(dumps):
    result = mesh_check(dumps / "bad.json", "--json")

    seen = json.loads(result.stdout)
    (finding,) = seen["findings"]
    (proxy,) = seen["proxies"]
    assert (result.exit_code, result.stderr) == (1, "")
    assert (finding["severity"], finding["code"], finding["proxies"]) == ("error", "other_cluster", [proxy["proxy"]])
    assert [place["port"] for place in finding["places"]] == [9000, 0]
    assert finding["change"]["file"] == "istio/envoyfilter.yaml"
    assert {count["descriptor"]: count["times"] for count in proxy["chains"][0]["counts"]} == {
        "[company_id]": 1,
        "[remote_address]": 1,
    }


def test_a_dump_may_come_by_standard_input(dumps):
    result = mesh_check("-", stdin=(dumps / "users.json").read_text())

    assert result.exit_code == 0
    assert result.stdout.startswith("sidecar users/users-5d8f, Istio 1.31.0, from <stdin>\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "dump.json: it is empty, expected the output of Envoy's /config_dump, which is JSON"),
        ("domain: mesh\n", "dump.json: it is YAML, expected the output of Envoy's /config_dump, which is JSON"),
        ("\0\1", "dump.json: it is binary, no text, expected the output of Envoy's /config_dump, which is JSON"),
        ("[]", "dump.json: a list, expected a whole dump: `istioctl proxy-config all POD -o json`, not `listener`"),
        ("{}", "dump.json: no config dump, expected an object with `configs`, as Envoy's /config_dump has it"),
        (
            '{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"}]}',
            "dump.json: a config dump without listeners, expected the whole of /config_dump, without mask or resource",
        ),
        (None, "cannot read dump.json: No such file or directory, expected a config dump"),
    ],
)
def test_what_is_no_dump_exits_with_2(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("dump.json").write_text(text)

    result = mesh_check("dump.json")

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"rls: {expected}\n")


def test_bad_rules_exit_with_2(dumps, tmp_path):
    (tmp_path / "rules.yaml").write_text("domain: mesh\ndescriptors: 5\n")

    result = mesh_check(dumps / "users.json", "--rules", tmp_path / "rules.yaml")

    assert result.exit_code == 2
    assert f"rls: {tmp_path}/rules.yaml:2:14: " in result.stderr


def test_nothing_to_check_exits_with_2():
    result = mesh_check("--json")

    expected = "rls: nothing to check: expected files with config dumps, or --namespace NAME\n"
    assert (result.exit_code, result.stderr) == (2, expected)


def test_text_of_a_dump_cannot_harm_a_terminal(tmp_path):
    node = {"id": f"sidecar~10.0.0.1~{HOSTILE}.users~x", "metadata": {"NAME": HOSTILE, "ISTIO_VERSION": HOSTILE}}
    dump = {
        "configs": [
            {"@type": "envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": node}},
            {"@type": "envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"name": HOSTILE, "error_state": {"details": HOSTILE}}]},
        ]
    }  # fmt: skip
    (tmp_path / "dump.json").write_text(json.dumps(dump))

    for option in ([], ["--json"]):
        result = mesh_check(tmp_path / "dump.json", *option)
        assert result.exit_code == 1
        assert harm(result.output) == set()


KUBECTL = """\
#!{python}
import sys, time
words = sys.argv[1:]
if words[:2] == ["get", "pods"]:
    print(open("{folder}/pods.json").read() if words[3] == "users" else '{{"items": []}}')
elif words[:2] == ["exec", "--namespace"] and words[4:7] == ["--container", "istio-proxy", "--"]:
    if words[3] == "without-agent":
        sys.exit('exec failed: "pilot-agent": executable file not found in $PATH')
    assert words[7:] == ["pilot-agent", "request", "GET", "config_dump?include_eds"], words
    print(open("{folder}/" + words[3] + ".json").read())
elif words[0] == "port-forward" and "{port}":
    print("Forwarding from 127.0.0.1:{port} -> 15000", flush=True)
    time.sleep(60)
else:
    sys.exit("error: unable to forward port because pod is not running")
"""


class Cluster:
    """A program in place of kubectl: no cluster is here. Dumps and the admin port are of real Envoys."""

    def __init__(self, folder):
        self.folder = folder
        self.program = folder / "kubectl"

    def set(self, *pods, port=""):
        self.program.write_text(KUBECTL.format(python=sys.executable, folder=self.folder, port=port))
        self.program.chmod(0o755)
        (self.folder / "pods.json").write_text(json.dumps({"items": list(pods)}))

    def check(self, *namespaces):
        options = [word for name in namespaces for word in ("--namespace", name)]
        return mesh_check(*options, env={"KUBECTL": str(self.program)})


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def pod(name, *, containers=("users", "istio-proxy"), init=(), phase="Running"):
    spec = {
        "containers": [{"name": each} for each in containers],
        "initContainers": [{"name": each} for each in init],
    }
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def test_pods_of_a_namespace_are_asked(cluster, dumps):
    """Those that run and have a proxy, also as a native sidecar."""
    shutil.copy(dumps / "users.json", cluster.folder / "users-1.json")
    shutil.copy(dumps / "bad.json", cluster.folder / "users-2.json")
    cluster.set(
        pod("users-1"),
        pod("users-2", containers=["users"], init=["istio-proxy"]),
        pod("done", phase="Succeeded"),
        pod("plain", containers=["plain"]),
    )

    result = cluster.check("empty", "users")

    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("rls: the namespace empty has no running pod with a container istio-proxy\n")
    titles = [line for line in result.stdout.splitlines() if ", from " in line]
    assert [title.partition(", from ")[2] for title in titles] == ["pod users/users-1", "pod users/users-2"]
    assert "error other_cluster" in result.stdout


def test_a_proxy_without_pilot_agent_is_asked_at_its_admin_port(cluster):
    folder = cluster.folder / "envoy"
    folder.mkdir()
    with configured(rendered(load(), USERS_SIDECAR, jwks=Issuer().jwks()), folder) as envoy:
        cluster.set(pod("without-agent"), port=envoy.admin_port)
        result = cluster.check("users")

    assert result.exit_code == 0, result.output
    assert "counts each request once" in result.stdout


def test_each_failure_of_kubectl_is_told(cluster):
    cluster.set(pod("without-agent"))
    failed = cluster.check("users")
    nobody = cluster.check("empty")
    absent = mesh_check("--namespace", "users", env={"KUBECTL": "no-such-kubectl"})

    assert [each.exit_code for each in (failed, nobody, absent)] == [2, 2, 2]
    assert failed.stderr == (
        f'rls: {cluster.program} exec --namespace: exec failed: "pilot-agent": executable file not found in $PATH; '
        f"and by its admin port: {cluster.program} port-forward: error: unable to forward port because pod is not running\n"
    )
    assert nobody.stderr == (
        "rls: the namespace empty has no running pod with a container istio-proxy\n"
        "rls: nothing to check: no proxy was found\n"
    )
    assert absent.stderr == ("rls: no-such-kubectl is not installed\n")


def test_it_runs_without_a_server(dumps):
    """It is quick: none of the server's parts is loaded."""
    code = (
        "import sys; from rls.cli import app\n"
        f"try: app(['mesh', 'check', {str(dumps / 'users.json')!r}])\n"
        "finally: print(sorted({'grpc', 'google.protobuf', 'redis', 'starlette', 'yaml'} & sys.modules.keys()), file=sys.stderr)"
    )
    env = {**os.environ, "COLUMNS": "80"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0
    assert ran.stderr.splitlines()[-1] == "[]"
