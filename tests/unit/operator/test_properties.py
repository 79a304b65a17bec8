"""Whatever happens in whatever order: looking twice changes nothing, and a run that may end does end."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from magistral_api.names import LABEL_ATTEMPT, LABEL_STAGE, PARADIGM_STAGES
from magistral_operator.case import Observed
from magistral_operator.plan import Manifest
from magistral_operator.reconcile import reconcile
from tests.unit.operator.world import DIGEST, OUTPUTS, PREPARING, World, preparing, reach

ACTIONS = ["report", "report again", "late report", "fail", "job fails", "job ends silently", "pod", "crash", "pod lost",
           "lose a child", "lose progress", "suspend", "resume", "wait", "runtime goes", "runtime comes", "scale"]


def act(world: World, action: str, pick: int) -> None:
    """One thing that can happen to a run in a cluster."""
    stage = world.status.get("stage", "preflight")
    if action in ("report", "fail") and ("ConfigMap", "one-progress") in world.children:
        world.report(stage, "Succeeded" if action == "report" else "Failed", message="m",
                     **(OUTPUTS[stage] if action == "report" else {}))
    elif action == "report again" and "data" in world.children.get(("ConfigMap", "one-progress"), {}):
        data = world.child("ConfigMap", "progress")["data"]
        data |= {sorted(data)[pick % len(data)]: data[sorted(data)[pick % len(data)]]}
    elif action == "late report" and ("ConfigMap", "one-progress") in world.children:
        world.report(stage, attempt=max(world.stage(stage).get("attempt", 1) - 1, 1), **OUTPUTS[stage])
    elif action in ("job fails", "job ends silently") and ("Job", f"one-{stage}") in world.children:
        world.end_job(stage, "Failed" if action == "job fails" else "Complete")
    elif action == "pod lost" and world.pods:
        world.pods.pop(sorted(world.pods)[pick % len(world.pods)])
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
@given(some.sampled_from(sorted(PARADIGM_STAGES)), some.booleans(), HAPPENINGS)
def test_after_anything_the_operator_comes_to_rest_and_the_run_can_still_end(
        paradigm: str, prepares: bool, happenings: list[tuple[str, int, bool]]) -> None:
    world = World(paradigm, failurePolicy={"maxRestarts": 100})
    if prepares and paradigm in PREPARING:
        preparing(world)
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


class Lagging(World):
    """A cluster whose watches run behind one another: a look sees the run, its children and its pods as each was at
    some moment since the last look, never an earlier one. Writes meet the present, under their preconditions."""

    def __init__(self, paradigm: str, **spec: Any) -> None:
        super().__init__(paradigm, **spec)
        self._past: list[Observed] = []
        self._seen = [0, 0, 0]

    def remember(self) -> None:
        self._past.append(self.observed())

    def look_behind(self, *lags: int) -> None:
        self.remember()
        newest = len(self._past) - 1
        self._seen = [max(seen, newest - lag) for seen, lag in zip(self._seen, lags, strict=True)]
        run, children, pods = (self._past[moment] for moment in self._seen)
        view = dataclasses.replace(self._past[newest], run=run.run, children=children.children, pods=pods.pods)
        plan = reconcile(copy.deepcopy(view), self.now)
        if plan.status is not None and view.run != self.run:
            return  # The resourceVersion is not the present one: refused, and nothing else is written.
        uids = {child["metadata"]["uid"] for child in self.children.values()}
        plan.delete = [one for one in plan.delete if one.uid in uids]
        self.carry_out(plan)


def counters(status: Manifest) -> dict[str, int]:
    """Everything in a status that may only grow."""
    found = {f"{one['name']} {what}": one.get(what, 0) for one in status.get("stages", []) for what in ("attempt", "restarts")}
    found |= {f"{one['name']} done": one["state"] == "Succeeded" for one in status.get("stages", [])}
    return found | {f"{one['name']} replaced": one["restarts"] for one in status.get("roles", [])}


LAGS = some.lists(some.tuples(*[some.integers(0, 4)] * 3), min_size=1, max_size=3)
FEW = ["report", "late report", "job fails", "job ends silently", "pod", "pod lost", "lose a child", "suspend", "resume",
       "wait"]


@settings(max_examples=60, deadline=None)
@given(some.sampled_from([(paradigm, stage) for paradigm, stages in PARADIGM_STAGES.items() for stage in stages]
                         + [(paradigm, "prepare") for paradigm in PREPARING]),
       some.lists(some.tuples(some.sampled_from(FEW), some.integers(0, 1000), LAGS), min_size=3, max_size=15))
def test_views_that_lag_behind_count_nothing_twice_and_take_nothing_back(
        at: tuple[str, str], happenings: list[tuple[str, int, list[tuple[int, int, int]]]]) -> None:
    paradigm, stage = at
    world = Lagging(paradigm, failurePolicy={"maxRestarts": 100})
    reach(preparing(world) if stage == "prepare" else world, stage)
    faults: Counter[str] = Counter()
    before = counters({})
    for action, pick, lags in happenings:
        stage = world.status["stage"]
        job = world.children.get(("Job", f"one-{stage}"), {})
        faults[stage] += action.startswith("job") and job != {} and "status" not in job
        act(world, action, pick)
        world.remember()
        for lag in lags:
            world.look_behind(*lag)
            now = counters(world.status)
            assert all(now.get(name, 0) >= count for name, count in before.items()), (action, before, now)
            before = now
        for manifest in world.children.values():
            labels = manifest["metadata"]["labels"]
            assert int(labels.get(LABEL_ATTEMPT, 0)) <= world.stage(labels.get(LABEL_STAGE, "")).get("attempt", 0)
    assert all(one.get("restarts", 0) <= faults[one["name"]] for one in world.status.get("stages", []))
    world.settle()
    assert not reconcile(world.observed(), world.now).writes


def scale(world: World) -> None:
    world.change(rl=world.run["spec"]["rl"] | {"generators": 3})


def commit(world: World) -> None:
    world.report("rl", "Running", step=12, totalSteps=40, checkpoints=[
        {"step": 12, "digest": DIGEST, "uri": "s3://magistral/runs/uid-one/rl/12", "sizeBytes": 1}])


def break_in(world: World) -> None:
    world.child("Deployment", "verifier")["spec"]["template"]["spec"]["containers"][0]["image"] = "other"


TOGETHER: dict[str, Callable[[World], Any]] = {
    "scaled": scale, "checkpoint committed": commit, "image changed": break_in,
    "trainer lost": lambda world: world.children.pop(("StatefulSet", "one-trainer"), None),
    "service lost": lambda world: world.children.pop(("Service", "one-generator"), None),
    "generator up": lambda world: world.pod("g", role="generator", ready=True),
    "time passed": lambda world: world.pass_time(30),
}


@settings(max_examples=60, deadline=None)
@given(some.permutations(sorted(TOGETHER)), some.lists(some.booleans(), min_size=len(TOGETHER), max_size=len(TOGETHER)))
def test_the_order_of_events_and_of_looks_does_not_show_in_the_end(order: list[str], looks: list[bool]) -> None:
    def end(names: list[str], looks: list[bool]) -> tuple[Any, Any]:
        world = reach(World("RL"), "rl")
        for name, look in zip(names, looks, strict=True):
            TOGETHER[name](world)
            if look:
                world.look()
        world.settle()
        for child in world.children.values():
            del child["metadata"]["uid"]
        for condition in world.status["conditions"]:
            del condition["lastTransitionTime"]
        for child in world.children.values():
            for condition in child.get("status", {}).get("conditions", []):
                del condition["lastTransitionTime"]
        return world.status, world.children

    assert end(order, looks) == end(sorted(TOGETHER), [True] * len(TOGETHER))
