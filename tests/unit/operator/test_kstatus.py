"""What `kubectl wait`, Argo CD and Flux see in each phase of a run."""

from collections.abc import Callable

import pytest

from magistral_api.names import PARADIGM_STAGES
from magistral_operator.plan import Manifest
from tests.unit.operator.world import World, reach, succeed, teacher


def kstatus(run: Manifest) -> str:
    """kstatus' rules for a custom resource: cli-utils, pkg/kstatus/README.md."""
    status = run.get("status", {})
    if "deletionTimestamp" in run["metadata"]:
        return "Terminating"
    if status.get("observedGeneration", 0) != run["metadata"]["generation"]:
        return "InProgress"
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    if conditions.get("Stalled") == "True":
        return "Failed"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


def waiting_for_its_teacher(world: World) -> World:
    world.teacher = teacher("Running")
    return world.settle().report("preflight").settle()


PHASES: dict[str, tuple[str, Callable[[World], World], str]] = {
    "not yet seen": ("RL", lambda world: world, "InProgress"),
    "preflight running": ("RL", lambda world: world.settle(), "InProgress"),
    "preflight failed": ("RL", lambda world: world.settle().report("preflight", "Failed", message="no").settle(),
                         "Failed"),
    "waiting for its teacher": ("SFT", waiting_for_its_teacher, "InProgress"),
    "sft": ("SFT", lambda world: reach(world, "sft"), "InProgress"),
    "rl": ("RL", lambda world: reach(world, "rl"), "InProgress"),
    "evaluate": ("RL", lambda world: reach(world, "evaluate"), "InProgress"),
    "retrying": ("Evaluate", lambda world: reach(world, "evaluate").end_job("evaluate").settle(), "InProgress"),
    "suspended": ("RL", lambda world: reach(world, "rl").change(suspend=True).settle(), "InProgress"),
    "changed and not yet seen": ("RL", lambda world: reach(world, "rl").change(suspend=True), "InProgress"),
    "succeeded": ("RL", lambda world: succeed(world, PARADIGM_STAGES["RL"]), "Current"),
    "failed": ("RL", lambda world: reach(world, "evaluate").exit_with("w", 64, stage="evaluate").settle(), "Failed"),
}


@pytest.mark.parametrize("phase", list(PHASES))
def test_a_run_is(phase: str) -> None:
    paradigm, bring, expected = PHASES[phase]
    world = bring(World(paradigm))
    assert kstatus(world.run) == expected
    conditions = world.status.get("conditions", [])
    assert all(one["status"] == "True" for one in conditions if one["type"] != "Ready")
    assert len({one["type"] for one in conditions} & {"Reconciling", "Stalled"}) <= 1
    if conditions:
        assert conditions[0]["type"] == "Ready"


def test_a_transition_time_moves_only_when_the_status_changes() -> None:
    world = World("RL").settle()
    since = world.status["conditions"][0]["lastTransitionTime"]
    reach(world.pass_time(60), "rl")
    assert world.status["conditions"][0]["lastTransitionTime"] == since
    succeed(world.pass_time(60), ("rl", "evaluate"))
    assert world.status["conditions"][0]["lastTransitionTime"] != since
