"""`make demo`: from nothing to two trained models, an evaluation table and a checkpoint named by its digest."""

import subprocess
import sys
import time

from dev.demo import install, summary
from dev.demo.watch import follow
from dev.kubectl import ROOT, Cluster
from magistral_api import names
from magistral_api.progress import StageProgress

OUTPUT = ROOT / ".cluster" / "demo"
TRAINING_LIMIT = 1500
EVALUATION_LIMIT = 600


def say(text: str, start: float = time.monotonic()) -> None:
    elapsed = int(time.monotonic() - start)
    print(f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {text}", flush=True)


def train(cluster: Cluster) -> None:
    """Teacher and student at once (the student waits for the teacher's rollouts), then a real small model."""
    say("kubectl apply -f examples/demo/teacher.yaml -f examples/demo/student.yaml")
    for name in ("teacher", "student"):
        cluster.apply((install.EXAMPLES / f"{name}.yaml").read_text(), install.NAMESPACE)
    follow(cluster, install.NAMESPACE, ["teacher", "student"], say, TRAINING_LIMIT)
    say("kubectl apply -f examples/demo/smollm.yaml")
    cluster.apply((install.EXAMPLES / "smollm.yaml").read_text(), install.NAMESPACE)
    follow(cluster, install.NAMESPACE, ["smollm"], say, EVALUATION_LIMIT)


def conclude(cluster: Cluster) -> int:
    """Print the checks, the table, the digest and where to look. Returns the exit code."""
    checks = summary.Checks()
    runs = {run["metadata"]["name"]: run for run in cluster.items("magistralruns", install.NAMESPACE)}
    checkpoints = cluster.items("checkpoints", install.NAMESPACE)
    newest = next(c for c in checkpoints
                  if c["metadata"]["name"] == runs["student"]["status"]["latestCheckpoint"]["name"])
    for name in ("teacher", "student"):
        data = cluster.get("configmap", names.progress_config_map(name), install.NAMESPACE)
        assert data is not None
        summary.check_rl(checks, name, StageProgress.model_validate_json(data["data"]["rl"]))
    with install.store_access(cluster) as access:
        store = access.open()
        summary.check_checkpoint(checks, store, newest)
        OUTPUT.mkdir(parents=True, exist_ok=True)
        for name, run in runs.items():
            (OUTPUT / f"{name}.html").write_bytes(store.get(names.report_key(run["metadata"]["uid"])))
    print("\nWhat holds\n" + "\n".join(checks.lines))
    seen: dict[str, dict[str, object]] = {}
    for name in ("student", "teacher", "smollm"):
        for result in runs[name]["status"].get("results", []):
            seen.setdefault(result["name"], result)
    print("\nEvaluation: pass@1 in percent [95% interval] / maj@k\n" + summary.table(list(seen.values())))
    print(f"\nCheckpoint  {newest['metadata']['name']}  {newest['spec']['digest']}")
    print("\nWhere to look\n"
          f"  export KUBECONFIG={cluster.kubeconfig}\n"
          f"  kubectl -n {install.NAMESPACE} get magistralruns,checkpoints\n"
          f"  kubectl -n {install.NAMESPACE} describe magistralrun student\n"
          f"  report: {OUTPUT / 'student.html'}\n"
          "  make cluster-down   removes all of it")
    return 1 if checks.failed else 0


def main() -> int:
    cluster = Cluster()
    try:
        install.everything(cluster, say)
    except subprocess.CalledProcessError as error:
        # It has said itself what is wrong.
        print(f"make demo: {' '.join(error.cmd[1:])} ended with {error.returncode}", file=sys.stderr)
        return 1
    train(cluster)
    return conclude(cluster)


if __name__ == "__main__":
    sys.exit(main())
