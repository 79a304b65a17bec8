"""Children are put back as they should be, and left alone otherwise."""

import copy
from typing import Any

import pytest

from magistral_operator.diff import holds, merge_patch
from magistral_operator.plan import Manifest
from tests.unit.operator.world import World, reach, runtime


def test_each_deleted_child_comes_back() -> None:
    world = reach(World("RL"), "rl")
    passive = [key for key in world.children if key[0] != "Job" and key != ("ConfigMap", "one-preflight")]
    before = {key: world.children[key] for key in passive}
    for key in passive:
        del world.children[key]
    world.settle()
    assert set(before) <= set(world.children)


def drifts(manifest: Manifest) -> list[tuple[str, Manifest]]:
    """Every scalar of the manifest's spec, data, rules, labels and annotations changed, one at a time."""
    found: list[tuple[str, Manifest]] = []

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, (*path, key))
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, (*path, index))
        else:
            changed = copy.deepcopy(manifest)
            target: Any = changed
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = not node if isinstance(node, bool) else node + 1 if isinstance(node, int) else f"{node}x"
            found.append((".".join(map(str, path)), changed))

    for part in ("spec", "data", "rules", "subjects"):
        walk(manifest.get(part, {}), (part,))
    for part in ("labels", "annotations"):
        walk(manifest["metadata"][part], ("metadata", part))
    return found


def test_a_drift_of_any_field_we_own_is_set_back() -> None:
    world = reach(World("RL"), "rl")
    good, tried = copy.deepcopy(world.children), 0
    for key, manifest in good.items():
        if key[0] == "Job" or key in (("ConfigMap", "one-preflight"), ("ConfigMap", "one-progress")):
            continue
        for path, changed in drifts(manifest):
            world.children[key] = changed
            world.settle()
            # Some ways lead over another object of the same name.
            world.children[key]["metadata"]["uid"] = manifest["metadata"]["uid"]
            assert world.children[key] == manifest, (key, path)
            tried += 1
    assert tried > 300
    assert "DriftCorrected" in world.events


@pytest.mark.parametrize("theirs", [{"name": "http", "port": 8001}, {"port": 8001},
                                    {"name": "http", "port": 8000, "protocol": "UDP"}])
def test_a_service_whose_port_has_another_number_is_made_anew_since_ours_cannot_stand_beside_it(theirs: Manifest) -> None:
    world = reach(World("RL"), "rl")
    service = world.child("Service", "conductor")
    service["spec"]["ports"] = [theirs]
    plan = world.look()
    assert [(one.kind, one.name, one.uid) for one in plan.delete] == [("Service", "one-conductor", service["metadata"]["uid"])]
    assert not plan.apply


def test_a_port_that_others_add_to_a_service_is_theirs() -> None:
    world = reach(World("RL"), "rl")
    world.child("Service", "conductor")["spec"]["ports"].append({"name": "metrics", "port": 9090})
    assert not world.look().writes


@pytest.mark.parametrize(("part", "key"), [
    ("labels", "training.magistral.dev/attempt"), ("annotations", "training.magistral.dev/template")])
def test_what_marks_an_attempt_is_set_back_without_losing_it_when_others_change_it(part: str, key: str) -> None:
    world = reach(World("RL"), "rl")
    good = copy.deepcopy(world.child("StatefulSet", "trainer"))
    world.child("StatefulSet", "trainer")["metadata"][part][key] = "7"
    world.settle()
    assert world.child("StatefulSet", "trainer") == good


