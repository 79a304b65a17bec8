"""Whole lives of runs: from `apply` to Ready, suspended and resumed, deleted and applied again."""

import pytest

from magistral_api.names import LABEL_RUN, PARADIGM_STAGES
from magistral_operator.kinds import BY_NAME, CHECKPOINT, CHILDREN, POD, RUN, RUNTIME, SECRET, WORKLOADS
from tests.control_plane.cluster import PREPARED_RL, Api, Namespace, eventually, runtime


def teach(ns: Namespace) -> None:
    """A teacher whose RL stage has succeeded."""
    ns.run("RL", "teacher")
    ns.succeed("preflight", "rl", run="teacher")


@pytest.mark.parametrize("paradigm", list(PARADIGM_STAGES))
def test_every_paradigm_reaches_ready(ns: Namespace, paradigm: str) -> None:
    if paradigm.startswith("SFT"):
        teach(ns)
    ns.run(paradigm)
    ns.succeed(*PARADIGM_STAGES[paradigm])
    ns.api.kubectl("-n", ns.name, "wait", "--for=condition=Ready", "--timeout=30s", "magistralrun/one")
    run = ns.until_run(lambda status: status["phase"] == "Succeeded")
    assert [one["type"] for one in run["status"]["conditions"]] == ["Ready"]
    for kind in ("StatefulSet", "Deployment"):
        ns.until_gone(kind, "one-trainer" if kind == "StatefulSet" else "one-generator")
    assert "StageSucceeded" in ns.events()


@pytest.mark.parametrize("paradigm", ["RL", "SFTThenRL"])
def test_a_run_whose_prompts_are_prepared_reaches_ready(ns: Namespace, paradigm: str) -> None:
    if paradigm.startswith("SFT"):
        teach(ns)
    ns.run(paradigm, rl=PREPARED_RL)
    first, *rest = PARADIGM_STAGES[paradigm]
    ns.succeed(first)
    ns.until_stage("prepare")
    ns.until_there("Deployment", "one-verifier")
    assert ns.api.get(BY_NAME["Deployment"], ns.name, "one-generator") is None
    ns.succeed("prepare", *rest)
    ns.until_condition("Ready", "Succeeded")


