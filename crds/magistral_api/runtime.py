"""MagistralRuntime: what a platform team owns. Images, placement and storage, once for all runs."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from magistral_api.base import ApiModel, Cel, Duration, Name

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class Resources(ApiModel):
    """As a container's `resources`. Quantities as Kubernetes writes them."""

    requests: dict[str, str] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)


class PodOverrides(ApiModel):
    """The part of a pod that a platform decides. Anything else is the operator's."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list, max_length=32)
    affinity: dict[str, Any] | None = None
    topology_spread_constraints: list[dict[str, Any]] = Field(
        default_factory=list, max_length=8, description="Without a labelSelector: over the run's pods of this role.")
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None
    scheduler_name: Name | None = None
    image_pull_secrets: list[dict[str, str]] = Field(default_factory=list, max_length=8)


class Role(ApiModel):
    """How the pods of one role look."""

    image: str = Field(min_length=1, max_length=512)
    image_pull_policy: PullPolicy = "IfNotPresent"
    resources: Resources = Resources()
    pod: PodOverrides = PodOverrides()
    env: dict[str, str] = Field(default_factory=dict, description="Plain settings. Secrets never go here.")
    args: list[str] = Field(default_factory=list, max_length=64, description="Added to vLLM's arguments (generator).")
    max_replicas: int = Field(1024, ge=1, description="A run that asks for more is refused.")
    scratch_size: str = Field("8Gi", max_length=16, description="Size limit of the pod's scratch emptyDir.")
    shm_size: str = Field("1Gi", max_length=16, description="Size limit of /dev/shm, a memory emptyDir.")


class SecretRef(ApiModel):
    """A Secret in the run's namespace with keys `accessKey` and `secretKey`. Only pods read it."""

    name: Name


class Storage(ApiModel):
    """The S3 object store that holds models, data, rollouts and checkpoints."""

    endpoint: str = Field(max_length=253, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")
    bucket: str = Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    region: str = Field("us-east-1", max_length=64)
    credentials_secret_ref: SecretRef


class Roles(ApiModel):
    """One entry a role. `worker` runs preflight, curation and the evaluation client."""

    worker: Role
    trainer: Role
    generator: Role
    verifier: Role


class Nodes(ApiModel):
    """What becomes of pods whose node is lost."""

    unreachable_seconds: int = Field(
        20, ge=0, le=86400, description="How long pods stay on a node that is not ready or unreachable (Kubernetes: 300), "
                                        "unless their role's own tolerations name these taints.")
    force_delete: bool = Field(
        False, description="Remove pods that hang in Terminating on a lost node, so that others can take their names. "
                           "A process that still runs behind a broken network then has a second one beside it.")


class Topology(ApiModel):
    """Trainers of a group sit together in one domain, for example a rack or an NVLink domain."""

    key: str = Field(min_length=1, max_length=317, description="Label of nodes; nodes with equal values are one domain.")
    required: bool = Field(False, description="Wait for room in one domain rather than train across several.")


class MagistralRuntimeSpec(ApiModel):
    """Images, placement and storage of every run that names this runtime."""

    storage: Storage
    roles: Roles
    device: Literal["cuda", "cpu"] = "cuda"
    processes_per_pod: int = Field(1, ge=1, le=16, description="Trainer processes a pod, one a GPU.")
    checkpoint_grace_period: Duration = Field(
        "5m", description="How long a trainer that is told to end (suspend, drain, preemption) has for its step and a "
        "checkpoint. Longer than the longest step and upload.")
    nodes: Nodes = Nodes()
    topology: Topology | None = None
    minimum_isolation: Literal["landlock"] = Field(
        "landlock", description="A verifier that reaches less refuses to start.")

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.device != 'cpu' || self.processesPerPod == 1",
            "processesPerPod must be 1 when device is cpu: more processes would share the same cores",
            ".processesPerPod"),
    )


class RuntimeMeta(ApiModel):
    """The part of metadata that the operator reads."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    name: str
    generation: int = 0


class MagistralRuntime(ApiModel):
    """A named way to run: a platform team's images, nodes and storage."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    metadata: RuntimeMeta
    spec: MagistralRuntimeSpec
