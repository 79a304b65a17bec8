"""An operator of this tree takes over from the last release while ten runs train: no pod notices."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dev.cluster import control_plane as planes
from magistral_api.names import LABEL_RUN
from magistral_operator.kinds import CHILDREN, POD, RUN, WORKLOADS
from tests.control_plane.cluster import Api, Manifest, Namespace, Operator, Tell, eventually, namespace
from tests.control_plane.conftest import credentials

BASE = "a999a6f"
"""The last release, or the commit that stands for it until there is one. The only place that names it."""
ROOT = Path(__file__).parents[2]
RL_RUNS = [f"run-{number}" for number in range(10)]
RUNS = [*RL_RUNS, "sft", "evaluate"]
"""Ten in their RL stage, and one in each stage whose Job has more than one pod, or serves beside it."""
PODS = 10 * 7 + 2 + 3
"""RL: 2 trainers, 1 conductor, 2 generators, 2 verifiers. SFT: 2 trainers. Evaluate: worker, generator, verifier."""
UNCHANGED = 'magistral_reconcile_duration_seconds_count{outcome="unchanged"}'


def git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `operator/` and `crds/` of the last release."""
    if git("cat-file", "-e", f"{BASE}^{{commit}}").returncode:
        pytest.skip(f"commit {BASE}, the last release, is not in this clone: fetch the whole history")
    folder = tmp_path_factory.mktemp("release")
    archive = git("archive", BASE, "operator", "crds")
    assert archive.returncode == 0, archive.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """A control plane of its own: its CRDs are those of the release at first."""
    with planes.control_plane(controllers=True) as plane:
        context = credentials(plane, "tester", groups=("system:masters",))
        with httpx.Client(base_url=plane.server, verify=context, timeout=30, trust_env=False) as client:
            yield Api(client, plane.kubeconfig)


def install_crds(api: Api, folder: Path) -> None:
    api.kubectl("apply", "-f", str(folder / "crds"))
    names = (name for name in api.kubectl("get", "crd", "-o", "name").split() if "magistral" in name)
    api.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)


def operator(api: Api, folder: Path, log: Path) -> Operator:
    """The operator whose source is in this folder."""
    path = os.pathsep.join(str(folder / part) for part in ("operator", "crds"))
    code = "import magistral_operator, magistral_api; print(magistral_operator.__file__, magistral_api.__file__)"
    found = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60,
                           check=True).stdout.split()
    assert all(Path(file).is_relative_to(folder) for file in found), found
    (port,) = planes.free_ports(1)
    made = Operator(api.kubeconfig, port, log, {"PYTHONPATH": path})
    made.start()
    return made


def train(ns: Namespace) -> None:
    """Ten runs in the RL stage and two with Jobs, every pod running: the fake kubelet says so."""
    for name in RL_RUNS:
        ns.run("RL", name)
    ns.run("SFT", "sft", curation={"teacher": {"uri": "s3://magistral/ledger"}})
    ns.run("Evaluate", "evaluate")
    for name in RUNS:
        ns.succeed("preflight", run=name)
    ns.succeed("curate", run="sft")

    def ended(stage: str, count: int) -> None:
        found = eventually(lambda: _exactly(ns, f"training.magistral.dev/stage={stage}", count), f"{count} pods of {stage}")
        for pod in found:
            ns.kubelet_says(pod, phase="Succeeded")

    ended("preflight", len(RUNS))
    ended("curate", 1)
    for pod in eventually(lambda: _exactly(ns, "training.magistral.dev/stage notin (preflight,curate)", PODS), "all pods"):
        ns.kubelet_runs(pod)
        ns.kubelet_says(pod, conditions=[{"type": "Ready", "status": "True"}])


def _exactly(ns: Namespace, selector: str, count: int) -> list[Manifest] | None:
    found = [pod for pod in ns.api.list(POD, ns.name, selector) if "deletionTimestamp" not in pod["metadata"]]
    return found if len(found) == count else None


