"""A sidecar of users that asks pods of `rls`, as the manifests in istio/ make it, and what Kubernetes tells it of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import yaml

from benches.latency import LIMITED, RULES, kept
from benches.outages.pods import Options, Pod
from examples.mesh.processes import wait_for
from examples.mesh.servers import UserService
from examples.tokens import Issuer
from tests.certs import Authority
from tests.mesh.loopback import Endpoint
from tests.mesh.manifests import ISTIO, Object
from tests.mesh.running import SERVICE, RunningProxy
from tests.mesh.world import TO_RLS, USERS_SIDECAR, rendered

DEPLOYMENT = ISTIO.parent / "k8s" / "base" / "deployment.yaml"
KUBELET_SECONDS = 1.0
"""kubelet looks so often whether containers have ended."""
ISTIOD_SECONDS = 0.2
"""From a change of endpoints to all proxies: istiod waits for 100 ms whether there is more."""


class Endpoints:
    """What kubelet, the API server and istiod do: pods that are ready are asked, the others are not.

    Each pod is probed as `readinessProbe` of the Deployment says. The probe of a pod that is well succeeds at once.
    """

    def __init__(self, tell: Callable[[Sequence[Pod]], None]) -> None:
        (container,) = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
        probe = container["readinessProbe"]
        self._period: float = probe["periodSeconds"]
        self._failures: int = probe["failureThreshold"]
        self._tell = tell
        self._lock = threading.Lock()
        self._failed: dict[Pod, int] = {}
        self._probed: dict[Pod, float] = {}
        self.told: list[Pod] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._looked = 0.0

    def add(self, pod: Pod) -> None:
        with self._lock:
            self._failed[pod] = self._failures
            self._probed[pod] = 0

    def remove(self, pod: Pod) -> None:
        """It is being deleted, which takes it out whatever its probe says."""
        with self._lock:
            del self._failed[pod]

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._look_for_ended()
            self._probe()
            with self._lock:
                ready = [pod for pod, failed in self._failed.items() if failed < self._failures]
            if ready != self.told:
                self._stop.wait(ISTIOD_SECONDS)
                self._tell(ready)
                self.told = ready

    def _look_for_ended(self) -> None:
        if time.monotonic() - self._looked < KUBELET_SECONDS:
            return
        self._looked = time.monotonic()
        with self._lock:
            for pod in self._failed:
                if pod.server.returncode is not None:
                    self._failed[pod] = self._failures

    def _probe(self) -> None:
        with self._lock:
            due = [pod for pod in self._failed if time.monotonic() - self._probed[pod] >= self._period]
        for pod in due:
            self._probed[pod] = time.monotonic()
            ready = pod.is_ready()
            with self._lock:
                if pod in self._failed:
                    self._failed[pod] = 0 if ready else self._failed[pod] + 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class OutageMesh:
    """Pods of `rls`, and a sidecar that asks them; all files are in *folder*.

    Args:
        pods: How each is made.
        change: What is changed of the objects in `istio/` first.
        bounds: Of the sidecar's histograms, in milliseconds, if not Envoy's own.
    """

    def __init__(
        self,
        folder: Path,
        pods: Sequence[Options],
        *,
        change: Callable[[list[Object]], list[Object]] = list,
        bounds: Sequence[float] = (),
    ) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._authority, self._issuer = Authority(), Issuer()
        self._rules = folder / "rules.yaml"
        self._rules.write_text(RULES)
        self._made = itertools.count(1)
        self.pods: list[Pod] = []
        try:
            self._start(pods, change, bounds)
        except BaseException:
            self._stack.close()
            raise

    def _start(
        self, pods: Sequence[Options], change: Callable[[list[Object]], list[Object]], bounds: Sequence[float]
    ) -> None:
        users = self._stack.enter_context(UserService(self._folder))
        made = rendered(change(kept(LIMITED)), USERS_SIDECAR, jwks=self._issuer.jwks())
        made.stats["stats_matcher"]["inclusion_list"]["patterns"].append({"prefix": f"cluster.{TO_RLS}"})
        if bounds:
            buckets = {"match": {"prefix": "cluster."}, "buckets": [*bounds]}
            made.stats["histogram_bucket_settings"] = [buckets]
        behind = {"inbound|9000||": [Endpoint(users.port)]}
        self.proxy = self._stack.enter_context(RunningProxy(made, behind, self._authority, self._folder / "users"))
        self._endpoints = self._stack.enter_context(
            Endpoints(lambda ready: self.proxy.ask_rls_at(*(pod.endpoint for pod in ready)))
        )
        for options in pods:
            self.add(options)

    @property
    def asked(self) -> list[Pod]:
        """The pods that the sidecar knows of."""
        return list(self._endpoints.told)

    @property
    def port(self) -> int:
        """Where the sidecar takes requests for the user service."""
        return self.proxy.placed.ports[SERVICE]

    def token(self) -> str:
        """Of a company, valid for hours."""
        return self._issuer.token({"company_id": "acme", "sub": "ada"}, lifetime=36_000)

    def add(self, options: Options) -> Pod:
        """Start a pod; return when the sidecar may ask it."""
        folder = self._folder / f"rls-{next(self._made)}"
        pod = self._stack.enter_context(Pod(folder, self._rules, self._authority, options))
        self.pods.append(pod)
        self._endpoints.add(pod)
        wait_for(lambda: pod in self._endpoints.told, "the sidecar has heard of the pod")
        return pod

    def delete(self, pod: Pod) -> None:
        """What Kubernetes does to a pod that is deleted: it leaves the endpoints while it is asked to end.

        Return when it has ended.
        """
        self.pods.remove(pod)
        self._endpoints.remove(pod)
        pod.terminate()
        pod.server.wait()
        pod.stop()

    def counters(self) -> dict[str, int]:
        """What the sidecar has counted: the results of checks, and how its cluster of `rls` fares."""
        # Since Istio 1.25 a cluster's name ends with a semicolon there.
        return {**self.proxy.limits(), **self.proxy.stats(f"cluster.{TO_RLS};.")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
