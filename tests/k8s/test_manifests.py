"""What is in k8s/: it renders, Kubernetes' schemas take it, and its parts fit each other."""

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rls.settings import RENAMED, Settings, unknown_variables
from tests import crds
from tests.k8s.manifests import (
    COMPONENTS,
    K8S,
    OVERLAYS,
    OWN_MONITORING,
    RENDERED,
    WORKLOADS,
    Object,
    containers,
    identity,
    objects,
    of_kind,
    rendered,
    secrets_made,
    selects,
    with_component,
    workloads,
)
from tests.k8s.nodes import ROOT, program
from tests.redis_server import missing

# The table: CPU, memory, storage.
RESOURCES = {("Deployment", "users"): ("500m", "512Mi"), ("Deployment", "rls"): ("1", "1Gi")}
RESOURCES |= {("StatefulSet", "redis"): ("2", "2Gi")}
# Secrets of others: object storage, Elasticsearch, Kibana. docs/kubernetes.md says how they are made.
FOREIGN_SECRETS = {"redis-archive", "elasticsearch-fluentd", "kibana-setup", "grafana"}
# Of Kubernetes itself.
FOREIGN = {
    ("ClusterRole", "", "system:auth-delegator"),
    ("Role", "kube-system", "extension-apiserver-authentication-reader"),
}
UNBOUND = {"APIService", "Namespace", "ClusterRole", "ClusterRoleBinding"}
UNBOUND |= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
# A sidecar's, of its statistics.
SIDECAR_PORTS = {15090}

overlays = pytest.mark.parametrize("name", [*(f"overlays/{name}" for name in OVERLAYS), OWN_MONITORING])
everything = pytest.mark.parametrize("name", RENDERED)
PRODUCTION = "overlays/production"
complete = pytest.mark.parametrize("name", [PRODUCTION, OWN_MONITORING])


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_can_be_switched_on_alone(component: str, tmp_path: Path) -> None:
    assert len(with_component(component, tmp_path)) > len(objects("base")) or component == "redis-cluster"


@pytest.mark.parametrize("version", ["1.33", "1.36"])
@everything
def test_the_schemas_of_kubernetes_take_it(name: str, version: str) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        missing("needs the wheel kubernetes-validate")
    for one in objects(name):
        if one["kind"] in crds.KINDS:
            assert crds.mistakes(one) == [], identity(one)
        else:
            kubernetes_validate.validate(one, version, strict=True)


def test_a_mistake_in_a_service_monitor_is_found() -> None:
    monitor = copy.deepcopy(of_kind(PRODUCTION, "ServiceMonitor")[0])
    monitor["spec"]["endpoints"][0] |= {"scrapeTimeOut": "5s", "interval": "15 s"}

    unknown, malformed = sorted(crds.mistakes(monitor))
    assert "'15 s' does not match" in unknown
    assert "'scrapeTimeOut' was unexpected" in malformed


@everything
def test_no_object_is_there_twice_and_each_names_its_namespace(name: str) -> None:
    identities = [identity(one) for one in objects(name)]

    assert len(set(identities)) == len(identities)
    unbound = {kind for kind, namespace, _ in identities if not namespace}
    assert unbound <= UNBOUND


@everything
def test_every_object_says_that_it_is_ours(name: str) -> None:
    """By this label scripts/apply.py finds what is no longer wanted."""
    for one in objects(name):
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "istio-rate-limiter", identity(one)


