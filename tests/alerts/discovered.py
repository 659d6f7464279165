"""What Kubernetes' discovery would find, for the scrape configuration of k8s/components/prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from tests.alerts.rules import ROOT, Object

CONFIG = ROOT / "k8s" / "components" / "prometheus" / "prometheus.yaml"
_META = "__meta_kubernetes_"


def pod(address: str, name: str, namespace: str, app: str, port: str, *, sidecar: bool = False) -> Object:
    """The port *port* of a pod of *app*, as a target that is at *address*."""
    labels = {"namespace": namespace, "pod_name": name, "pod_label_app_kubernetes_io_name": app}
    labels |= {"pod_container_port_name": port}
    if sidecar:
        labels["pod_annotationpresent_sidecar_istio_io_status"] = "true"
    return {"targets": [address], "labels": {_META + key: value for key, value in labels.items()}}


def read_from(folder: Path, job: Object, pods: Iterable[Object]) -> Object:
    """*job* of the configuration, which finds *pods* in a file in *folder* instead of asking Kubernetes."""
    file = folder / f"{job['job_name']}.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(list(pods)))
    fresh.rename(file)
    kept = {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}
    return kept | {"file_sd_configs": [{"files": [str(file)], "refresh_interval": "1s"}]}


def jobs_of(folder: Path, found: Mapping[str, Iterable[Object]]) -> list[Object]:
    """The jobs of the configuration that *found* names, each with the pods that it finds."""
    jobs = {job["job_name"]: job for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    return [read_from(folder, jobs[name], pods) for name, pods in found.items()]
