"""Values of the Helm chart reach the objects, and arrive there as they were given."""

import json
from pathlib import Path

import yaml

from tests.k8s.helm import CHART, EXAMPLE, SHARED, comparable, helm, templates
from tests.k8s.manifests import Object


def one(found: dict[tuple[str, str, str], Object], kind: str, name: str, namespace: str = "rate-limit") -> Object:
    return found[kind, namespace, name]


def test_values_of_rls_reach_its_pods(tmp_path: Path) -> None:
    digest = "sha256:" + 64 * "a"
    found = templates(
        "image.repository=registry.you.example:5000/rls",
        f"image.digest={digest}",
        "imagePullSecrets[0].name=mine",
        "replicas=3",
        "resources.limits.cpu=2",
        "env.RLS_LOG_LEVEL=debug",
        "env.RLS_SHADOW_MODE=true",
        "backend.url=rediss://rls@redis.example:6379?password_file=/etc/rls/secrets/redis/password",
        "secretMounts[0].secret=redis-password",
        "secretMounts[0].path=/etc/rls/secrets/redis",
        r"rules.mine\.yaml=domain: mine",
        "userService.enabled=true",
    )
    deployment = one(found, "Deployment", "rls")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}

    assert container["image"] == f"registry.you.example:5000/rls@{digest}"
    users = one(found, "Deployment", "users", "users")["spec"]["template"]["spec"]
    assert users["containers"][0]["image"] == container["image"]
    assert pod["imagePullSecrets"] == users["imagePullSecrets"] == [{"name": "mine"}]
    assert deployment["replicas"] == 3
    assert container["resources"]["limits"] == {"cpu": 2, "memory": "1Gi"}
    assert env["RLS_LOG_LEVEL"] == "debug"
    assert env["RLS_SHADOW_MODE"] == "true"
    assert env["RLS_BACKEND"] == "rediss://rls@redis.example:6379?password_file=/etc/rls/secrets/redis/password"
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == "/etc/rls/secrets/redis")
    (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "redis-password"
    assert one(found, "ConfigMap", "rls-rules")["data"] == {"mine.yaml": "domain: mine"}


def test_values_of_the_others_reach_them() -> None:
    found = templates(
        *SHARED,
        "redisCluster.storage=20Gi",
        "redisCluster.storageClassName=fast",
        "autoscaling.maxReplicas=7",
        "autoscaling.cpuPercent=40",
        "backup.enabled=true",
        "backup.schedules.hourly.schedule=5 * * * *",
        "backup.schedules.hourly.keep=24",
        "backup.schedules.weekly=null",
        "monitoring.enabled=true",
        "monitoring.labels.release=mine",
        "alertmanager.enabled=true",
        "alertmanager.config=receivers: []",
        "logging.enabled=true",
        "logging.elasticsearch.host=logs.example",
        "logging.kibana=https://kibana.example",
        "istio.enabled=true",
        "istio.host=api.example",
        "istio.tokens.issuer=https://login.example",
        "istio.tokens.jwksUri=https://login.example/keys",
        "istio.tokens.audiences={a,b}",
    )
    (claim,) = one(found, "StatefulSet", "redis")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    scaler = one(found, "HorizontalPodAutoscaler", "rls")["spec"]
    assert scaler["maxReplicas"] == 7
    assert scaler["metrics"][0]["containerResource"]["target"]["averageUtilization"] == 40
    backups = {
        name: each["spec"]["schedule"]
        for (kind, _, name), each in found.items()
        if kind == "CronJob" and "backup" in name
    }
    assert backups.keys() == {"redis-backup-daily", "redis-backup-hourly", "redis-backup-monthly"}
    assert backups["redis-backup-hourly"] == "5 * * * *"
    monitored = [each for (kind, _, _), each in found.items() if kind.endswith("Monitor") or kind == "PrometheusRule"]
    assert {each["kind"] for each in monitored} == {"PodMonitor", "PrometheusRule", "ServiceMonitor"}
    assert all(each["metadata"]["labels"]["release"] == "mine" for each in monitored)
    assert one(found, "ConfigMap", "alertmanager", "monitoring")["data"] == {"alertmanager.yaml": "receivers: []"}
    fluentd, setup = (
        json.dumps(one(found, *name, "rate-limit-logging"))
        for name in (("DaemonSet", "fluentd"), ("CronJob", "logging-setup"))
    )
    assert "logs.example" in fluentd
    assert "https://logs.example:9200" in setup
    assert "https://kibana.example" in setup
    (tokens,) = one(found, "RequestAuthentication", "company-tokens", "users")["spec"]["jwtRules"]
    assert (tokens["issuer"], tokens["audiences"]) == ("https://login.example", ["a", "b"])
    assert tokens["jwksUri"] == "https://login.example/keys"
    assert one(found, "VirtualService", "users", "users")["spec"]["hosts"] == ["api.example"]
    assert "example.com" not in json.dumps([each for each in found.values() if "istio.io" in each["apiVersion"]])


def test_ambient_mode_alone_isolates_nobody() -> None:
    """A NetworkPolicy denies what it does not name: with none beside it, port 15008 would be all that is open."""
    found = templates("ambient.enabled=true", "istio.enabled=true", "istio.limitsAt=waypoint")

    assert not [kind for kind, _, _ in found if kind == "NetworkPolicy"]
    assert (
        one(found, "Deployment", "rls")["spec"]["template"]["metadata"]["labels"]["istio.io/dataplane-mode"]
        == "ambient"
    )


def test_values_of_files_reach_the_objects_as_they_are(tmp_path: Path) -> None:
    """Helm reads numbers of a file as floating-point, and writes texts without quotes."""
    values = {
        "env": {"RLS_MAX_MESSAGE_SIZE": 12345678, "RLS_RATIO": 0.05, "RLS_SHADOW_MODE": True, "RLS_TEXT": 'a: "b" #c'},
        "istio": {
            "enabled": True,
            "credentialName": "1234",
            "tokens": {"issuer": "4711", "jwksUri": "https://a.example/#b: c", "audiences": ["1"]},
        },
        "secretMounts": [{"secret": "123", "path": "/a #b"}],
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    ran = helm("template", "rls", CHART, "--set", EXAMPLE, "--values", tmp_path / "values.yaml")
    assert ran.returncode == 0, ran.stderr
    found = comparable(yaml.load_all(ran.stdout, yaml.CSafeLoader))

    pod = one(found, "Deployment", "rls")["spec"]["template"]["spec"]
    env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    expected = {
        "RLS_MAX_MESSAGE_SIZE": "12345678",
        "RLS_RATIO": "0.05",
        "RLS_SHADOW_MODE": "true",
        "RLS_TEXT": 'a: "b" #c',
    }
    assert env.items() >= expected.items()
    assert "/a #b" in [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]]
    assert "123" in [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each]
    (tokens,) = one(found, "RequestAuthentication", "company-tokens", "users")["spec"]["jwtRules"]
    assert (tokens["issuer"], tokens["jwksUri"]) == ("4711", "https://a.example/#b: c")
    assert one(found, "Gateway", "mesh", "istio-ingress")["spec"]["servers"][1]["tls"]["credentialName"] == "1234"