def test_a_run_shows_its_progress_in_kubectl_get(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    ns.report("rl", "Running", step=12, totalSteps=40, rl={"policyVersion": 12, "reward": 0.5})
    ns.until_run(lambda status: status.get("progress") == "rl 12/40")
    header, row = ns.api.kubectl("-n", ns.name, "get", "mrun", "one").splitlines()
    assert header.split()[:5] == ["NAME", "PARADIGM", "PHASE", "STAGE", "PROGRESS"]
    assert row.split()[:9] == ["one", "RL", "Running", "rl", "rl", "12/40", "0.5", "False", "StageRunning"]


def test_commits_become_checkpoints_that_kubectl_can_wait_for(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight", "rl")
    ns.until_there("Checkpoint", "one-rl-000040")
    ns.api.kubectl("-n", ns.name, "wait", "--for=condition=Ready", "--timeout=30s", "checkpoint/one-rl-000040")
    ns.until_run(lambda status: status.get("latestCheckpoint", {}).get("name") == "one-rl-000040")


def test_a_step_that_is_committed_again_replaces_its_checkpoint(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    commit = {"step": 20, "uri": "s3://magistral/runs/x/rl/20", "sizeBytes": 1}
    for digest in ("sha256:" + "b" * 64, "sha256:" + "c" * 64):
        ns.report("rl", "Running", checkpoints=[commit | {"digest": digest}])
        ns.until("Checkpoint", "one-rl-000020", lambda found, digest=digest: (  # type: ignore[misc]
            found is not None and found["spec"]["digest"] == digest))


def test_a_student_starts_when_its_teacher_has_rollouts(ns: Namespace) -> None:
    ns.run("SFT")
    ns.succeed("preflight")
    assert "there is no MagistralRun 'teacher'" in ns.until_condition("Reconciling", "WaitingForRun")
    teach(ns)
    ns.until_there("Job", "one-curate")


def test_a_missing_runtime_is_told_and_its_creation_lets_the_run_start(ns: Namespace) -> None:
    ns.api.delete(RUNTIME, None, ns.runtime)
    ns.run("Evaluate")
    assert f"no MagistralRuntime '{ns.runtime}'" in ns.until_condition("Stalled", "RuntimeNotFound")
    assert ns.api.list(BY_NAME["ServiceAccount"], ns.name, "training.magistral.dev/run") == []
    ns.api.create(RUNTIME, runtime(ns.runtime))
    ns.until_there("Job", "one-preflight")
    ns.until_condition("Reconciling", "StageRunning")


def test_suspend_removes_every_pod_and_resume_goes_on(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    ns.pod("trainer", "rl")
    ns.change(suspend=True)
    for kind, part in (("StatefulSet", "trainer"), ("StatefulSet", "conductor"), ("Deployment", "generator"),
                       ("Deployment", "verifier")):
        ns.until_gone(kind, f"one-{part}")
    ns.until_condition("Ready", "Suspended")
    ns.until_gone("Pod", "one-trainer-0")
    ns.change(suspend=False)
    ns.until_there("StatefulSet", "one-trainer")
    run = ns.until_stage("rl")
    assert next(one["attempt"] for one in run["status"]["stages"] if one["name"] == "rl") == 2
    ns.succeed("rl", "evaluate")
    ns.until_condition("Ready", "Succeeded")


def test_a_deleted_run_leaves_nothing_behind(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    ns.pod("generator")
    ns.report("rl", "Running", checkpoints=[{"step": 1, "digest": "sha256:" + "b" * 64, "uri": "s3://magistral/x",
                                             "sizeBytes": 1}])
    ns.until_there("Checkpoint", "one-rl-000001")
    names = {(kind.name, child["metadata"]["name"]) for kind in (*CHILDREN, POD, SECRET)
             for child in ns.api.list(kind, ns.name) if child["metadata"]["name"].startswith("one-")}
    assert {kind for kind, _ in names} == {kind.name for kind in (*CHILDREN, POD, SECRET)}
    ns.api.kubectl("-n", ns.name, "delete", "mrun", "one", "--timeout=30s")
    for kind_name, name in sorted(names):
        ns.until_gone(kind_name, name)


def test_a_run_deleted_and_applied_again_at_once_starts_afresh(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    old = ns.until_there("StatefulSet", "one-trainer")
    ns.api.delete(RUN, ns.name, "one")
    ns.until_gone("MagistralRun", "one")
    new = ns.run("RL")
    ns.succeed("preflight")
    uid = new["metadata"]["uid"]
    trainer = ns.until("StatefulSet", "one-trainer", lambda found: found is not None and uid in str(found["metadata"]))
    assert trainer["metadata"]["uid"] != old["metadata"]["uid"]
    ns.succeed("rl", "evaluate")
    ns.until_condition("Ready", "Succeeded")


def test_children_orphaned_by_their_run_make_way_for_the_next_one(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight")
    ns.pods("trainer", count=2)
    left = [(kind, found["metadata"]["name"]) for kind in CHILDREN for found in ns.api.list(kind, ns.name, LABEL_RUN)]
    ns.api.delete(RUN, ns.name, "one", "Orphan")
    ns.until_gone("MagistralRun", "one")
    uid = ns.run("RL")["metadata"]["uid"]
    for kind, name in left:
        ns.until(kind.name, name, lambda found: found is None or [
            owner["uid"] for owner in found["metadata"].get("ownerReferences", [])] == [uid])


def test_a_run_whose_time_to_live_is_over_deletes_itself(ns: Namespace) -> None:
    ns.run("Evaluate", ttlAfterFinished="1s")
    ns.succeed("preflight", "evaluate")
    ns.until_gone("MagistralRun", "one")
    for kind in WORKLOADS:
        for child in ns.api.list(kind, ns.name):
            ns.until_gone(kind.name, child["metadata"]["name"])


def test_a_deadline_ends_a_run(ns: Namespace) -> None:
    ns.run("Evaluate", activeDeadline="1s")
    assert "spec.activeDeadline 1s" in ns.until_condition("Stalled", "DeadlineExceeded")
    ns.until_gone("Job", "one-preflight")


def test_a_pod_of_a_run_may_report_progress_and_do_nothing_else(ns: Namespace) -> None:
    ns.run("RL")
    ns.until_there("RoleBinding", "one-progress")

    def may(verb: str, resource: str, name: str) -> bool:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": f"system:serviceaccount:{ns.name}:one-worker",
            "resourceAttributes": {"namespace": ns.name, "verb": verb, "resource": resource, "name": name}}}
        answer = ns.api.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review).json()
        return bool(answer["status"]["allowed"])

    # The API server learns of a new right a moment later.
    eventually(lambda: may("patch", "configmaps", "one-progress") or None, "the right to report")
    forbidden = [("patch", "configmaps", "other-progress"), ("get", "configmaps", "one-progress"),
                 ("delete", "configmaps", "one-progress"), ("get", "secrets", "one-token"), ("list", "pods", ""),
                 ("patch", "magistralruns", "one")]
    assert [one for one in forbidden if may(*one)] == []


def test_the_operator_can_read_no_secret(ns: Namespace, api: Api) -> None:
    for verb in ("get", "list", "watch", "patch", "delete"):
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": "magistral-operator",
            "resourceAttributes": {"namespace": ns.name, "verb": verb, "resource": "secrets"}}}
        answer = api.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review).json()
        assert not answer["status"]["allowed"], verb


def test_checkpoints_are_immutable(ns: Namespace) -> None:
    ns.run("RL")
    ns.succeed("preflight", "rl")
    ns.until_there("Checkpoint", "one-rl-000040")
    response = ns.api.http.patch(CHECKPOINT.path(ns.name, "one-rl-000040"), json={"spec": {"step": 41}},
                                 headers={"Content-Type": "application/merge-patch+json"})
    assert response.status_code == 422
    assert "a Checkpoint is immutable" in response.text


def test_an_operator_for_one_namespace_needs_rights_in_that_namespace_only(confined: Namespace) -> None:
    confined.run("Evaluate")
    confined.succeed("preflight", "evaluate")
    confined.until_condition("Ready", "Succeeded")
