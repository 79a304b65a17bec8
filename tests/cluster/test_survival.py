"""A whole RL run on a real kubelet, with a generator, a verifier, the operator and trainer pod 1 killed on the way."""

import pytest

from dev.demo import install
from dev.kubectl import Cluster
from magistral_api import names
from tests.cluster.conftest import NAMESPACE
from tests.cluster.teacher import apply_teacher, delete, progress, until_done, wait_until


@pytest.mark.timeout(1200)
def test_a_run_ends_ready_though_each_role_and_the_operator_were_killed(cluster: Cluster) -> None:
    name = "survivor"
    apply_teacher(cluster, name, steps=16, checkpoint_every=4)
    wait_until(cluster, name, lambda run: bool(run.get("status", {}).get("latestCheckpoint")))
    killed = {}
    for role in ("generator", "verifier"):
        pod = cluster.items("pods", NAMESPACE, f"{names.LABEL_RUN}={name},{names.LABEL_ROLE}={role}")[0]
        killed[role] = pod["metadata"]["name"]
    killed["trainer"] = f"{name}-trainer-1"
    for pod_name in killed.values():
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod_name, "--grace-period=0", "--force")
    cluster.kubectl("-n", install.OPERATOR_NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/name=magistral-operator",
                    "--grace-period=0", "--force")
    run = until_done(cluster, name)

    report = progress(cluster, name)
    # A killed pod is a fault of the infrastructure; one that ends by itself would be one of its process.
    restarts = {role["name"]: role["restarts"] + role["infrastructureRestarts"] for role in run["status"]["roles"]}
    print(f"\n  killed: {killed}\n  restarts counted: {restarts}\n  moved: {report.metrics.get('moved')},"
          f" aborted: {report.metrics.get('aborted')}")
    assert report.step == report.total_steps == 16
    assert report.metrics["aborted"] == 0
    assert restarts["generator"] >= 1
    assert restarts["verifier"] >= 1
    assert restarts["trainer"] >= 1

    cluster.kubectl("-n", NAMESPACE, "wait", f"magistralrun/{name}", "--for=condition=Ready", "--timeout=5s")
    checkpoints = cluster.items("checkpoints", NAMESPACE, f"{names.LABEL_RUN}={name}")
    steps = {checkpoint["spec"]["step"] for checkpoint in checkpoints}
    # A trainer asked to end has its last second to commit what it holds: a checkpoint beside the four planned ones is no fault.
    print(f"  checkpoints: {sorted(steps)}")
    assert {4, 8, 12, 16} <= steps
    delete(cluster, name)
