"""How restarts and replacements of pods are counted."""

from collections.abc import Callable

import pytest

from tests.unit.operator.world import World, reach

Step = Callable[[World], object]


def pod(name: str, uid: str, restarts: int = 0, *, ready: bool = True, gone: bool = False) -> Step:
    def step(world: World) -> None:
        world.pod(name, role=ROLE, uid=uid, ready=ready,
                  container={"name": "main", "restartCount": restarts, "state": {"running": {}}})
        if gone:
            world.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return step


def lose(name: str) -> Step:
    return lambda world: world.pods.pop(name)


ROLE = "generator"
COUNTS: dict[str, tuple[list[Step], tuple[int, int]]] = {
    "two pods that come up are no restarts": ([pod("a", "1"), pod("b", "2")], (0, 0)),
    "a container that restarts counts once": ([pod("a", "1"), pod("a", "1", 1)], (1, 0)),
    "each restart of a container counts": ([pod("a", "1"), pod("a", "1", 3)], (3, 0)),
    "a replaced pod counts once": ([pod("a", "1"), pod("b", "2"), lose("a"), pod("c", "3")], (0, 1)),
    "a replacement seen before the old pod is gone counts once":
        ([pod("a", "1"), pod("a", "1", gone=True), pod("c", "3"), lose("a")], (0, 1)),
    "a pod that comes back under its name counts once": ([pod("a", "1"), pod("a", "9")], (0, 1)),
    "a lost pod counts before it is replaced": ([pod("a", "1"), pod("b", "2"), lose("a")], (0, 1)),
    "a pod that is ending counts before it is gone": ([pod("a", "1"), pod("a", "1", gone=True), lose("a")], (0, 1)),
    "restarts of a replaced pod are not counted again":
        ([pod("a", "1", 0), pod("a", "1", 2), lose("a"), pod("b", "2", 0), pod("b", "2", 1)], (3, 1)),
    "a restart count that falls is no restart": ([pod("a", "1"), pod("a", "1", 2), pod("a", "1", 1)], (2, 0)),
}


@pytest.mark.parametrize("sentence", list(COUNTS))
def test_count(sentence: str) -> None:
    steps, expected = COUNTS[sentence]
    world = reach(World("RL"), "rl")
    for step in steps:
        step(world)
        world.settle()
    assert (world.role(ROLE)["restarts"], world.role(ROLE)["infrastructureRestarts"]) == expected


def test_scaling_down_is_no_restart() -> None:
    world = reach(World("RL"), "rl")
    for step in (pod("a", "1"), pod("b", "2")):
        step(world)
    world.settle()
    world.change(rl=world.run["spec"]["rl"] | {"generators": 1})
    world.pods.pop("b")
    world.settle().change(rl=world.run["spec"]["rl"] | {"generators": 2})
    pod("c", "3")(world)
    world.settle()
    assert (world.role(ROLE)["restarts"], world.role(ROLE)["infrastructureRestarts"]) == (0, 0)


def test_one_lost_trainer_that_takes_its_peers_along_is_one_restart_of_the_group() -> None:
    world = reach(World("RL"), "rl")
    for name in ("one-trainer-0", "one-trainer-1"):
        world.pod(name, role="trainer", stage="rl", attempt=1)
    world.settle()
    world.pod("one-trainer-1", role="trainer", stage="rl", attempt=1, uid="another").settle()
    world.pod("one-trainer-0", role="trainer", stage="rl", attempt=1,
              container={"name": "main", "restartCount": 1, "state": {"running": {}}}).settle()
    assert (world.role("trainer")["restarts"], world.role("trainer")["infrastructureRestarts"]) == (0, 1)


@pytest.mark.parametrize("paradigm", ["SFT", "SFTThenRL"])
def test_the_pods_of_stage_sft_are_shown_as_no_role(paradigm: str) -> None:
    world = reach(World(paradigm), "sft")
    for name in ("one-sft-0", "one-sft-1"):
        world.pod(name, role="trainer", stage="sft", attempt=1, ready=True)
    world.settle()
    assert world.role("trainer") == {}


def test_ready_and_desired_pods_are_shown() -> None:
    world = reach(World("RL"), "rl")
    pod("a", "1")(world)
    pod("b", "2", ready=False)(world)
    world.settle()
    assert (world.role(ROLE)["ready"], world.role(ROLE)["desired"]) == (1, 2)