@complete
def test_deleting_everything_keeps_secrets_and_the_volumes_of_redis(name: str) -> None:
    """`kubectl delete -k` deletes what is rendered, and all that is in a namespace which is."""
    assert not of_kind(name, "Namespace", "Secret")
    (redis,) = (one for one in of_kind(name, "StatefulSet") if one["metadata"]["name"] == "redis")
    assert redis["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


@overlays
def test_nothing_is_there_that_a_second_apply_cannot_change(name: str) -> None:
    assert not of_kind(name, "Job")


@everything
def test_each_pod_says_whether_it_has_a_sidecar(name: str) -> None:
    """Or else a label of its namespace, such as that of a revision of istiod, would decide."""
    for one, pod in workloads(name):
        if one["metadata"]["namespace"] == "rate-limit":
            assert "sidecar.istio.io/inject" in pod["metadata"]["labels"], identity(one)


@everything
def test_selectors_find_the_pods_they_are_for(name: str) -> None:
    pods = [(one["metadata"]["namespace"], pod["metadata"]["labels"]) for one, pod in workloads(name)]
    for one in of_kind(name, "Service", "PodDisruptionBudget", "Deployment", "StatefulSet", "DaemonSet"):
        selector = one["spec"]["selector"]
        selector = {"matchLabels": selector} if one["kind"] == "Service" else selector
        namespace = one["metadata"]["namespace"]
        assert [labels for where, labels in pods if where == namespace and selects(selector, labels)], identity(one)


@everything
def test_ports_of_services_and_probes_are_those_of_containers(name: str) -> None:
    for one, pod in workloads(name):
        for container in containers(pod):
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {}).get("httpGet")
                assert asked is None or asked["port"] in ports, (identity(one), container["name"], probe)
    for service in of_kind(name, "Service"):
        found = ports_of(name, {"matchLabels": service["spec"]["selector"]}, service["metadata"]["namespace"])
        assert {port["targetPort"] for port in service["spec"].get("ports", [])} <= set(found), identity(service)


def ports_of(name: str, selector: Object, namespace: str) -> dict[str, int]:
    """Of the pods that are selected, by name."""
    return {
        port["name"]: port["containerPort"]
        for one, pod in workloads(name)
        if one["metadata"]["namespace"] == namespace and selects(selector, pod["metadata"]["labels"])
        for container in containers(pod)
        for port in container.get("ports", [])
    }


@complete
def test_network_policies_name_pods_and_ports_that_are_there(name: str) -> None:
    reached: set[tuple[str, int]] = set()
    for policy in of_kind(name, "NetworkPolicy"):
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        own = ports_of(name, spec["podSelector"], namespace).keys() | SIDECAR_PORTS
        for rule in spec.get("ingress", []):
            assert all(port["port"] in own for port in rule["ports"]), identity(policy)
        for rule in spec.get("egress", []):
            for peer in rule.get("to", []):
                where = (
                    peer.get("namespaceSelector", {})
                    .get(
                        "matchLabels", {"kubernetes.io/metadata.name": "" if "namespaceSelector" in peer else namespace}
                    )
                    .get("kubernetes.io/metadata.name", "")
                )
                if "ipBlock" not in peer and where in {"rate-limit", "users", "monitoring"}:
                    ports = {*ports_of(name, peer.get("podSelector", {}), where).values(), *SIDECAR_PORTS}
                    assert {port["port"] for port in rule["ports"]} <= ports, identity(policy)
                    reached |= {(where, port["port"]) for port in rule["ports"]}
    scraped = {("rate-limit", 8080), ("rate-limit", 9121), ("users", 9000), ("users", 15090)}
    watched = scraped | {("monitoring", 9090), ("monitoring", 9093), ("monitoring", 9094)}
    expected = {("rate-limit", 6379), ("rate-limit", 16379), ("rate-limit", 8081)}
    assert reached == expected | (watched if name == OWN_MONITORING else set())


@complete
def test_every_pod_is_under_a_policy_that_denies_by_default(name: str) -> None:
    policies = [
        policy
        for policy in of_kind(name, "NetworkPolicy")
        if set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    ]
    whole = {policy["metadata"]["namespace"] for policy in policies if not policy["spec"]["podSelector"]}
    assert whole == {"rate-limit"}, "in other namespaces, others may have pods"
    for one, pod in workloads(name):
        assert any(
            policy["metadata"]["namespace"] == one["metadata"]["namespace"]
            and selects(policy["spec"]["podSelector"], pod["metadata"]["labels"])
            for policy in policies
        ), identity(one)


