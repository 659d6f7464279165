"""ConfigMaps of istiod as they are found in the wild, in a cluster that is a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

AS_INSTALLED = """\
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
defaultProviders:
  metrics:
  - prometheus
enablePrometheusMerge: true
rootNamespace: istio-system
trustDomain: cluster.local"""

WITH_A_PROVIDER = """\
# Owned by the platform team; ask before you change it.
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  # Ours, for the dashboards.
  proxyStatsMatcher:
    inclusionRegexps:
      - '.*upstream_cx.*'   # connections
    inclusionPrefixes: [listener]
extensionProviders:

  # A CUSTOM AuthorizationPolicy names it: without it, every request is denied.
  - name: ext-authz
    envoyExtAuthzGrpc:
      service: authz.security.svc.cluster.local
      port: 9000
      # The last words.

# About the domain.
trustDomain: cluster.local
"""

IN_LINES = {"empty lists", "null", "lists in one line", "lists over lines", "JSON"}
TEXTS = {
    "as installed": AS_INSTALLED,
    "with another provider, comments, and lists": WITH_A_PROVIDER,
    "empty": "",
    "comments only": "# nothing yet\n",
    "empty lists": "extensionProviders: []  # none\ndefaultConfig: {}\n",
    "keys without values": "extensionProviders:\ndefaultConfig:\n  proxyStatsMatcher:\ntrustDomain: x\n",
    "null": "extensionProviders: null\ndefaultConfig: ~\n",
    "lists in one line": (
        "extensionProviders: [{name: ext-authz, envoyExtAuthzGrpc: {service: authz, port: 9000}}]\n"
        "defaultConfig: {proxyStatsMatcher: {inclusionRegexps: ['a', \"b\"]}}\n"
    ),
    "lists over lines": "extensionProviders: [\n  {name: a, prometheus: {}},\n]\n",
    "JSON": json.dumps({"trustDomain": "cluster.local", "defaultConfig": {"concurrency": 2}}, indent=2),
    "dashes at the margin": "extensionProviders:\n- name: a\n  prometheus: {}\n- name: b\n  stackdriver: {}\ntrustDomain: x",
    "a text over lines at the end": "extensionProviders:\n  - name: a\n    lua: |\n      one\n\n      two\n\n\ntrustDomain: x\n",
    "an anchor elsewhere": "a: &common {x: 1}\nb: *common\nextensionProviders:\n  - &p {name: a, prometheus: {}}\nc: *p\n",
}


class Cluster:
    """ConfigMaps in a folder, and the script that is run against them."""

    def __init__(self, folder):
        self.folder = folder
        self.kubectl = folder / "kubectl"
        double = Path(__file__).with_name("kubectl.py")
        self.kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {double} {folder} "$@"\n')
        self.kubectl.chmod(0o755)

    def put(self, mesh, *, name="istio", namespace="istio-system", **metadata):
        metadata = {"name": name, "namespace": namespace, "resourceVersion": "7", **metadata}
        data = {"mesh": mesh, "meshNetworks": "networks: {}"}
        tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        (self.folder / f"{namespace}.{name}.json").write_text(json.dumps(tree))

    def get(self, name="istio", namespace="istio-system"):
        return json.loads((self.folder / f"{namespace}.{name}.json").read_text())

    def text(self):
        return self.get()["data"]["mesh"]

    def run(self, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "scripts.mesh_config", *arguments],
            cwd=ROOT,
            env={**os.environ, "KUBECTL": str(self.kubectl), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
