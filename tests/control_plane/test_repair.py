"""What the operator puts right: failed attempts, an operator that was away. Changed and deleted children: test_drift.py."""

from pathlib import Path

import httpx
import pytest
from kubernetes import client, config

from magistral_operator.kinds import BY_NAME, CHECKPOINT, RUNTIME, SECRET
from magistral_operator.kube import Kube
from tests.control_plane.cluster import Namespace, Operator, eventually, look_at, runtime, settled


@pytest.fixture
def training(ns: Namespace) -> Namespace:
    """A run in its RL stage."""
    ns.run("RL")
    ns.succeed("preflight")
    for kind, part in (("StatefulSet", "trainer"), ("Deployment", "generator"), ("Deployment", "verifier")):
        ns.until_there(kind, f"one-{part}")
    return ns


def test_a_deleted_job_comes_back_with_the_same_attempt(ns: Namespace) -> None:
    ns.run("Evaluate")
    before = ns.until_there("Job", "one-preflight")["metadata"]
    ns.api.delete(BY_NAME["Job"], ns.name, "one-preflight")
    after = ns.until("Job", "one-preflight", lambda found: found is not None
                     and found["metadata"]["uid"] != before["uid"])["metadata"]
    assert after["labels"] == before["labels"]


def test_a_deleted_token_comes_back_when_a_pod_waits_for_it(training: Namespace) -> None:
    training.api.delete(SECRET, training.name, "one-token")
    training.kubelet_waits(training.pod("generator"), "ContainerCreating", "")
    eventually(lambda: training.has_secret("one-token") or None, "Secret one-token")


def test_at_rest_the_operator_writes_nothing(training: Namespace, operator: Operator) -> None:
    before = settled(training, operator)
    for _ in range(20):
        look_at(training, operator)
    writes, versions = settled(training, operator)
    assert (writes, versions) == before


def test_a_restarted_operator_changes_nothing_of_a_live_run(training: Namespace, operator: Operator) -> None:
    _, before = settled(training, operator)
    assert operator.terminate() == 0
    operator.start()
    writes, after = settled(training, operator)
    assert after == before
    assert writes == 0


def test_what_happened_while_the_operator_was_away_is_made_good(training: Namespace, operator: Operator) -> None:
    operator.terminate()
    training.report("rl")
    training.api.delete(BY_NAME["Deployment"], training.name, "one-generator")
    training.api.delete(BY_NAME["Service"], training.name, "one-verifier")
    operator.start()
    training.until_there("Deployment", "one-generator")
    training.until_there("Service", "one-verifier")
    training.until_gone("StatefulSet", "one-trainer")
    training.succeed("evaluate")
    training.until_condition("Ready", "Succeeded")


def test_a_killed_operator_is_followed_by_one_that_goes_on(training: Namespace, operator: Operator) -> None:
    operator.kill()
    operator.start()
    training.succeed("rl", "evaluate")
    training.until_condition("Ready", "Succeeded")


def test_a_standby_takes_over_when_the_leader_stops(training: Namespace, operator: Operator,
                                                    standby: Operator) -> None:
    assert standby.metrics()["magistral_leader"] == 0
    operator.terminate()
    training.report("rl")
    training.until_there("Job", "one-evaluate")
    assert standby.metrics()["magistral_leader"] == 1
    operator.start()
    assert operator.metrics()["magistral_leader"] == 0


def test_bad_data_ends_the_run_with_the_last_words_of_the_process(ns: Namespace) -> None:
    ns.run("Evaluate")
    ns.succeed("preflight")
    ns.kubelet_ended(ns.pod("worker", "evaluate"), 64, "loading\ns3://magistral/suites/suite.jsonl line 3: no answer")
    assert "suite.jsonl line 3: no answer" in ns.until_condition("Stalled", "BadInput")
    ns.until_gone("Deployment", "one-generator")


