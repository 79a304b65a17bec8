"""Long-lived roles: which the run wants now, how many pods are ready, and how often they had to come back."""

from magistral_api.status import PodRestarts, RoleStatus
from magistral_operator import pods
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import queue, suspend

SERVING_STAGES = ("select", "rl", "evaluate")
"""Stages that need generators and verifiers."""
ROLES = ("conductor", "trainer", "generator", "verifier")


def wanted(case: Case) -> dict[str, int]:
    """Pods a role, by the current stage. Generators and verifiers stay while a failed stage waits to be tried again."""
    stage, rl = case.current, case.run.spec.rl
    serving = stage is not None and stage.name in SERVING_STAGES and stage.state != "Pending"
    if case.finished or case.suspended or stage is None or not serving:
        return dict.fromkeys(ROLES, 0)
    training = rl is not None and stage.name == "rl" and stage.state == "Running"
    return {
        "conductor": 1 if training else 0,
        "trainer": rl.trainers if rl and training else 0,
        "generator": queue.admitted(case, "generator", rl.generators if rl else 1),
        "verifier": queue.admitted(case, "verifier", rl.verifiers if rl else 1),
    }


def report(case: Case) -> None:
    """Bring status.roles up to date. Said again with the same pods, it changes nothing."""
    rl = case.stage("rl")
    before = {role.name: role for role in case.status.roles}
    roles = []
    for name, desired in wanted(case).items():
        role = before.get(name) or RoleStatus(name=name)
        found = case.pods(role=name, stage="rl", attempt=rl.attempt) if rl and name in suspend.STAGE_ROLES \
            else case.pods(role=name)
        role.desired = desired
        role.ready = sum(pods.ready(pod) for pod in found)
        _count(role, [pod for pod in found if pods.live(pod)])
        if suspend.lets_go(case, name):
            role.pods = {}
        if desired or role.ready or name in before:
            roles.append(role)
    case.status.roles = roles


def _count(role: RoleStatus, found: list[Manifest]) -> None:
    seen = role.pods
    names = {pod["metadata"]["name"] for pod in found}
    gone = sorted(name for name in seen if name not in names)
    now: dict[str, PodRestarts] = {}
    new_restarts = 0
    for pod in sorted(found, key=lambda pod: str(pod["metadata"]["name"])):
        name, uid, own = pod["metadata"]["name"], pod["metadata"]["uid"], pods.restarts(pod)
        old = seen.get(name)
        if old is not None and old.uid == uid:
            now[name] = PodRestarts(uid=uid, inherited=old.inherited, own=max(old.own, own))
        else:
            replaced = old or (seen[gone.pop(0)] if gone else None)
            now[name] = PodRestarts(uid=uid, inherited=replaced.total + 1 if replaced else 0, own=own)
            old = replaced
        new_restarts += now[name].total - (old.total if old else 0)
    # The lost ones are kept until another pod takes their place; beyond `desired` they were let go on purpose.
    for name in gone[:max(role.desired - len(now), 0)]:
        now[name] = seen[name]
    if role.name == "trainer":
        # One dead trainer restarts its peers: the group came back as often as its most restarted pod.
        role.restarts = max([role.restarts, *(pod.total for pod in now.values())])
    else:
        role.restarts += new_restarts
    role.pods = now
