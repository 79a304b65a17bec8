"""Long-lived roles: which the run wants now, how many pods are ready, and how often they had to come back."""

from magistral_api.status import RoleStatus, ScaleStatus
from magistral_operator import pods
from magistral_operator.build.metadata import selector
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import faults, queue, restarts, suspend

SERVING_STAGES = ("select", "rl", "evaluate")
"""Stages that need generators and verifiers."""
GRADING_STAGES = ("prepare", *SERVING_STAGES)
"""Stages that need verifiers."""
ROLES = ("conductor", "trainer", "generator", "verifier")


def wanted(case: Case) -> dict[str, int]:
    """Pods a role, by the current stage. Generators and verifiers stay while a failed stage waits to be tried again."""
    stage, rl = case.current, case.run.spec.rl
    if case.finished or case.suspended or stage is None or stage.name not in GRADING_STAGES or stage.state == "Pending":
        return dict.fromkeys(ROLES, 0)
    generators = (rl.generators if rl else 1) if stage.name in SERVING_STAGES else 0
    training = rl is not None and stage.name == "rl" and stage.state == "Running"
    return {
        "conductor": 1 if training else 0,
        "trainer": rl.trainers if rl and training else 0,
        "generator": queue.admitted(case, "generator", generators),
        "verifier": queue.admitted(case, "verifier", rl.verifiers if rl else 1),
    }


def report(case: Case) -> None:
    """Bring status.roles up to date. Said again with the same pods, it changes nothing."""
    before = {role.name: role for role in case.status.roles}
    pods_of = {name: _pods(case, name) for name in ROLES}
    case.status.roles = []
    for name, desired in wanted(case).items():
        role, found = before.get(name) or RoleStatus(name=name), pods_of[name]
        role.desired = desired
        role.ready = sum(pods.ready(pod) for pod in found)
        if not desired or suspend.lets_go(case, name):
            # What goes now goes because nobody needs it.
            role.pods = {}
        elif name == "trainer":
            _count_trainers(case, role, found)
        else:
            restarts.count(role, [_seen(case, pod) for pod in found], group=False)
        if desired or role.ready or name in before:
            case.status.roles.append(role)
    if case.run.spec.rl:
        case.status.scale = ScaleStatus(
            replicas=sum(pods.live(pod) for pod in pods_of["generator"]),
            selector=",".join(f"{key}={value}" for key, value in selector(case, role="generator").items()))


def _pods(case: Case, name: str) -> list[Manifest]:
    if name not in suspend.STAGE_ROLES:
        return case.pods(role=name)
    stage = case.stage("rl")
    # Pods of stage sft are trainers too, but of a Job: whether the run has a stage rl or not, they are no long-lived role.
    return case.pods(role=name, stage="rl", attempt=stage.attempt) if stage else []


def _count_trainers(case: Case, role: RoleStatus, found: list[Manifest]) -> None:
    before = role.restarts
    # A trainer on a dead node has stopped the whole group, whether or not its pod comes back.
    restarts.count(role, [_seen(case, pod, lost_with_node=True) for pod in found], group=True)
    stage = case.stage("rl")
    assert stage is not None
    stage.restarts, stage.infrastructure_restarts = role.restarts, role.infrastructure_restarts
    stage.stuck_restarts = max(stage.stuck_restarts + role.restarts - before, 0)


def _seen(case: Case, pod: Manifest, *, lost_with_node: bool = False) -> restarts.Seen:
    meta, node = pod["metadata"], case.node_of(pod)
    gone = not pods.live(pod) or (lost_with_node and faults.dead(node))
    loss = faults.of_loss(pod, node) if gone else None
    ends = [faults.of_end(end, pod, node) for end in pods.ends(pod)]
    last = ends[0] if ends else faults.Fault("application", "Unknown")
    return restarts.Seen(
        meta["name"], meta["uid"], pods.restarts(pod), last.kind if last else None,
        (loss.kind if loss else "infrastructure") if gone else None)
