"""The pod template that all roles share: restricted by Pod Security, sized scratch space, no token by default."""

from dataclasses import dataclass, field
from typing import Any, Literal

from magistral_api.base import seconds
from magistral_api.config import ATTEMPT_VARIABLE, CONFIG_PATH, SCRATCH_PATH, TOKEN_PATH
from magistral_api.names import child
from magistral_api.runtime import Role
from magistral_operator.build.metadata import labels
from magistral_operator.build.placement import placement
from magistral_operator.case import Case
from magistral_operator.plan import Manifest

NOBODY = 65532
"""The images' non-root user and group."""
CONTAINER = "main"
TMP, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - mount points inside a pod


@dataclass(frozen=True)
class PodShape:
    """What tells one role's pods from another's.

    `role`: resources, environment, placement. `image`: whose image, when not the role's own. `config`: the ConfigMap
    to mount. `reports`: patches the progress ConfigMap, so it gets an API token. `credentials`: of the store. `token`:
    speaks the run's HTTP routes. `commits`: told to end, it commits a checkpoint first. `startup_s`: how long its server
    may take to answer first. `spec`: merged into the pod's spec.
    """

    name: Literal["worker", "trainer", "generator", "verifier", "conductor"]
    role: Role
    module: str
    config: str
    stage: str | None = None
    attempt: int | None = None
    image: Role | None = None
    reports: bool = False
    credentials: bool = True
    token: bool = True
    shm: bool = False
    commits: bool = False
    grace_s: int = 10
    port: int | None = None
    startup_s: int = 0
    spec: Manifest = field(default_factory=dict)


def template(case: Case, shape: PodShape) -> Manifest:
    """The pod template of one role."""
    pod = shape.role.pod
    own = labels(case, role=shape.name, stage=shape.stage, attempt=shape.attempt)
    return {
        "metadata": {
            "labels": pod.labels | own,
            **({"annotations": pod.annotations} if pod.annotations else {}),
        },
        "spec": {
            **({"serviceAccountName": child(case.name, "worker")} if shape.reports else {}),
            "automountServiceAccountToken": shape.reports,
            "enableServiceLinks": False,
            **_ending(case, shape),
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(case, shape)],
            "volumes": _volumes(case, shape),
            **placement(case, pod, own),
            **shape.spec,
        },
    }


def _ending(case: Case, shape: PodShape) -> Manifest:
    if not shape.commits:
        return {"terminationGracePeriodSeconds": shape.grace_s}
    return {
        "terminationGracePeriodSeconds": seconds(case.ready_runtime.spec.checkpoint_grace_period),
        # The first process of a PID namespace ignores SIGTERM until it has a handler: a trainer told to end while it
        # still imports its libraries would hear nothing and train on until it is killed.
        "shareProcessNamespace": True,
    }


def _container(case: Case, shape: PodShape) -> Manifest:
    role, image = shape.role, shape.image or shape.role
    return {
        "name": CONTAINER,
        "image": image.image,
        "imagePullPolicy": image.image_pull_policy,
        "command": ["python", "-m", f"magistral_workloads.{shape.module}"],
        **({"args": role.args} if role.args else {}),
        "env": _environment(case, shape),
        **resources(role),
        **(_probes(shape.port, shape.startup_s) if shape.port else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        # The kubelet then keeps the end of the log as the reason why a process ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(shape),
    }


def _mounts(shape: PodShape) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "config", "mountPath": str(CONFIG_PATH.parent), "readOnly": True},
        {"name": "scratch", "mountPath": str(SCRATCH_PATH)},
        # The kubelet makes the folder of a subPath, so TMPDIR exists before the process does.
        {"name": "scratch", "mountPath": TMP, "subPath": "tmp"},
    ]
    if shape.token:
        mounts.append({"name": "token", "mountPath": str(TOKEN_PATH.parent), "readOnly": True})
    if shape.shm:
        mounts.append({"name": "shm", "mountPath": SHARED_MEMORY})
    return mounts


def _environment(case: Case, shape: PodShape) -> list[Manifest]:
    plain = {"HOME": str(SCRATCH_PATH), "TMPDIR": str(SCRATCH_PATH / "tmp")}
    if shape.stage:
        plain["MAGISTRAL_STAGE"] = shape.stage
    if shape.attempt is not None:
        plain[ATTEMPT_VARIABLE] = str(shape.attempt)
    own: dict[str, Any] = {
        "POD_NAME": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        "POD_NAMESPACE": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
    }
    if shape.credentials:
        secret = case.ready_runtime.spec.storage.credentials_secret_ref.name
        own["AWS_ACCESS_KEY_ID"] = {"secretKeyRef": {"name": secret, "key": "accessKey"}}
        own["AWS_SECRET_ACCESS_KEY"] = {"secretKeyRef": {"name": secret, "key": "secretKey"}}
    theirs = {key: value for key, value in shape.role.env.items() if key not in own}
    return [{"name": key, "value": value} for key, value in (plain | theirs).items()] + [
        {"name": key, "valueFrom": source} for key, source in own.items()]


def _probes(port: int, startup_s: int) -> Manifest:
    check = {"httpGet": {"path": "/healthz", "port": port}, "periodSeconds": 2, "timeoutSeconds": 2}
    probes: Manifest = {"ports": [{"containerPort": port}],
                        "readinessProbe": check | {"failureThreshold": 2}}
    if startup_s:
        probes["startupProbe"] = check | {"failureThreshold": startup_s // 2}
    return probes


def _volumes(case: Case, shape: PodShape) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": shape.config}},
        {"name": "scratch", "emptyDir": {"sizeLimit": shape.role.scratch_size}},
    ]
    if shape.token:
        secret = {"secretName": child(case.name, "token"), "defaultMode": 0o440}
        volumes.append({"name": "token", "secret": secret})
    if shape.shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shape.role.shm_size}})
    return volumes


def resources(role: Role) -> Manifest:
    """The container's `resources`, when the role has any."""
    wire = role.resources.wire()
    return {"resources": wire} if any(wire.values()) else {}