def test_a_failed_attempt_is_followed_by_the_next(ns: Namespace) -> None:
    ns.run("Evaluate")
    ns.succeed("preflight")
    ns.kubelet_ended(ns.pod("worker", "evaluate", 1), 1, "connection reset")
    assert "connection reset" in ns.until_condition("Reconciling", "Retrying")
    ns.pod("worker", "evaluate", 2)
    ns.succeed("evaluate")
    run = ns.until_run(lambda status: status["phase"] == "Succeeded")
    assert next(one["restarts"] for one in run["status"]["stages"] if one["name"] == "evaluate") == 1


def test_a_missing_secret_is_told_and_the_run_goes_on_once_it_is_there(ns: Namespace) -> None:
    ns.run("Evaluate")
    pod = ns.pod("worker", "preflight")
    ns.kubelet_waits(pod, "CreateContainerConfigError", 'secret "store" not found')
    assert f"create Secret 'store' with keys accessKey and secretKey in namespace {ns.name}" in ns.until_condition(
        "Stalled", "SecretNotFound")
    ns.kubelet_runs(pod)
    ns.until_condition("Reconciling", "StageRunning")


def test_a_failed_preflight_is_told_and_tried_again_until_it_succeeds(ns: Namespace) -> None:
    ns.run("Evaluate")
    ns.report("preflight", "Failed", reason="BucketNotFound", message="bucket magistral: not there; make it")
    assert ns.until_condition("Stalled", "BucketNotFound") == "bucket magistral: not there; make it"
    ns.until("Job", "one-preflight", lambda found: found is not None
             and found["metadata"]["labels"]["training.magistral.dev/attempt"] == "2")
    ns.succeed("preflight", "evaluate")
    ns.until_condition("Ready", "Succeeded")


def test_a_runtime_that_the_api_server_refuses_is_told_and_can_be_corrected(ns: Namespace) -> None:
    bad = {"pod": {"tolerations": [{"key": "gpu", "operator": "Sometimes"}]}}
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"roles": {"worker": bad}}})
    ns.run("Evaluate")
    message = ns.until_condition("Stalled", "ApplyRefused")
    assert "Job one-preflight" in message
    assert "Sometimes" in message
    ns.api.patch(RUNTIME, None, ns.runtime, {"spec": {"roles": {"worker": {"pod": None}}}})
    ns.until_there("Job", "one-preflight")
    ns.until_condition("Reconciling", "StageRunning")


def test_a_corrected_image_replaces_a_pod_that_could_not_start(ns: Namespace) -> None:
    ns.run("Evaluate")
    ns.kubelet_waits(ns.pod("worker", "preflight"), "ErrImagePull", "not found")
    assert "registry.example.com" in ns.until_condition("Stalled", "ImagePullFailed")
    ns.api.patch(RUNTIME, None, ns.runtime, runtime(ns.runtime, verifier={"image": "registry.example.com/verifier:2"}))
    ns.until("Job", "one-preflight", lambda found: found is not None and found["spec"]["template"]["spec"][
        "containers"][0]["image"].endswith(":2"))


def test_a_replaced_trainer_is_counted_once(training: Namespace) -> None:
    pod = training.pod("trainer", "rl")
    training.until_run(lambda status: any(
        pod["metadata"]["name"] in one.get("pods", {}) for one in status.get("roles", [])))
    training.api.delete(BY_NAME["Pod"], training.name, pod["metadata"]["name"])
    training.until_run(lambda status: {
        one["name"]: one["infrastructureRestarts"] for one in status["roles"]}["trainer"] == 1)


def test_probes_are_told_what_is_wrong_or_ok(operator: Operator) -> None:
    answer = httpx.get(f"http://127.0.0.1:{operator.port}/healthz", timeout=5, trust_env=False)
    assert (answer.status_code, answer.text) == (200, "ok")


@pytest.mark.parametrize("metadata_only", [True, False])
def test_a_kind_of_which_there_is_nothing_is_an_empty_page(ns: Namespace, kubeconfig: Path, metadata_only: bool) -> None:
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    page = Kube(client.ApiClient(configuration)).page(CHECKPOINT, ns.name, metadata_only=metadata_only)
    assert page.items == []
