"""Questions to one pod's status, as the kubelet writes it."""

from collections.abc import Iterator

from magistral_operator.plan import Manifest

ENDED = ("Succeeded", "Failed")
"""Phases of a pod that runs no more."""
CREATION_FAILURES = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
"""Why a container waits when the kubelet could not make or start it."""


def live(pod: Manifest) -> bool:
    """Neither ended nor about to be removed."""
    return "deletionTimestamp" not in pod["metadata"] and phase(pod) not in ENDED


def phase(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def ready(pod: Manifest) -> bool:
    return live(pod) and condition(pod, "Ready").get("status") == "True"


def condition(pod: Manifest, kind: str) -> Manifest:
    return next((one for one in (pod.get("status") or {}).get("conditions", []) if one["type"] == kind), {})


def containers(pod: Manifest) -> list[Manifest]:
    """Container statuses, init containers first."""
    status = pod.get("status") or {}
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def restarts(pod: Manifest) -> int:
    return sum(int(container.get("restartCount", 0)) for container in containers(pod))


def started(pod: Manifest) -> bool:
    """Whether any process of the pod ever ran."""
    return any("running" in state or "terminated" in state for container in containers(pod)
               for state in (container.get("state") or {}, container.get("lastState") or {}))


def ends(pod: Manifest) -> Iterator[Manifest]:
    """How its containers ended, now or before their last restart: `exitCode`, `reason`, `message`."""
    for container in containers(pod):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            if "terminated" in state:
                yield state["terminated"]


def waits(pod: Manifest) -> Iterator[tuple[Manifest, Manifest]]:
    """Each container that waits, with the kubelet's `reason` and `message`."""
    for container in containers(pod):
        if waiting := (container.get("state") or {}).get("waiting"):
            yield container, waiting


def job_ended(job: Manifest) -> bool:
    """Whether a Job is complete or has failed: its pods run no more."""
    return any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def last_words(end: Manifest) -> str:
    """One line on how a process ended. The kubelet keeps the end of its log as the message."""
    lines = [line for line in (end.get("message") or "").strip().splitlines() if line.strip()]
    cause = f"exit code {end.get('exitCode')}"
    if end.get("reason") not in (None, "Error"):
        cause += f" ({end['reason']})"
    return f"{cause}: {lines[-1].strip()[:500]}" if lines else cause
