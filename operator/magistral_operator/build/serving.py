"""Generators and verifiers: up from the first stage that needs them to the last, never restarted in between."""

from magistral_api.names import GENERATOR_PORT, VERIFIER_PORT, child
from magistral_operator.build.metadata import owned, selector
from magistral_operator.build.pod import PodShape, template
from magistral_operator.case import Case
from magistral_operator.plan import Manifest

GENERATOR_STARTUP_S = 600
"""Loading a large model and warming its kernels takes minutes."""
VERIFIER_STARTUP_S = 60


def generator(case: Case, replicas: int) -> Manifest:
    """Deployment `<run>-generator`: vLLM behind the run's own routes."""
    pod = template(case, PodShape(
        name="generator", role=case.ready_runtime.spec.roles.generator, module="roles.generator",
        config=child(case.name, "serving"), shm=True, grace_s=5, port=GENERATOR_PORT, startup_s=GENERATOR_STARTUP_S))
    return _deployment(case, "generator", replicas, pod)


def verifier(case: Case, replicas: int) -> Manifest:
    """Deployment `<run>-verifier`: runs what a model wrote, so it holds no credential and no API token."""
    pod = template(case, PodShape(
        name="verifier", role=case.ready_runtime.spec.roles.verifier, module="roles.verifier",
        config=child(case.name, "serving"), credentials=False, grace_s=5, port=VERIFIER_PORT,
        startup_s=VERIFIER_STARTUP_S))
    return _deployment(case, "verifier", replicas, pod)


def _deployment(case: Case, role: str, replicas: int, pod: Manifest) -> Manifest:
    return owned(case, "Deployment", role, role=role) | {"spec": {
        "replicas": replicas,
        "selector": {"matchLabels": selector(case, role=role)},
        # No surge: a GPU for one pod more may never come.
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": pod,
    }}
