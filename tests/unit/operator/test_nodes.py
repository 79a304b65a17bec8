"""Nodes that fail are avoided for a while; pods that hang on a lost one are removed where that is allowed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from magistral_api.names import LABEL_ATTEMPT
from magistral_operator.case import stamp
from magistral_operator.constants import BROKEN_GROUP_GRACE_S
from magistral_operator.plan import Manifest
from tests.unit.operator.world import World, a_node, reach, runtime

EXCLUSION = {"hostExclusion": {"failures": 2, "within": "1h", "duration": "6h"}}


def training(**spec: Any) -> World:
    """A run whose trainers sit on nodes n0 and n1."""
    world = reach(World("RL", **({"failurePolicy": EXCLUSION} | spec)), "rl")
    for rank in (0, 1):
        world.pod(f"one-trainer-{rank}", role="trainer", stage="rl", attempt=1, node=f"n{rank}", ready=True)
    return world.settle()


def fail(world: World, node: str, rank: int, attempt: int = 1) -> None:
    """The node is lost with its trainer; another pod comes up on it when it is back."""
    name = f"one-trainer-{rank}"
    world.lose(node).end(name).settle()
    world.nodes[node] = a_node(node)
    world.pod(name, role="trainer", stage="rl", attempt=attempt, node=node, uid=f"{name}-{stamp(world.now)}").settle()


def excluded(world: World) -> list[str]:
    return [one["name"] for one in world.status.get("excludedNodes", [])]


def avoided(template: Manifest) -> list[str]:
    """Hosts that pods of this template avoid."""
    affinity = template["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [{}])
    hosts = [[one["values"] for one in term.get("matchExpressions", []) if one["operator"] == "NotIn"] for term in terms]
    assert all(found == hosts[0] for found in hosts)
    return [host for values in hosts[0] for host in values]


def test_a_node_that_fails_twice_within_the_window_is_excluded_until_its_expiry() -> None:
    world = training()
    fail(world, "n0", 0)
    assert excluded(world) == []
    world.pass_time(1800)
    fail(world, "n0", 0)
    (one,) = world.status["excludedNodes"]
    assert one == {"name": "n0", "hostname": "host-n0", "reason": "2 failures within 1h: NodeLost",
                   "since": stamp(world.now), "until": "2026-01-01T06:30:00Z"}
    assert "NodeExcluded" in world.events
    world.pods.clear()
    world.pass_time(6 * 3600 - 1).settle()
    assert excluded(world) == ["n0"]
    plan = world.look()
    assert plan.requeue_after == 1
    world.pass_time(1).settle()
    assert excluded(world) == []


def test_two_failures_further_apart_than_the_window_exclude_nobody() -> None:
    world = training()
    fail(world, "n0", 0)
    world.pass_time(3601)
    fail(world, "n0", 0)
    assert excluded(world) == []


def test_failures_of_two_nodes_exclude_neither() -> None:
    world = training()
    fail(world, "n0", 0)
    world.pass_time(600)
    fail(world, "n1", 1)
    assert excluded(world) == []


def test_pods_that_are_lost_together_are_one_failure_of_their_node() -> None:
    world = training()
    world.pod("one-trainer-1", role="trainer", stage="rl", attempt=1, node="n0").pod("g", role="generator", node="n0")
    world.lose("n0").end("one-trainer-0").end("one-trainer-1").settle()
    world.pass_time(60).end("g").settle()
    assert [one["node"] for one in world.status["nodeFailures"]] == ["n0"]


def test_looking_again_finds_no_further_failure() -> None:
    world = training()
    fail(world, "n0", 0)
    world.lose("n0").end("one-trainer-0").settle()
    before = world.status["nodeFailures"]
    for _ in range(5):
        world.pass_time(400).settle()
    assert world.status["nodeFailures"] == before
    assert excluded(world) == []


def test_a_node_that_was_silent_for_a_moment_and_kept_its_pods_has_not_failed() -> None:
    world = training().lose("n0").settle()
    world.nodes["n0"] = a_node("n0")
    assert "nodeFailures" not in world.settle().status


def test_without_a_host_exclusion_nothing_is_remembered() -> None:
    world = training(failurePolicy={})
    fail(world, "n0", 0)
    assert "nodeFailures" not in world.status


def test_trainers_leave_a_node_that_is_excluded_and_servers_stay() -> None:
    world = training()
    servers = {key: child for key, child in world.children.items() if key[0] == "Deployment"}
    fail(world, "n0", 0)
    world.pass_time(600)
    fail(world, "n0", 0)
    assert world.stage("rl")["reason"] == "NodeExcluded"
    assert "trainer one-trainer-0 sits on node n0, which is excluded until" in world.message
    world.pods.clear()
    world.pass_time(60).settle()
    assert world.stage("rl")["attempt"] == 2
    for part in ("trainer", "conductor"):
        assert avoided(world.child("StatefulSet", part)["spec"]["template"]) == ["host-n0"]
    assert {key: child for key, child in world.children.items() if key[0] == "Deployment"} == servers
    # The exclusion itself is no restart: its failures are counted already.
    assert world.stage("rl")["infrastructureRestarts"] == 2


def test_an_exclusion_that_ends_restarts_nothing() -> None:
    world = training()
    fail(world, "n0", 0)
    world.pass_time(600)
    fail(world, "n0", 0)
    world.pods.clear()
    world.pass_time(60).settle()
    before = world.child("StatefulSet", "trainer")
    world.pass_time(6 * 3600).settle()
    assert excluded(world) == []
    assert world.child("StatefulSet", "trainer") == before


FORCE: dict[str, tuple[Manifest | None, int, bool]] = {
    "a silent node is not waited for": (a_node("n0", "Unknown"), 0, True),
    "a node that is not known may be new, and has the grace period": (None, 0, False),
    "a node that is not known then is gone": (None, 30, True),
    "a node that is not ready has the grace period": (a_node("n0", "False"), 0, False),
    "a node that is not ready has no more than that": (a_node("n0", "False"), 30, True),
    "a good node ends its pods itself": (a_node("n0"), 3600, False),
}


@pytest.mark.parametrize("sentence", list(FORCE))
def test_force(sentence: str) -> None:
    node, wait, expected = FORCE[sentence]
    world = training()
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    world.nodes = {"n1": a_node("n1")} | ({"n0": node} if node else {})
    world.end("one-trainer-0").pass_time(wait).settle()
    assert ("one-trainer-0" not in world.pods) is expected
    assert ("PodForceDeleted" in world.events) is expected
    assert "one-trainer-1" in world.pods


def test_without_permission_nothing_is_forced() -> None:
    world = training().lose("n0").end("one-trainer-0").pass_time(3600).settle()
    assert "one-trainer-0" in world.pods


GRACE = "deletionGracePeriodSeconds"


@pytest.mark.parametrize("force", [True, False])
def test_trainers_that_lost_a_peer_with_its_node_end_soon_when_they_are_let_go_where_force_is_allowed(force: bool) -> None:
    world = training(failurePolicy={"hostExclusion": {"failures": 1}})
    world.runtime = runtime(spec={"nodes": {"forceDelete": force}})
    world.lose("n0").end("one-trainer-0").settle()
    assert world.stage("rl")["state"] == "Failed" and ("StatefulSet", "one-trainer") not in world.children
    assert world.pods["one-trainer-1"]["metadata"].get(GRACE) == (BROKEN_GROUP_GRACE_S if force else None)


def test_trainers_that_lost_a_peer_with_its_node_and_are_not_let_go_are_left_alone() -> None:
    world = training()
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    world.lose("n0").end("one-trainer-0").settle()
    assert "one-trainer-0" not in world.pods
    assert GRACE not in world.pods["one-trainer-1"]["metadata"]


def test_trainers_of_a_whole_group_have_all_their_time_to_commit() -> None:
    world = training()
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    for rank in (0, 1):
        world.end(f"one-trainer-{rank}", 300)
    world.settle()
    assert [pod["metadata"][GRACE] for pod in world.pods.values()] == [300, 300]


def test_a_pod_that_is_forced_already_is_not_forced_again() -> None:
    world = training()
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    world.lose("n0").end("one-trainer-0").pods["one-trainer-0"]["metadata"]["deletionGracePeriodSeconds"] = 0
    assert world.look().delete == []


def test_a_job_whose_pod_hangs_on_a_lost_node_is_tried_elsewhere() -> None:
    world = reach(World("SFT"), "sft")
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    world.pod("s0", role="trainer", stage="sft", attempt=1, node="n0").lose("n0").end("s0").settle()
    assert world.stage("sft")["infrastructureRestarts"] == 1
    assert "pod s0 was lost with its node n0" in world.message


HAPPENINGS = some.lists(some.tuples(
    some.sampled_from(["silent", "not ready", "ready", "gone", "end", "vanish", "come", "crash", "step", "wait"]),
    some.integers(0, 1), some.booleans()), max_size=40)


@settings(max_examples=80, deadline=None)
@given(HAPPENINGS)
def test_whatever_happens_to_nodes_and_trainers_the_operator_comes_to_rest_and_counts_no_more_than_happened(
        happenings: list[tuple[str, int, bool]]) -> None:
    world = training(failurePolicy=EXCLUSION | {"maxRestarts": 100})
    world.runtime = runtime(spec={"nodes": {"forceDelete": True}})
    happened = 0
    for count, (event, rank, look) in enumerate(happenings):
        name, node = f"one-trainer-{rank}", f"n{rank}"
        pod = world.pods.get(name)
        if event in ("silent", "not ready"):
            happened += 1
            world.lose(node, "Unknown" if event == "silent" else "False")
        elif event == "ready":
            world.nodes[node] = a_node(node)
        elif event == "gone":
            world.nodes.pop(node, None)
        elif event == "come" and ("StatefulSet", "one-trainer") in world.children:
            happened += 1
            attempt = world.child("StatefulSet", "trainer")["metadata"]["labels"][LABEL_ATTEMPT]
            world.pod(name, role="trainer", stage="rl", attempt=int(attempt), node=node, uid=f"u{count}")
        elif event == "step":
            world.report("rl", "Running", step=count)
        elif event == "wait":
            world.pass_time(700)
        elif pod is not None:
            happened += 1
            if event == "end":
                world.end(name)
            elif event == "vanish":
                del world.pods[name]
            else:
                pod["status"]["containerStatuses"][0] |= {"restartCount": count, "lastState": {"terminated": {"exitCode": 1}}}
                happened += count
        if look:
            world.settle()
    world.settle()
    assert not world.look().writes
    assert world.status["phase"] == "Running" or world.conditions()["Ready"] == ("False", "TooManyRestarts")
    stage = world.stage("rl")
    assert stage["restarts"] + stage["infrastructureRestarts"] <= happened
    assert world.status["stage"] == "rl"
