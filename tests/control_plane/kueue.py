"""Kueue's own manager on the control plane. Left out: its webhooks (defaults and checks of what users write), its
integrations with other jobs, leader election, metrics and visibility."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dev.cluster import binaries
from dev.cluster.control_plane import LOOPBACK, ControlPlane, free_ports
from magistral_operator.kinds import KUEUE, SECRET, Kind
from tests.control_plane.cluster import Api, Manifest, eventually

SYSTEM = "kueue-system"
CERTIFICATES = "kueue-webhook-server-cert"
CLUSTER_QUEUE = Kind("ClusterQueue", KUEUE, "v1beta1", "clusterqueues", namespaced=False)


@contextmanager
def kueue(plane: ControlPlane, api: Api, folder: Path) -> Iterator[None]:
    """The manager, running until the block is left."""
    program = binaries.ensure(["kueue"])["kueue"]
    crds = binaries.source("kueue", "sigs.k8s.io/kueue") / "config/components/crd/bases"
    api.kubectl("apply", "--server-side", "-f", str(crds))
    api.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    webhooks = [{"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration",
                 "metadata": {"name": f"kueue-{kind.lower()}-webhook-configuration"}} for kind in ("Mutating", "Validating")]
    api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": CERTIFICATES, "namespace": SYSTEM}}, *webhooks]))
    health, webhook = free_ports(2)
    mounted = folder / "certificates"
    mounted.mkdir()
    configuration = folder / "kueue.yaml"
    configuration.write_text(yaml.safe_dump({
        "apiVersion": "config.kueue.x-k8s.io/v1beta1", "kind": "Configuration", "namespace": SYSTEM,
        "health": {"healthProbeBindAddress": f"{LOOPBACK}:{health}"}, "metrics": {"bindAddress": "0"},
        "webhook": {"host": LOOPBACK, "port": webhook, "certDir": str(mounted)},
        "leaderElection": {"leaderElect": False}, "integrations": {"frameworks": []},
        "featureGates": {"VisibilityOnDemand": False, "MultiKueue": False}}))
    plane.processes.start("kueue", [str(program), f"--config={configuration}"], with_parent=True,
                          environment={"KUBECONFIG": str(plane.kubeconfig)})
    try:
        _mount(api, mounted)
        yield
    finally:
        plane.processes.stop("kueue")


def _mount(api: Api, folder: Path) -> None:
    """What the kubelet does with the Secret that Kueue makes its certificates in."""
    def data() -> Manifest | None:
        found = (api.get(SECRET, SYSTEM, CERTIFICATES) or {}).get("data", {})
        return found if "tls.crt" in found else None

    for name, value in eventually(data, "Kueue's certificates").items():
        (folder / name).write_bytes(base64.b64decode(value))


def queue(api: Api, namespace: str, name: str, cpus: int) -> None:
    """A LocalQueue with a ClusterQueue and a flavor of its own, of so many CPUs."""
    kind = {"apiVersion": f"{KUEUE}/v1beta1"}
    documents: list[Manifest] = [
        kind | {"kind": "ResourceFlavor", "metadata": {"name": namespace}, "spec": {
            "nodeLabels": {"pool": namespace}, "tolerations": [{"key": "pool", "operator": "Exists"}]}},
        kind | {"kind": "ClusterQueue", "metadata": {"name": namespace}, "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [
                {"name": namespace, "resources": [{"name": "cpu", "nominalQuota": cpus}]}]}]}},
        kind | {"kind": "LocalQueue", "metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterQueue": namespace}},
        kind | {"kind": "WorkloadPriorityClass", "metadata": {"name": "urgent"}, "value": 100}]
    api.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))
