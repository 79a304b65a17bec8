"""A run in a Kueue queue: what it asks for, when it has pods, how it gives its quota back."""

from typing import Any

import pytest

from magistral_api.names import PARADIGM_STAGES
from magistral_operator.case import stamp
from magistral_operator.constants import WIND_DOWN_S
from magistral_operator.plan import Manifest
from magistral_operator.preview import preview
from tests.unit.operator.world import World, reach, runtime, succeed

GPU = {"resources": {"requests": {"nvidia.com/gpu": "8"}}}


def queued(paradigm: str = "RL", **spec: Any) -> World:
    """A run with a queue name, on an operator that works with Kueue."""
    world = World(paradigm, **spec)
    world.kueue = True
    world.run["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    return world


def workload(world: World) -> Manifest:
    return world.child("Workload", "quota")


def kueue_says(world: World, *changes: tuple[str, str, str], **status: Any) -> World:
    """Conditions (type, status, reason) and fields of the Workload's status, as Kueue writes them."""
    live = workload(world).setdefault("status", {})
    conditions = {one["type"]: one for one in live.get("conditions", [])}
    conditions |= {kind: {"type": kind, "status": value, "reason": reason, "message": f"{reason}!",
                          "lastTransitionTime": stamp(world.now)} for kind, value, reason in changes}
    live |= {"conditions": list(conditions.values())} | status
    return world


def admit(world: World, flavor: str = "h100", **counts: int) -> World:
    world.settle()
    world.flavors.setdefault(flavor, {"metadata": {"name": flavor}, "spec": {}})
    assignments = [{"name": one["name"], "count": counts.get(one["name"], one["count"]), "flavors": {"cpu": flavor}}
                   for one in workload(world)["spec"]["podSets"]]
    kueue_says(world, ("QuotaReserved", "True", "QuotaReserved"), ("Admitted", "True", "Admitted"),
               ("Evicted", "False", "QuotaReserved"), admission={"clusterQueue": "cq", "podSetAssignments": assignments})
    return world.settle()


def evict(world: World, reason: str = "Preempted") -> World:
    return kueue_says(world, ("Evicted", "True", reason)).settle()


def conditions(world: World) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in workload(world)["status"]["conditions"]}


PEAKS: dict[str, dict[str, int]] = {
    "SFT": {"trainer": 2, "generator": 1, "verifier": 1, "worker": 1},
    "RL": {"trainer": 2, "generator": 2, "verifier": 2, "worker": 1},
    "SFTThenRL": {"trainer": 2, "generator": 2, "verifier": 2, "worker": 1},
    "Evaluate": {"generator": 1, "verifier": 1, "worker": 1},
}


@pytest.mark.parametrize("paradigm", list(PARADIGM_STAGES))
def test_a_run_asks_for_all_its_pods_at_their_peak_at_once(paradigm: str) -> None:
    asked = workload(queued(paradigm).settle())["spec"]
    assert asked["queueName"] == "team"
    assert {one["name"]: one["count"] for one in asked["podSets"]} == PEAKS[paradigm]


def test_the_larger_of_two_training_stages_counts() -> None:
    world = queued("SFTThenRL", sft=World("SFT").run["spec"]["sft"] | {"workers": 8})
    assert workload(world.settle())["spec"]["podSets"][0]["count"] == 8


def test_a_pod_set_has_what_kueue_needs_to_choose_a_flavor() -> None:
    world = queued()
    world.runtime = runtime(trainer=GPU | {"pod": {"nodeSelector": {"zone": "a"}, "priorityClassName": "batch"}})
    assert workload(world.settle())["spec"]["podSets"][0] == {"name": "trainer", "count": 2, "template": {"spec": {
        "containers": [{"name": "main", "image": "registry/trainer:1", "resources": GPU["resources"] | {"limits": {}}}],
        "nodeSelector": {"zone": "a"}, "priorityClassName": "batch"}}}


