"""Whatever happens in whatever order: looking twice changes nothing, and a run that may end does end."""

from hypothesis import given, settings
from hypothesis import strategies as some

from magistral_api.names import PARADIGM_STAGES
from magistral_operator.reconcile import reconcile
from tests.unit.operator.world import OUTPUTS, World

ACTIONS = ["report", "fail", "job fails", "pod", "crash", "lose a child", "lose progress", "suspend", "resume", "wait",
           "runtime goes", "runtime comes", "scale"]


def act(world: World, action: str, pick: int) -> None:
    """One thing that can happen to a run in a cluster."""
    stage = world.status.get("stage", "preflight")
    if action in ("report", "fail") and ("ConfigMap", "one-progress") in world.children:
        world.report(stage, "Succeeded" if action == "report" else "Failed", message="m",
                     **(OUTPUTS[stage] if action == "report" else {}))
    elif action == "job fails" and ("Job", f"one-{stage}") in world.children:
        world.end_job(stage)
    elif action in ("pod", "crash"):
        role = ("generator", "verifier", "trainer")[pick % 3]
        state = {"waiting": {"reason": "CrashLoopBackOff"}} if action == "crash" else {"running": {}}
        world.pod(f"p{pick % 3}", role=role, stage="rl" if role == "trainer" else None, uid=f"u{pick % 7}",
                  container={"name": "main", "restartCount": pick % 3, "state": state})
    elif action == "lose a child" and world.children:
        world.children.pop(sorted(world.children)[pick % len(world.children)])
    elif action == "lose progress":
        world.children.pop(("ConfigMap", "one-progress"), None)
    elif action in ("suspend", "resume"):
        world.change(suspend=action == "suspend")
    elif action == "wait":
        world.pass_time(pick % 400)
    elif action in ("runtime goes", "runtime comes"):
        world.runtime = World().runtime if action == "runtime comes" else None
    elif action == "scale" and "rl" in world.run["spec"]:
        world.change(rl=world.run["spec"]["rl"] | {"generators": 1 + pick % 4})


HAPPENINGS = some.lists(some.tuples(some.sampled_from(ACTIONS), some.integers(0, 1000), some.booleans()), max_size=30)


@settings(max_examples=60, deadline=None)
@given(some.sampled_from(sorted(PARADIGM_STAGES)), HAPPENINGS)
def test_after_anything_the_operator_comes_to_rest_and_the_run_can_still_end(
        paradigm: str, happenings: list[tuple[str, int, bool]]) -> None:
    world = World(paradigm, failurePolicy={"maxRestarts": 100})
    for action, pick, look in happenings:
        act(world, action, pick)
        if look:
            world.look()
    world.settle()
    assert not reconcile(world.observed(), world.now).writes

    world.pods.clear()
    world.runtime = World().runtime
    world.change(suspend=False)
    for _ in range(40):
        world.pass_time(301).settle()
        if world.status["phase"] == "Succeeded":
            break
        world.report(world.status["stage"], **OUTPUTS[world.status["stage"]]).settle()
    assert world.conditions() == {"Ready": ("True", "Succeeded")}
    assert world.names("StatefulSet", "Deployment") == []