def workloads(ns: Namespace) -> dict[str, Manifest]:
    """By UID, what a workload asks for and how often that was changed."""
    return {one["metadata"]["uid"]: {"name": one["metadata"]["name"], "generation": one["metadata"]["generation"],
                                     "spec": one["spec"]}
            for kind in WORKLOADS for one in ns.api.list(kind, ns.name)}


def pods(ns: Namespace) -> dict[str, tuple[str, bool]]:
    """By UID, the pod's name and whether it is to go."""
    return {one["metadata"]["uid"]: (one["metadata"]["name"], "deletionTimestamp" in one["metadata"])
            for one in ns.api.list(POD, ns.name)}


def settled(ns: Namespace, running: Operator) -> float:
    """The operator's writes once a look at every run finds nothing to do."""
    def state() -> tuple[float, dict[str, str]]:
        return running.writes(), {one["metadata"]["uid"]: one["metadata"]["resourceVersion"]
                                  for kind in (*CHILDREN, RUN) for one in ns.api.list(kind, ns.name)}

    def quiet() -> float | None:
        before = state()
        look_at_all(ns, running)
        return before[0] if state() == before else None

    writes: float = eventually(quiet, "the operator at rest")
    return writes


def look_at_all(ns: Namespace, running: Operator) -> None:
    """Wake every run by an unowned change of one of its pods, and wait until each was looked at."""
    looks = running.metrics().get(UNCHANGED, 0)
    one_each = {pod["metadata"]["labels"][LABEL_RUN]: pod["metadata"]["name"] for pod in ns.api.list(POD, ns.name, LABEL_RUN)}
    assert set(one_each) == set(RUNS)
    for pod in one_each.values():
        ns.api.patch(POD, ns.name, pod, {"metadata": {"annotations": {"wake": str(looks)}}})
    eventually(lambda: running.metrics().get(UNCHANGED, 0) >= looks + len(RUNS) or None, "a look at every run")


@pytest.mark.timeout(600)
def test_ten_live_runs_are_taken_over_without_a_restart(
        api: Api, release: Path, tmp_path: Path, tell: Tell) -> None:
    install_crds(api, release)
    with namespace(api, "upgrade") as ns:
        old = operator(api, release, tmp_path / "release.log")
        train(ns)
        settled(ns, old)
        before_workloads, before_pods = workloads(ns), pods(ns)
        before_attempts = attempts(ns)
        assert old.terminate() == 0

        install_crds(api, ROOT)
        new = operator(api, ROOT, tmp_path / "new.log")
        writes = settled(ns, new)
        assert pods(ns) == before_pods
        assert workloads(ns) == before_workloads
        assert attempts(ns) == before_attempts
        for _ in range(3):
            look_at_all(ns, new)
        assert new.writes() == writes
        restarts = {f"{name}: {role['name']}": role["restarts"] for name in RUNS for role in status(ns, name).get("roles", [])}
        assert not any(restarts.values()), restarts
        tell(f"upgrade from {BASE} with {len(RL_RUNS)} runs in RL and 2 in stages with a Job, {len(before_pods)} pods: "
             f"0 restarts, 0 changes of {len(before_workloads)} workloads; {writes:.0f} other writes, then 0 at rest")

        ns.succeed("evaluate", run="evaluate")
        ns.until_condition("Ready", "Succeeded", "evaluate")
        ns.succeed("rl", "evaluate", run=RUNS[0])
        ns.until_condition("Ready", "Succeeded", RUNS[0])
        assert new.terminate() == 0


def status(ns: Namespace, name: str) -> Manifest:
    found: Manifest = (ns.api.get(RUN, ns.name, name) or {})["status"]
    return found


def attempts(ns: Namespace) -> dict[str, list[int]]:
    return {name: [stage["attempt"] for stage in status(ns, name)["stages"]] for name in RUNS}
