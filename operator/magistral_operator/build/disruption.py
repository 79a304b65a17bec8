"""PodDisruptionBudgets: what a node drain may take at once.

A role of one pod has none. Such a budget could only say no, and a drain would wait for ever: the pod gets SIGTERM and its
grace period as always, and is started again elsewhere.
"""

from magistral_api.names import LABEL_ROLE
from magistral_operator.build.metadata import owned, selector
from magistral_operator.case import Case
from magistral_operator.kinds import WORKLOAD_NAMES
from magistral_operator.plan import Manifest


def budgets(case: Case, built: list[Manifest]) -> list[Manifest]:
    """Budgets of the workloads among what is built."""
    found = []
    for workload in built:
        if workload["kind"] in WORKLOAD_NAMES:
            spec = workload["spec"]
            role, pods = spec["template"]["metadata"]["labels"][LABEL_ROLE], spec.get("replicas", spec.get("completions"))
            if pods > 1:
                found.append(_budget(case, role, pods))
    return found


def _budget(case: Case, role: str, replicas: int) -> Manifest:
    # The first trainer that is told to end makes all of them commit a checkpoint; the next is taken when it is back.
    # Of servers one must go on: taken one by one, a large fleet would hold up a drain for hours.
    least = replicas - 1 if role == "trainer" else 1
    return owned(case, "PodDisruptionBudget", role, role=role) | {"spec": {
        # Not maxUnavailable: that asks the pods' owner for its scale, and a Job (SFT) has none.
        "minAvailable": least,
        "selector": {"matchLabels": selector(case, role=role)},
        # A pod that is not ready serves nobody; it must not hold up a drain.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }}
