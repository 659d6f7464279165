"""A real API server, as setup-envtest brings it: in a folder that KUBEBUILDER_ASSETS names, with `etcd` and `kube-apiserver`."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from examples.mesh.processes import free_port
from scripts import apply, programs
from tests import crds
from tests.k8s.nodes import program

ASSETS = os.environ.get("KUBEBUILDER_ASSETS")
USERS = {"admin": "system:masters", "operator": "rls-operators", "deployer": "rls-deployers"}


class Cluster:
    """An API server, and kubectl as each of USERS."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"https://127.0.0.1:{port}"
        for user in USERS:
            script = folder / user
            options = f'--server={self.url} --insecure-skip-tls-verify --token={user} --cache-dir={folder}/cache "$@"'
            script.write_text(f"#!/bin/sh\nexec {program('kubectl')} {options}\n")
            script.chmod(0o755)

    def kubectl(self, *arguments: str, user: str = "admin", stdin: str = "") -> str:
        command: list[str | Path] = [self.folder / user, *arguments]
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise programs.Failed(ran.stderr)
        return ran.stdout

    def run(self, path: Path) -> None:
        os.environ["KUBECTL"] = str(self.folder / "admin")
        apply.run(str(path), dry_run=False)

    def versions(self, selector: str) -> dict[apply.Identity, str]:
        """Of what is ours; a write changes it."""
        kinds = ",".join(sorted({each.kind.lower() for each in apply.present(selector)}))
        listed = json.loads(self.kubectl("get", kinds, "-A", f"--selector={selector}", "-o", "json"))["items"]
        return {apply.Identity.of(each): each["metadata"]["resourceVersion"] for each in listed}


def definition(name: str) -> dict[str, Any]:
    """A CRD for a kind of tests/crds.json, without its schema."""
    group, version, kind = name.split("/")
    plural = f"{kind.lower().removesuffix('y')}{'ies' if kind.endswith('y') else 's'}"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


@contextmanager
def api_server(folder: Path) -> Iterator[Cluster]:
    """One that runs, with the kinds and the namespaces that k8s/ and istio/ need."""
    store, peers, port = free_port(), free_port(), free_port()
    subprocess.run([program("openssl"), "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text("".join(f'{user},{user},{user},"{group}"\n' for user, group in USERS.items()))
    etcd: list[str | Path] = [
        f"{ASSETS}/etcd",
        "--data-dir",
        folder / "etcd",
        "--initial-cluster",
        f"default=http://127.0.0.1:{peers}",
    ]
    for name, at in (("client", store), ("peer", peers)):
        etcd += [f"--listen-{name}-urls", f"http://127.0.0.1:{at}"]
        etcd += [f"--{'advertise-client' if at == store else 'initial-advertise-peer'}-urls", f"http://127.0.0.1:{at}"]
    server: list[str | Path] = [
        f"{ASSETS}/kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{store}",
        f"--secure-port={port}",
    ]
    server += ["--bind-address=127.0.0.1", f"--cert-dir={folder}/certs", "--authorization-mode=RBAC"]
    server += [f"--service-account-{name}-file={folder}/sa.key" for name in ("key", "signing-key")]
    server += ["--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={folder}/tokens.csv"]
    server += ["--service-cluster-ip-range=10.0.0.0/24"]
    with (folder / "log").open("w") as log:
        started = [subprocess.Popen(each, stdout=log, stderr=log) for each in (etcd, server)]
    try:
        cluster = Cluster(folder, port)
        until_ready(cluster.url)
        named = [definition(name) for name in crds.SCHEMAS if not name.startswith(("argoproj", "kustomize", "source"))]
        cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(named))
        cluster.kubectl("wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
        for name in ("rate-limit", "users", "istio-ingress", "rate-limit-logging"):
            cluster.kubectl("create", "namespace", name)
        yield cluster
    finally:
        for each in reversed(started):
            each.terminate()
            each.wait()


def kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A file for programs that ask *cluster*, as admin."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": cluster.url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": "admin"}}],
        "contexts": [{"context": {"cluster": "it", "user": "admin"}, "name": "it"}],
        "current-context": "it",
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


def until_ready(url: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/readyz", context=context):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the API server does not get ready")
