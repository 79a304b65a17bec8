"""Kueue's Workload: all pods of a run at their peak, so that it is queued, admitted and preempted as one."""

from magistral_api.runtime import Role
from magistral_operator.build.metadata import owned
from magistral_operator.build.placement import platform
from magistral_operator.build.pod import CONTAINER, resources
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import queue


def workload(case: Case) -> Manifest | None:
    """What the run asks of its queue; None when it names none, or while nothing is known of its pods."""
    name, live = queue.queue(case), queue.workload(case)
    if name is None or not case.observed.kueue or (case.runtime is None and live is None):
        return None
    # What quota is reserved for does not change; a run that asks for more waits for it until its next admission.
    keep = live is not None and (queue.reserved(case) or case.runtime is None)
    spec = {key: live["spec"][key] for key in ("podSets", "queueName")} if live and keep else {
        "podSets": pod_sets(case), "queueName": name}
    return owned(case, "Workload", queue.PART) | {"spec": {
        **spec,
        **_priority(case),
        # Left out otherwise: others may set it too.
        **({"active": False} if case.run.spec.suspend else {}),
    }}


def pod_sets(case: Case) -> list[Manifest]:
    """Pods by role, as many as there ever are at once."""
    run, roles = case.run.spec, case.ready_runtime.spec.roles
    trainers = max(run.sft.workers if run.sft else 0, run.rl.trainers if run.rl else 0)
    return [_pod_set(name, role, count) for name, role, count in (
        ("trainer", roles.trainer, trainers),
        ("generator", roles.generator, run.rl.generators if run.rl else 1),
        ("verifier", roles.verifier, run.rl.verifiers if run.rl else 1),
        ("worker", roles.worker, 1),
    ) if count]


def _pod_set(name: str, role: Role, count: int) -> Manifest:
    return {"name": name, "count": count, "template": {"spec": {
        "containers": [{"name": CONTAINER, "image": role.image, **resources(role)}], **platform(role.pod)}}}


def _priority(case: Case) -> Manifest:
    found = case.observed.priority_class
    return {} if found is None else {
        "priorityClassName": found["metadata"]["name"], "priority": found["value"],
        "priorityClassSource": "kueue.x-k8s.io/workloadpriorityclass"}