def referenced(pod: Object) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key of what a pod must find."""
    yield "ServiceAccount", pod["spec"]["serviceAccountName"], None
    for volume in pod["spec"].get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
    for container in containers(pod):
        for source in container.get("envFrom", []):
            yield "Secret", source["secretRef"]["name"], None
        for variable in container.get("env", []):
            if ref := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", ref["name"], ref["key"]


@overlays
def test_what_pods_refer_to_is_there(name: str, secrets: Path) -> None:
    made = secrets_made(secrets)
    there = {identity(one) for one in objects(name)}
    for one, pod in workloads(name):
        for kind, referred, key in referenced(pod):
            if kind == "Secret":
                assert referred in FOREIGN_SECRETS or key in {None, *made.get(referred, ())}, (identity(one), referred)
                assert referred in FOREIGN_SECRETS | set(made), (identity(one), referred)
            else:
                assert (kind, one["metadata"]["namespace"], referred) in there, (identity(one), kind, referred)
        names = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        names |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
        assert mounted == names, identity(one)


@overlays
def test_scripts_that_run_are_in_the_config_maps_that_are_mounted(name: str) -> None:
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(name, "ConfigMap")}
    for one, pod in workloads(name):
        sources = {v["name"]: maps[v["configMap"]["name"]] for v in pod["spec"].get("volumes", []) if "configMap" in v}
        for container in containers(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            hooks = [container.get(probe, {}) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
            hooks.append(container.get("lifecycle", {}).get("preStop", {}))
            words = [
                *container.get("command", []),
                *(w for hook in hooks for w in hook.get("exec", {}).get("command", [])),
            ]
            for word in words:
                folder, _, file = word.rpartition("/")
                if file.endswith((".sh", ".py", ".conf")):
                    assert file in sources[mounts[folder]], (identity(one), word)


@overlays
def test_variables_are_settings_that_rls_knows(name: str) -> None:
    rls = next(pod for one, pod in workloads(name) if one["metadata"]["name"] == "rls")
    env = {variable["name"]: variable["value"] for variable in containers(rls)[0]["env"]}

    assert list(unknown_variables(env)) == []
    assert not env.keys() & {f"RLS_{old.upper()}" for old in RENAMED}
    assert all(variable.startswith("RLS_") for variable in env)
    mounts = {mount["mountPath"] for mount in containers(rls)[0]["volumeMounts"]}
    assert env["RLS_CONFIG"] in mounts
    files = re.findall(r"=(/[^&]+)/[^/&]+", env.get("RLS_BACKEND", ""))
    assert set(files) <= mounts
    assert not re.search(r"//[^@/]*:[^@/]*@", env.get("RLS_BACKEND", "")), "no password in a URL"


def test_pods_end_no_sooner_than_rls_has_drained() -> None:
    rls = next(pod for one, pod in workloads("base") if one["metadata"]["name"] == "rls")
    drain = next(v["value"] for v in containers(rls)[0]["env"] if v["name"] == "RLS_DRAIN_TIMEOUT")
    seconds = int(drain.removesuffix("s"))
    proxy = yaml.safe_load(rls["metadata"]["annotations"]["proxy.istio.io/config"])
    sidecar = int(proxy["terminationDrainDuration"].removesuffix("s"))

    # docs/operations.md: the drain and 6 s.
    assert seconds + 6 <= sidecar < rls["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["overlays/staging", PRODUCTION])
def test_resources_are_those_of_the_table(name: str) -> None:
    found = {}
    for one, pod in workloads(name):
        key = one["kind"], one["metadata"]["name"]
        if key in RESOURCES:
            resources = containers(pod)[0]["resources"]
            assert resources["requests"] == resources["limits"]
            found[key] = (resources["limits"]["cpu"], resources["limits"]["memory"])
    assert found == RESOURCES
    redis = next(one for one in objects(name) if identity(one) == ("StatefulSet", "rate-limit", "redis"))
    assert redis["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert redis["spec"]["replicas"] == 6


@overlays
def test_pods_are_restricted(name: str) -> None:
    """As the Pod Security Standard `restricted` has it, and more: no token, and nothing to write to but volumes."""
    for one, pod in workloads(name):
        if one["metadata"]["name"] == "fluentd":
            continue  # has its reasons beside it, and a namespace of its own
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, identity(one)
        assert spec["securityContext"]["runAsNonRoot"] is True, identity(one)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, identity(one)
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, identity(one)
            assert security["readOnlyRootFilesystem"] is True, identity(one)
            assert security["capabilities"] == {"drop": ["ALL"]}, identity(one)
            assert set(container["resources"]) == {"requests", "limits"}, identity(one)


@everything
def test_what_is_scaled_or_scraped_or_bound_exists(name: str) -> None:
    there = {identity(one) for one in objects(name)}
    for scaler in of_kind(name, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], scaler["metadata"]["namespace"], target["name"]) in there
        workload = next(pod for one, pod in workloads(name) if one["metadata"]["name"] == target["name"])
        metrics = scaler["spec"]["metrics"]
        measured = {metric["containerResource"]["container"] for metric in metrics if "containerResource" in metric}
        assert measured <= {container["name"] for container in containers(workload)}
        assert [metric["type"] for metric in metrics][:1] == ["ContainerResource"]
        assert not any(
            "replicas" in one["spec"] for one, _ in workloads(name) if one["metadata"]["name"] == target["name"]
        )
    for monitor in of_kind(name, "ServiceMonitor"):
        labels, namespace = monitor["spec"]["selector"]["matchLabels"], monitor["metadata"]["namespace"]
        services = [
            one
            for one in of_kind(name, "Service")
            if one["metadata"]["namespace"] == namespace and labels.items() <= one["metadata"]["labels"].items()
        ]
        ports = {port["name"] for service in services for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports, identity(monitor)
    for binding in of_kind(name, "RoleBinding", "ClusterRoleBinding"):
        role = binding["roleRef"]
        assert (role["kind"], binding["metadata"].get("namespace", ""), role["name"]) in there | FOREIGN


@everything
def test_only_pods_that_share_their_counters_are_several(name: str) -> None:
    """Elsewhere n pods would let n times the limits pass."""
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(name, "HorizontalPodAutoscaler")}
    for one, pod in workloads(name):
        if one["metadata"]["name"] == "rls":
            env = {variable["name"]: variable["value"] for variable in containers(pod)[0]["env"]}
            shared = not env.get("RLS_BACKEND", "memory://").startswith("memory:")
            assert ("rls" in scaled) is shared
            assert one["spec"].get("replicas") == (None if shared else 1)


@overlays
def test_pods_know_how_many_share_the_limits(name: str) -> None:
    """By the addresses of a headless Service, which are those of all its pods, ready or not."""
    (rls,) = (pod for one, pod in workloads(name) if one["metadata"]["name"] == "rls")
    env = {variable["name"]: variable["value"] for variable in containers(rls)[0]["env"]}
    host, namespace, *rest = str(Settings(config=("rules",), replicas=env["RLS_REPLICAS"]).replicas).split(".")
    (service,) = (one for one in objects(name) if identity(one) == ("Service", namespace, host))

    assert rest == ["svc", "cluster", "local", ""]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    selector = {"matchLabels": service["spec"]["selector"]}
    selected = [one["metadata"]["name"] for one, pod in workloads(name) if selects(selector, pod["metadata"]["labels"])]
    assert selected == ["rls"]


def test_pods_may_ask_dns_in_both_ways() -> None:
    """More addresses than a datagram holds come over TCP."""
    ports = [
        (port["protocol"], port["port"])
        for policy in of_kind(PRODUCTION, "NetworkPolicy")
        if policy["metadata"]["namespace"] == "rate-limit" and policy["spec"]["podSelector"] == {}
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    ]
    assert sorted(ports) == [("TCP", 53), ("UDP", 53)]


def test_the_rules_are_those_of_config() -> None:
    rules = next(one for one in objects(PRODUCTION) if identity(one) == ("ConfigMap", "rate-limit", "rls-rules"))

    assert rules["data"] == {"descriptors.yaml": (ROOT / "config" / "descriptors.yaml").read_text()}


def test_the_service_is_what_istiod_makes_a_balanced_http2_cluster_of() -> None:
    """It is the only one of rls with ports, so of no other can it make a cluster."""
    (service,) = (one for one in of_kind("base", "Service") if "ports" in one["spec"])

    assert identity(service) == ("Service", "rate-limit", "rls")
    assert "clusterIP" not in service["spec"]
    port = next(port for port in service["spec"]["ports"] if port["port"] == 8081)
    assert port["appProtocol"] == "grpc"


def test_the_certificates_are_good_enough_for_a_strict_client(secrets: Path) -> None:
    """Python is one since 3.13: authorities must say that they sign, and certificates by whom they are signed."""
    for name in ("redis-tls", "redis-client-tls"):
        folder = secrets / name
        strict = [
            program("openssl"),
            "verify",
            "-x509_strict",
            "-CAfile",
            str(folder / "ca.crt"),
            str(folder / "tls.crt"),
        ]
        done = subprocess.run(strict, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_secrets_are_nowhere_in_the_repository() -> None:
    assert not [one for name in RENDERED for one in of_kind(name, "Secret")]


def test_all_that_lies_in_k8s_is_used() -> None:
    """A file that no kustomization names would look as if it did something."""
    named = {K8S / "secrets.sh", K8S / "checkov.yaml"}
    # No component makes its namespace; people do, as the page says.
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    named |= {path for path in K8S.rglob("namespace.yaml") if str(path.relative_to(ROOT)) in page}
    for file in K8S.rglob("kustomization.yaml"):
        kustomization = yaml.safe_load(file.read_text())
        generated = [name for maps in kustomization.get("configMapGenerator", []) for name in maps["files"]]
        patches = [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
        named |= {file, *(file.parent / name for name in [*kustomization.get("resources", []), *generated, *patches])}
    assert {path for path in K8S.rglob("*") if path.is_file() and path.suffix != ".pyc"} <= named


def test_what_the_tests_look_for_is_there() -> None:
    assert {one["kind"] for name in RENDERED for one in objects(name)} >= {*WORKLOADS, "ServiceMonitor"}
    assert rendered(ROOT / "config")


def test_the_page_on_privacy_mounts_its_secret_where_the_server_reads_it(tmp_path: Path) -> None:
    """Its patch, merged into the base as `kubectl patch` does it."""
    page = (ROOT / "docs" / "privacy.md").read_text()
    (patch,) = re.findall(r"```yaml\n# hashing.yaml\n(.*?)```", page, re.DOTALL)
    for part in ("k8s", "config", "examples/user-service"):
        shutil.copytree(ROOT / part, tmp_path / part)
    folder = tmp_path / "k8s" / "hashing"
    folder.mkdir()
    whole = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: rls, namespace: rate-limit}\n" + patch
    (folder / "hashing.yaml").write_text(whole)
    (folder / "kustomization.yaml").write_text("resources: [../base]\npatches: [{path: hashing.yaml}]\n")
    (deployment,) = [one for one in rendered(folder) if identity(one)[::2] == ("Deployment", "rls")]
    spec = deployment["spec"]["template"]["spec"]
    server = next(container for container in spec["containers"] if container["name"] == "rls")
    environment = {variable["name"]: variable["value"] for variable in server["env"]}
    (mount,) = [mount for mount in server["volumeMounts"] if mount["name"] == "hash"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "hash"]
    assert environment["RLS_HASH_SECRET_FILE"] == f"{mount['mountPath']}/secret"
    assert f"create secret generic {volume['secret']['secretName']} --from-file secret\n" in page
    assert environment["RLS_CONFIG"], "the rest is as before"
