"""The RL stage's own group: trainers and the conductor that feeds them."""

from magistral_api.names import CONDUCTOR_PORT, child
from magistral_operator.build.metadata import owned, selector
from magistral_operator.build.pod import PodShape, template
from magistral_operator.case import Case
from magistral_operator.plan import Manifest


def trainer(case: Case, replicas: int, attempt: int) -> Manifest:
    """StatefulSet `<run>-trainer`. A lost pod comes back under its name; its peers exit and all resume together."""
    pod = template(case, PodShape(
        name="trainer", role=case.ready_runtime.spec.roles.trainer, module="roles.trainer",
        config=child(case.name, "rl"), stage="rl", attempt=attempt, shm=True, commits=True))
    return _stateful_set(case, "trainer", replicas, attempt, pod)


def conductor(case: Case, replicas: int, attempt: int) -> Manifest:
    """StatefulSet `<run>-conductor`: at most one at a time, even when its node is lost."""
    pod = template(case, PodShape(
        name="conductor", role=case.ready_runtime.spec.roles.worker, module="roles.conductor",
        config=child(case.name, "rl"), stage="rl", attempt=attempt, reports=True, port=CONDUCTOR_PORT))
    return _stateful_set(case, "conductor", replicas, attempt, pod)


def _stateful_set(case: Case, role: str, replicas: int, attempt: int, pod: Manifest) -> Manifest:
    return owned(case, "StatefulSet", role, role=role, stage="rl", attempt=attempt) | {"spec": {
        "replicas": replicas,
        "serviceName": child(case.name, role),
        # All ranks must be up before any can go on, so none waits for the one before it.
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector(case, role=role, stage="rl")},
        "template": pod,
    }}