def test_a_run_has_no_pods_until_it_is_admitted_and_then_all_that_it_needs() -> None:
    world = queued().settle()
    assert (world.workloads, world.stage("preflight").get("attempt", 0)) == ([], 0)
    assert world.conditions() == {"Ready": ("False", "WaitingForQuota"), "Reconciling": ("True", "WaitingForQuota")}
    kueue_says(world, ("QuotaReserved", "False", "Pending")).settle()
    assert "waits for quota in LocalQueue team: Pending!" in world.message
    assert admit(world).workloads == ["one-preflight"]
    reach(world, "rl")
    assert world.names("StatefulSet", "Deployment") == ["one-conductor", "one-generator", "one-trainer", "one-verifier"]


def test_quota_alone_is_no_admission() -> None:
    world = kueue_says(queued().settle(), ("QuotaReserved", "True", "QuotaReserved")).settle()
    assert world.workloads == []


def test_pods_go_where_their_flavor_is() -> None:
    world = queued()
    world.runtime = runtime(trainer={"pod": {"nodeSelector": {"zone": "a"}}})
    world.flavors["spot"] = {"metadata": {"name": "spot"}, "spec": {
        "nodeLabels": {"pool": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}}
    reach(admit(world, "spot"), "rl")
    for kind, part, own in (("StatefulSet", "trainer", {"zone": "a"}), ("StatefulSet", "conductor", {}),
                            ("Deployment", "generator", {}), ("Deployment", "verifier", {})):
        spec = world.child(kind, part)["spec"]["template"]["spec"]
        assert spec["nodeSelector"] == own | {"pool": "spot"}
        assert spec["tolerations"][0] == {"key": "spot", "operator": "Exists"}


def test_a_flavor_that_does_not_exist_is_told() -> None:
    world = admit(queued())
    world.flavors.clear()
    world.settle()
    assert "was admitted with ResourceFlavor h100, which does not exist" in world.message


def test_a_preempted_run_commits_first_then_gives_its_quota_back_and_waits_again() -> None:
    world = reach(admit(queued()), "rl").pod("one-trainer-0", role="trainer", stage="rl", attempt=1)
    evict(world)
    assert world.names("StatefulSet", "Deployment") == ["one-conductor", "one-generator", "one-verifier"]
    assert world.conditions()["Reconciling"] == ("True", "CheckpointBeforeSuspend")
    assert conditions(world)["QuotaReserved"][0] == "True"

    world.pods["one-trainer-0"]["metadata"]["labels"] |= {"training.magistral.dev/role": "generator"}
    world.settle()
    assert world.workloads == []
    assert conditions(world)["QuotaReserved"][0] == "True"

    world.pods.clear()
    world.settle()
    assert "admission" not in workload(world)["status"]
    assert conditions(world) == {
        "QuotaReserved": ("False", "Pending"), "Admitted": ("False", "NoReservation"), "Evicted": ("True", "Preempted"),
        "Requeued": ("True", "Preempted")}
    assert world.conditions() == {"Ready": ("False", "WaitingForQuota"), "Reconciling": ("True", "WaitingForQuota")}
    assert not world.look().writes

    admit(world)
    assert (world.status["phase"], world.stage("rl")["attempt"], world.stage("rl")["restarts"]) == ("Running", 2, 0)


@pytest.mark.parametrize("reason", ["PodsReadyTimeout", "AdmissionCheck", "ClusterQueueStopped", "Deactivated"])
def test_after_any_other_eviction_kueue_says_when_to_try_again(reason: str) -> None:
    world = evict(reach(admit(queued()), "rl"), reason)
    assert conditions(world)["Requeued"] == ("False", reason)


def test_spec_suspend_gives_the_quota_back_too() -> None:
    world = reach(admit(queued()), "rl").change(suspend=True).settle()
    assert workload(world)["spec"]["active"] is False
    evict(world, "Deactivated")
    assert conditions(world)["QuotaReserved"] == ("False", "Pending")
    assert world.conditions() == {"Ready": ("False", "Suspended")}
    world.change(suspend=False).settle()
    assert "active" not in workload(world)["spec"]
    assert world.workloads == []
    assert admit(world).stage("rl")["attempt"] == 2


def test_what_quota_was_reserved_for_does_not_change_and_more_waits_for_the_next_admission() -> None:
    world = reach(admit(queued()), "rl")
    world.change(rl=world.run["spec"]["rl"] | {"generators": 5}).settle()
    assert workload(world)["spec"]["podSets"][1]["count"] == 2
    assert world.child("Deployment", "generator")["spec"]["replicas"] == 2
    world.change(rl=world.run["spec"]["rl"] | {"generators": 1}).settle()
    assert world.child("Deployment", "generator")["spec"]["replicas"] == 1
    world.change(rl=world.run["spec"]["rl"] | {"generators": 5})
    evict(world)
    admit(world)
    assert world.child("Deployment", "generator")["spec"]["replicas"] == 5


@pytest.mark.parametrize(("last", "reason"), [("evaluate", "Succeeded"), (None, "Failed")])
def test_a_run_that_ends_says_so_once_its_pods_are_gone(last: str | None, reason: str) -> None:
    world = reach(admit(queued()), "evaluate").pod("w", role="worker", stage="evaluate", attempt=1)
    if last:
        succeed(world, [last])
    else:
        world.exit_with("x", 64, stage="evaluate", attempt=1).settle()
    assert "Finished" not in conditions(world)
    world.pods.clear()
    world.pass_time(WIND_DOWN_S).settle()
    assert conditions(world)["Finished"] == ("True", reason)
    assert not world.look().writes


def test_waiting_does_not_count_against_the_deadline() -> None:
    world = queued(activeDeadline="1h").settle().pass_time(7200).settle()
    assert world.status["phase"] == "Suspended"
    admit(world)
    assert world.status["startTime"] == stamp(world.now)


def test_a_priority_class_decides_who_goes_first() -> None:
    world = queued()
    world.run["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = "urgent"
    assert world.settle().conditions()["Stalled"] == ("True", "PriorityClassNotFound")
    world.priority_class = {"metadata": {"name": "urgent"}, "value": 100}
    spec = workload(world.settle())["spec"]
    assert (spec["priorityClassName"], spec["priority"], spec["priorityClassSource"]) == (
        "urgent", 100, "kueue.x-k8s.io/workloadpriorityclass")


def test_a_queue_name_without_kueue_is_told_and_never_passed_over() -> None:
    world = queued()
    world.kueue = False
    assert world.settle().conditions()["Stalled"] == ("True", "KueueNotEnabled")
    assert world.children == {}


def test_a_run_without_a_queue_name_has_no_workload() -> None:
    world = World()
    world.kueue = True
    assert world.settle().names("Workload") == []
    assert world.workloads == ["one-preflight"]


def test_a_queue_name_taken_away_takes_the_claim_away() -> None:
    world = admit(queued())
    world.run["metadata"]["labels"].clear()
    assert world.settle().names("Workload") == []
    assert world.workloads == ["one-preflight"]


def test_a_deleted_workload_stops_the_run_until_a_new_one_is_admitted() -> None:
    world = reach(admit(queued()), "rl")
    del world.children["Workload", "one-quota"]
    world.settle()
    assert world.workloads == []
    assert admit(world).stage("rl")["attempt"] == 2


def test_what_a_run_could_not_start_with_is_told_before_it_waits() -> None:
    world = queued()
    world.runtime = None
    assert world.settle().conditions()["Stalled"] == ("True", "RuntimeNotFound")


def test_an_evicted_run_stops_even_when_its_runtime_is_gone() -> None:
    world = reach(admit(queued()), "rl")
    world.runtime = None
    evict(world)
    assert world.workloads == []
    assert conditions(world)["QuotaReserved"] == ("False", "Pending")


def test_a_rehearsal_takes_the_queue_to_admit_at_once_and_shows_what_is_asked_of_it() -> None:
    first, *others = preview(queued().run, runtime())
    asked = [one["metadata"]["name"] for one in first.new if one["kind"] == "Workload"]
    assert asked == ["one-quota"]
    assert [one for stage in others for one in stage.new if one["kind"] == "Workload"] == []
