"""What people may do: no right of k8s/components/rbac leads to a Secret. The API server's own judgement is not tested here."""

import json
import re
from pathlib import Path

import kubernetes_validate

from tests.k8s.manifests import OWN_MONITORING, Object, of_kind

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
# What operators and the deployment may change in a pod; all else must stay as it is.
MAY_CHANGE = {"PodSpec": {"containers"}, "Container": {"image", "resources", "env"}}


def policy(name: str) -> Object:
    (found,) = (one for one in of_kind(OWN_MONITORING, "ValidatingAdmissionPolicy") if one["metadata"]["name"] == name)
    (binding,) = (
        one for one in of_kind(OWN_MONITORING, "ValidatingAdmissionPolicyBinding") if one["spec"]["policyName"] == name
    )
    assert binding["spec"]["validationActions"] == ["Deny"]
    spec: Object = found["spec"]
    return spec


def held(spec: Object, new: str, old: str) -> set[str]:
    """The fields that a policy holds equal."""
    text = " ".join(each["expression"] for each in spec["validations"])
    pairs = re.findall(rf"\b{re.escape(new)}\.\?(\w+) == {re.escape(old)}\.\?(\w+)", text)
    assert all(one == other for one, other in pairs)
    return {one for one, _ in pairs}


def test_a_change_of_the_deployment_cannot_mount_a_secret() -> None:
    """Each field that Kubernetes knows of a pod and a container is held equal, except the few that may change."""
    newest = max(SCHEMAS.glob("v*-local"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    definitions = json.loads((newest / "_definitions.json").read_text())["$defs"]
    fields = {kind: set(definitions[f"io.k8s.api.core.v1.{kind}"]["properties"]) for kind in MAY_CHANGE}
    spec = policy("rate-limit-deployments")

    assert held(spec, "variables.new.spec", "variables.old.spec") == fields["PodSpec"] - MAY_CHANGE["PodSpec"]
    assert held(spec, "new", "old") == fields["Container"] - MAY_CHANGE["Container"]
    assert spec["failurePolicy"] == "Fail"


def test_the_policies_hold_for_the_groups_that_have_the_rights() -> None:
    for name, roles in {
        "rate-limit-deployments": {"rls-operator", "rls-deployer"},
        "rate-limit-off-switch": {"rls-off-switch"},
    }.items():
        groups = {
            subject["name"]
            for binding in of_kind(OWN_MONITORING, "RoleBinding")
            if binding["roleRef"]["name"] in roles
            for subject in binding["subjects"]
        }
        (condition,) = policy(name)["matchConditions"]
        assert set(re.findall(r"'([\w-]+)'", condition["expression"])) == groups


def test_nobody_may_read_secrets_or_start_pods_or_change_rights() -> None:
    """Only Deployments and EnvoyFilters may be changed, and for these there is a policy."""
    harmless = {
        "configmaps",
        "pods",
        "pods/portforward",
        "deployments",
        "deployments/scale",
        "horizontalpodautoscalers",
    }
    allowed = {("pods", "delete"), ("pods/portforward", "create")}
    for role in of_kind(OWN_MONITORING, "Role"):
        if not role["metadata"]["name"].startswith("rls-"):
            continue
        for rule in role["rules"]:
            assert not {"secrets", "pods/exec", "pods/attach", "*"} & {*rule["resources"], *rule["verbs"]}
            for verb in {*rule["verbs"]} - {"get", "list", "watch"}:
                for resource in rule["resources"]:
                    named = verb in {"patch", "update"} and "resourceNames" in rule
                    assert named or (resource, verb) in allowed, (role["metadata"]["name"], rule)
                    assert resource in harmless | {"envoyfilters"}, (role["metadata"]["name"], rule)