def test_fields_that_others_add_are_theirs() -> None:
    world = reach(World("RL"), "rl")
    deployment = world.child("Deployment", "generator")
    deployment["metadata"]["labels"]["team"] = "blue"
    deployment["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "EXTRA", "value": "1"})
    deployment["spec"]["progressDeadlineSeconds"] = 600
    assert not world.look().writes


def test_a_change_of_replicas_scales_and_restarts_nothing() -> None:
    world = reach(World("RL"), "rl")
    before = copy.deepcopy(world.child("Deployment", "generator")["spec"]["template"])
    world.change(rl=world.run["spec"]["rl"] | {"generators": 5}).settle()
    assert world.child("Deployment", "generator")["spec"]["replicas"] == 5
    assert world.child("Deployment", "generator")["spec"]["template"] == before
    assert "DriftCorrected" not in world.events


def test_a_changed_runtime_never_restarts_pods_that_run() -> None:
    world = reach(World("RL"), "rl").pod("one-trainer-0", role="trainer", stage="rl", ready=True)
    before = copy.deepcopy({key: child for key, child in world.children.items()
                            if key[0] in ("StatefulSet", "Deployment")})
    world.runtime = runtime(trainer={"image": "registry/trainer:2"}, generator={"image": "registry/generator:2"})
    world.settle()
    after = {key: world.children[key]["spec"] for key in before}
    assert after == {key: child["spec"] for key, child in before.items()}


def test_a_changed_runtime_writes_nothing_to_workloads_that_run() -> None:
    world = reach(World("RL"), "rl")
    for part in ("trainer", "generator", "verifier"):
        world.pod(part, role=part, ready=True)
    for kind, part in (("StatefulSet", "trainer"), ("Deployment", "generator")):
        # What the API server fills in.
        world.child(kind, part)["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    world.settle()
    world.runtime = runtime(trainer={"image": "registry/trainer:2"}, generator={"image": "registry/generator:2"})
    assert not world.look().writes


def test_a_job_made_by_another_release_is_left_to_end_as_it_is() -> None:
    world = reach(World("Evaluate"), "evaluate")
    job = world.child("Job", "evaluate")
    # A field outside the template, which the API server lets nobody change.
    job["spec"]["podFailurePolicy"]["rules"].pop()
    for mark in ("template", "applied"):
        job["metadata"]["annotations"][f"training.magistral.dev/{mark}"] = "of-the-release-before"
    assert not world.look().writes


def test_a_changed_runtime_still_lets_the_generators_scale() -> None:
    world = reach(World("RL"), "rl")
    world.runtime = runtime(generator={"image": "registry/generator:2"})
    world.change(rl=world.run["spec"]["rl"] | {"generators": 3}).settle()
    deployment = world.child("Deployment", "generator")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/generator:1"


NO_IMAGE = {"name": "main", "image": "x", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}


def test_a_corrected_runtime_replaces_pods_that_never_ran() -> None:
    world = reach(World("RL"), "rl")
    labels = world.child("Deployment", "generator")["spec"]["template"]["metadata"]["labels"]
    world.pod("g", role="generator", container=NO_IMAGE, phase="Pending")
    world.pods["g"]["metadata"]["labels"] = labels
    world.runtime = runtime(generator={"image": "registry/generator:2"})
    world.settle()
    containers = world.child("Deployment", "generator")["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "registry/generator:2"


def test_a_corrected_runtime_replaces_a_job_that_never_ran() -> None:
    world = World("Evaluate").settle()
    world.pod("p", stage="preflight", container=NO_IMAGE, phase="Pending")
    world.pods["p"]["metadata"]["labels"] = world.child("Job", "preflight")["spec"]["template"]["metadata"]["labels"]
    world.runtime = runtime(verifier={"image": "registry/verifier:2"})
    world.look()
    assert world.workloads == []
    world.pods.clear()
    world.settle()
    image = world.child("Job", "preflight")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (image, world.stage("preflight")["attempt"]) == ("registry/verifier:2", 1)


def test_a_changed_runtime_leaves_a_job_that_runs() -> None:
    world = World("Evaluate").settle()
    before = copy.deepcopy(world.child("Job", "preflight"))
    world.runtime = runtime(verifier={"image": "registry/verifier:2"}, worker={"env": {"A": "1"}})
    world.settle()
    assert world.child("Job", "preflight") == before


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    world = reach(World("RL"), "rl")
    world.child("StatefulSet", "trainer")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    plan = world.look()
    assert not plan.writes
    assert plan.requeue_after is not None


def test_objects_of_an_earlier_run_go_before_new_ones_take_their_names() -> None:
    world = World("Evaluate")
    old = copy.deepcopy(World("Evaluate").settle().child("Job", "preflight"))
    old["metadata"]["uid"] = "of-the-earlier-run"
    world.leftovers = [old]
    world.look()
    assert world.workloads == []
    assert world.conditions()["Reconciling"] == ("True", "ReplacingLeftovers")
    world.settle()
    assert world.workloads == ["one-preflight"]
    assert world.conditions()["Reconciling"] == ("True", "StageRunning")


HOLDS: dict[str, tuple[Any, Any, bool]] = {
    "defaults that the server adds are fine": ({"a": 1}, {"a": 1, "b": 2}, True),
    "a changed value is a difference": ({"a": 1}, {"a": 2}, False),
    "a missing value is a difference": ({"a": 1}, {}, False),
    "nothing and empty are the same": ({"a": {}, "b": [], "c": ""}, {}, True),
    "quantities are compared by amount": ({"requests": {"cpu": "1000m", "memory": "1024Mi"}},
                                          {"requests": {"cpu": "1", "memory": "1Gi"}}, True),
    "another quantity is a difference": ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, False),
    "a size limit is a quantity": ({"sizeLimit": "1024Mi"}, {"sizeLimit": "1Gi"}, True),
    "a missing quantity is a difference": ({"limits": {"cpu": "1"}}, {"limits": {}}, False),
    "text that looks like a quantity is text": ({"value": "1000m"}, {"value": "1"}, False),
    "containers are matched by name": ({"containers": [{"name": "b", "image": "i"}]},
                                       {"containers": [{"name": "a"}, {"name": "b", "image": "i"}]}, True),
    "a container that is gone is a difference": ({"containers": [{"name": "b"}]},
                                                 {"containers": [{"name": "a"}]}, False),
    "ports of a Service that others add are theirs": ({"ports": [{"port": 1}]}, {"ports": [{"port": 1}, {"port": 2}]}, True),
    "one label more selects other pods": ({"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}, False),
    "one peer more in a rule lets others in": ({"ingress": [{"from": [{"podSelector": {}}]}]},
                                               {"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]}, False),
    "nothing more in a rule is the same": ({"ingress": [{"from": [{"podSelector": {"a": "b"}}], "ports": []}]},
                                           {"ingress": [{"from": [{"podSelector": {"a": "b"}}]}]}, True),
    "plain lists are whole": ({"args": ["a"]}, {"args": ["a", "b"]}, False),
}


@pytest.mark.parametrize("sentence", list(HOLDS))
def test_holds(sentence: str) -> None:
    wanted, live, expected = HOLDS[sentence]
    assert holds(wanted, live) is expected


PATCHES: list[tuple[Any, Any, Any]] = [
    ({"a": 1}, {"a": 1}, {}), ({"a": 1}, {"a": 2}, {"a": 2}), ({"a": 1}, {}, {"a": None}), ({}, {"a": [1]}, {"a": [1]}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
]


@pytest.mark.parametrize(("before", "after", "patch"), PATCHES)
def test_a_merge_patch_says_only_what_differs(before: Any, after: Any, patch: Any) -> None:
    assert merge_patch(before, after) == patch
