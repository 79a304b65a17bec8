"""Jobs: one a stage that ends by itself."""

from magistral_api.names import child
from magistral_api.status import StageName
from magistral_operator.build.metadata import owned
from magistral_operator.build.pod import CONTAINER, PodShape, template
from magistral_operator.case import Case
from magistral_operator.constants import STOPPED_EXIT_CODE, USER_FAULT_EXIT_CODE
from magistral_operator.plan import Manifest

SPEAKS_HTTP = ("prepare", "select", "evaluate")
"""Stages that call generators or verifiers."""


def job(case: Case, stage: StageName, attempt: int) -> Manifest:
    """The Job of one attempt. Another attempt is another Job of the same name, made when this one is gone."""
    return _sft(case, attempt) if stage == "sft" else _worker(case, stage, attempt)


def _worker(case: Case, stage: StageName, attempt: int) -> Manifest:
    roles = case.ready_runtime.spec.roles
    pod = template(case, PodShape(
        name="worker", role=roles.worker, module=f"recipe.{stage}", config=child(case.name, stage), stage=stage,
        attempt=attempt, reports=True, token=stage in SPEAKS_HTTP,
        # The slim image starts in a moment: a bad store is to be known within 10 s.
        image=roles.verifier if stage == "preflight" else None))
    return _job(case, stage, attempt, _spec(pod, 1))


def _sft(case: Case, attempt: int) -> Manifest:
    sft = case.run.spec.sft
    assert sft is not None
    pod = template(case, PodShape(
        name="trainer", role=case.ready_runtime.spec.roles.trainer, module="recipe.sft", config=child(case.name, "sft"),
        stage="sft", attempt=attempt, reports=True, token=False, shm=True, commits=True,
        spec={"subdomain": child(case.name, "sft")}))
    return _job(case, "sft", attempt, _spec(pod, sft.workers) | {"completionMode": "Indexed"})


def _job(case: Case, stage: StageName, attempt: int, spec: Manifest) -> Manifest:
    return owned(case, "Job", stage, stage=stage, attempt=attempt) | {"spec": spec}


def _spec(pod: Manifest, pods: int) -> Manifest:
    pod["spec"]["restartPolicy"] = "Never"
    bad_input = {"containerName": CONTAINER, "operator": "In", "values": [USER_FAULT_EXIT_CODE]}
    stopped = {"containerName": CONTAINER, "operator": "In", "values": [STOPPED_EXIT_CODE]}
    return {
        "completions": pods,
        "parallelism": pods,
        # Attempts are counted in the run's status, where a restart of anything keeps them.
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [
            {"action": "FailJob", "onExitCodes": bad_input},
            # A drained or lost node is nobody's fault, nor the end of a trainer whose peer was on it: the pod is replaced
            # without a new attempt.
            {"action": "Ignore", "onExitCodes": stopped},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "template": pod,
    }
