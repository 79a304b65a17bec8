"""Kubeflow Trainer and JobSet, built from their pinned modules, installed with their own CRDs and webhooks."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from dev.bench.control_plane.arena import NAMESPACE, Arena, BenchError, Manifest, module, until
from dev.cluster import binaries
from dev.cluster.audit import Request
from dev.cluster.control_plane import free_ports

TRAINER, JOBSET = "kubeflow-trainer", "jobset"
TRAINER_SERVICE = {"namespace": "kubeflow-system", "name": "kubeflow-trainer-controller-manager"}
JOBSET_SERVICE = {"namespace": "jobset-system", "name": "jobset-webhook-service"}
CERTIFICATES = Path("/tmp/k8s-webhook-server/serving-certs")
"""Where Trainer looks for its certificate; it cannot be told another place."""
PODS = {"preflight": {"node": 1}, "curate": {"node": 1}, "rl": {"node": 2, "conductor": 1, "generator": 2, "verifier": 2}}
"""Pods of each replicated Job: as many as a MagistralRun has in that stage."""


class Kubeflow:
    """One TrainJob becomes one JobSet; that becomes a headless Service and a Job for each role."""

    title = "Kubeflow Trainer + JobSet"
    users: tuple[str, ...] = (TRAINER, JOBSET)
    processes: tuple[str, ...] = (TRAINER, JOBSET)
    notes: tuple[str, ...] = (
        "Kubeflow Trainer v2.0.0 (client limit 20 requests/s, its own default without a flag) and JobSet v0.8.1 (500/s); "
        "all their webhooks on; leader election off: JobSet's would add 15 s to a restart",)
    collection = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"

    def __init__(self, arena: Arena, stage: str) -> None:
        self._arena, self._stage = arena, stage
        self._binaries = binaries.ensure([TRAINER, JOBSET])
        self._trainer, self._jobset = (module("trainer", "github.com/kubeflow/trainer/v2"),
                                       module("jobset", "sigs.k8s.io/jobset"))
        self._trainer_port, self._jobset_port = free_ports(2)

    @classmethod
    def pods(cls, stage: str) -> tuple[Path, ...]:
        return ()

    def install(self) -> None:
        kubectl = self._arena.kubectl.kubectl
        crds = self._trainer / "manifests/base/crds", self._jobset / "config/components/crd/bases"
        for file in sorted(file for folder in crds for file in folder.glob("*_*.yaml")):
            kubectl("apply", "--server-side", "-f", str(file))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        for service, port in ((TRAINER_SERVICE, self._trainer_port), (JOBSET_SERVICE, self._jobset_port)):
            self._arena.call("POST", "/api/v1/namespaces", {"metadata": {"name": service["namespace"]}})
            self._arena.call("POST", f"/api/v1/namespaces/{service['namespace']}/services", {
                "metadata": {"name": service["name"]},
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}})
        self._arena.call("POST", "/api/v1/namespaces/kubeflow-system/secrets",
                         {"metadata": {"name": "kubeflow-trainer-webhook-cert"}})
        self._certificates()
        for configuration in self._webhooks():
            plural = configuration["kind"].lower() + "s"
            self._arena.call("POST", f"/apis/admissionregistration.k8s.io/v1/{plural}", configuration)

    def start(self) -> None:
        trainer_health, jobset_health = free_ports(2)
        configuration = self._arena.plane.directory / "jobset.yaml"
        configuration.write_text(json.dumps({
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1", "kind": "Configuration",
            "leaderElection": {"leaderElect": False}, "internalCertManagement": {"enable": False},
            "metrics": {"bindAddress": "0"}, "health": {"healthProbeBindAddress": f"127.0.0.1:{jobset_health}"},
            "webhook": {"port": self._jobset_port, "host": "127.0.0.1", "certDir": str(self._jobset_certificates)}}))
        self._arena.start(JOBSET, [str(self._binaries[JOBSET]), f"--config={configuration}", "--zap-log-level=error"],
                          {"KUBECONFIG": str(self._arena.client(JOBSET))})
        self._arena.start(TRAINER, [str(self._binaries[TRAINER]), f"--webhook-server-port={self._trainer_port}",
                                    f"--health-probe-bind-address=127.0.0.1:{trainer_health}", "--zap-log-level=error"],
                          {"KUBECONFIG": str(self._arena.client(TRAINER))})
        until(self._mounted, "the certificate that Kubeflow Trainer makes for itself")
        for name, port in ((TRAINER, trainer_health), (JOBSET, jobset_health)):
            self._arena.until_healthy(name, port, "/readyz")

    def equip(self) -> None:
        jobs = [_job(name, pods) for name, pods in PODS[self._stage].items()]
        self._arena.call("POST", "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes", {
            "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "ClusterTrainingRuntime",
            "metadata": {"name": "bench"},
            "spec": {"mlPolicy": {"numNodes": PODS[self._stage]["node"], "torch": {}},
                     "template": {"spec": {"replicatedJobs": jobs}}}})
        # Its webhook sees the runtime through a cache.
        probe = self.run("probe")
        until(lambda: self._arena.http.post(f"{self.collection}?dryRun=All", json=probe).is_success,
              "a TrainJob that Kubeflow Trainer's webhook admits")

    def stop(self) -> None:
        for name in self.processes:
            self._arena.plane.processes.stop(name)

    def run(self, name: str) -> Manifest:
        return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob",
                "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"runtimeRef": {"name": "bench"}}}

    def react(self, requests: Sequence[Request]) -> None:
        """Its pods only have to run."""

    def child(self, run: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/services/{run}"

    @property
    def _jobset_certificates(self) -> Path:
        return self._arena.plane.directory / "jobset-certificates"

    def _certificates(self) -> None:
        """JobSet's from the arena's authority. Trainer insists on making its own; they go where it expects a mount."""
        pair = self._arena.plane.authority.issue("jobset-webhook", user=JOBSET, hosts=(_dns(JOBSET_SERVICE), "localhost"))
        self._jobset_certificates.mkdir()
        shutil.copy(pair.certificate, self._jobset_certificates / "tls.crt")
        shutil.copy(pair.key, self._jobset_certificates / "tls.key")
        try:
            CERTIFICATES.mkdir(parents=True)
        except FileExistsError as error:
            raise BenchError(f"{CERTIFICATES} exists: end what uses it (another such measurement?) or remove it") from error
        self._arena.at_end(lambda: shutil.rmtree(CERTIFICATES.parent))

    def _mounted(self) -> bool:
        """Does what the kubelet would: the Secret as files."""
        secret = self._arena.call("GET", "/api/v1/namespaces/kubeflow-system/secrets/kubeflow-trainer-webhook-cert")
        for key, content in (secret.get("data") or {}).items():
            (CERTIFICATES / key).write_bytes(base64.b64decode(content))
        return "tls.crt" in (secret.get("data") or {})

    def _webhooks(self) -> Iterable[Manifest]:
        """Theirs, at the port where they listen."""
        ours = base64.b64encode(self._arena.plane.authority.pair.certificate.read_bytes()).decode()
        for one in _documents(self._trainer / "manifests/base/webhook/manifests.yaml"):
            yield _aim(one, "validator.trainer.kubeflow.org", TRAINER_SERVICE | {"port": self._trainer_port}, None)
        folder = self._jobset / "config/components/webhook"
        for one in _documents(folder / "manifests.yaml"):
            kind = one["kind"].removesuffix("WebhookConfiguration").lower()
            for patch in _documents(folder / "patches" / f"{kind}-patch.yaml"):
                for change in patch:
                    one["webhooks"][int(change["path"].rpartition("/")[2])] = change["value"]
            yield _aim(one, f"jobset-{kind}-webhook-configuration", JOBSET_SERVICE | {"port": self._jobset_port}, ours)


def _job(name: str, pods: int) -> Manifest:
    step = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"} if name == "node" else {}
    container = {"name": name, "image": "registry.example.com/workload:1", "resources": {"requests": {"cpu": "1"}}}
    return {"name": name, "template": {"metadata": {"labels": step}, "spec": {
        "parallelism": pods, "completions": pods, "template": {"spec": {"containers": [container]}}}}}


def _aim(configuration: Manifest, name: str, service: Manifest, authority: str | None) -> Manifest:
    configuration["metadata"]["name"] = name
    for webhook in configuration["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"service": service | {"path": path}} | ({"caBundle": authority} if authority else {})
    return configuration


def _documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _dns(service: Manifest) -> str:
    return f"{service['name']}.{service['namespace']}.svc"
