"""Pods that cannot run and say so only in their own status: what is wrong, where, and what to do."""

from magistral_api.names import LABEL_ROLE
from magistral_operator import constants, pods
from magistral_operator.case import Case, Verdict
from magistral_operator.plan import Manifest

_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}


def check(case: Case) -> Verdict | None:
    """The first problem, those that wait for a person before those that may pass."""
    found = [problem for pod in sorted(case.observed.pods, key=lambda pod: str(pod["metadata"]["name"]))
             if (problem := of(case, pod))]
    found += _refused(case)
    return min(found, key=lambda problem: problem.mode != "stalled", default=None)


def of(case: Case, pod: Manifest) -> Verdict | None:
    """What keeps this pod from running, or None."""
    if not pods.live(pod):
        return None
    return _unscheduled(case, pod) or next(filter(None, (_waiting(case, pod, *wait) for wait in pods.waits(pod))), None)


def volume_may_be_missing(case: Case) -> bool:
    """Some pod still creates its container after a while: perhaps the run's token Secret was deleted."""
    waits = [constants.VOLUME_WAIT_S - case.age(pod["metadata"].get("creationTimestamp"))
             for pod in case.observed.pods if pods.live(pod)
             and any(waiting.get("reason") == "ContainerCreating" for _, waiting in pods.waits(pod))]
    for rest in waits:
        if rest > 0:
            case.wake_in(rest)
    return any(rest <= 0 for rest in waits)


def _unscheduled(case: Case, pod: Manifest) -> Verdict | None:
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return None
    return Verdict(constants.UNSCHEDULABLE,
                   f"{_where(pod)}: no node takes it: {scheduled.get('message', '')} Free or add a node, or change "
                   f"resources or placement in spec.roles of MagistralRuntime {case.run.spec.runtime_ref.name}")


def _waiting(case: Case, pod: Manifest, container: Manifest, waiting: Manifest) -> Verdict | None:
    reason, words = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        return _image(case, pod, container)
    if reason == "CreateContainerConfigError" and "secret" in words.lower():
        return _secret(case, pod, words)
    if reason in pods.CREATION_FAILURES:
        return _stalled(constants.CONTAINER_NOT_CREATED, f"{_where(pod)}: {reason}: {words[:500]}")
    if reason == "CrashLoopBackOff" and container.get("restartCount", 0) >= constants.CRASHES_BEFORE_STALLED:
        last = (container.get("lastState") or {}).get("terminated") or {}
        return _stalled(constants.CONTAINER_CRASHING,
                        f"{_where(pod)} ends again and again, last with {pods.last_words(last)}; see "
                        f"`kubectl -n {case.run.metadata.namespace} logs {pod['metadata']['name']} --previous`")
    return None


def _image(case: Case, pod: Manifest, container: Manifest) -> Verdict:
    # The kubelet's own words change with every retry; a condition that follows them would be written each time.
    return _stalled(constants.IMAGE_PULL_FAILED,
                    f"{_where(pod)}: image {container.get('image')!r} cannot be pulled; make it available, or correct "
                    f"image or imagePullSecrets in spec.roles of MagistralRuntime {case.run.spec.runtime_ref.name}")


def _secret(case: Case, pod: Manifest, words: str) -> Verdict:
    reference = case.runtime.spec.storage.credentials_secret_ref.name if case.runtime else "?"
    return _stalled(constants.SECRET_NOT_FOUND,
                    f"{_where(pod)}: {words[:300]}; create Secret {reference!r} with keys accessKey and secretKey in "
                    f"namespace {case.run.metadata.namespace}; the run then goes on by itself")


def _where(pod: Manifest) -> str:
    return f"pod {pod['metadata']['name']} ({pod['metadata'].get('labels', {}).get(LABEL_ROLE, 'no role')})"


def _refused(case: Case) -> list[Verdict]:
    found = []
    for (kind, name), workload in sorted(case.observed.children.items()):
        if kind == "Deployment":
            failure = pods.condition(workload, "ReplicaFailure")
            if failure.get("status") == "True":
                found.append(_stalled(constants.PODS_REFUSED, f"Deployment {name}: {failure.get('message', '')[:500]}"))
    return found


def _stalled(reason: str, message: str) -> Verdict:
    return Verdict(reason, message, "stalled")
