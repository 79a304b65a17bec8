"""What the operator says of a run: conditions by kstatus rules, stages, the newest checkpoint, results."""

from typing import Literal

from pydantic import Field, FiniteFloat
from pydantic.config import JsonDict

from magistral_api.base import ApiModel, Measure

Phase = Literal["Pending", "Running", "Suspended", "Succeeded", "Failed"]
StageName = Literal["preflight", "prepare", "curate", "sft", "select", "rl", "evaluate"]
StageState = Literal["Pending", "Running", "Succeeded", "Failed"]
FaultKind = Literal["user", "application", "infrastructure"]
"""user: bad input, exit code 64. application: the process. infrastructure: what it runs on."""

_MAP_BY_NAME: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class Condition(ApiModel):
    """As `metav1.Condition`. `Ready` is always there; `Reconciling` and `Stalled` only while true (kstatus)."""

    type: str = Field(max_length=316)
    status: Literal["True", "False", "Unknown"]
    observed_generation: int = 0
    last_transition_time: str
    reason: str = Field(max_length=1024)
    message: str = Field("", max_length=32768)


class StageStatus(ApiModel):
    """One stage of the run. `attempt` counts from 1 and goes up when the operator starts the stage anew.

    `Failed` in a run that goes on: the next attempt waits for its back-off.
    """

    name: StageName
    state: StageState = "Pending"
    attempt: int = 0
    restarts: int = Field(0, description="After faults of the stage's own processes, as failurePolicy.maxRestarts limits "
                                         "them. In rl: of the trainers, in place or as a new attempt.")
    infrastructure_restarts: int = Field(0, description="As restarts, by failurePolicy.maxInfrastructureRestarts.")
    stuck_restarts: int = Field(0, description="Of the trainers in this attempt since the last new step.")
    disrupted: str | None = Field(None, description="When the present attempt last lost a pod to the infrastructure.")
    step: int = 0
    total_steps: int = 0
    start_time: str | None = None
    completion_time: str | None = None
    reason: str | None = None
    message: str | None = None
    outputs: dict[str, str] = Field(default_factory=dict, description="What later stages start from.")


class PodRestarts(ApiModel):
    """One pod as last seen. `inherited`: counted before its own, with the losses of pods that it replaces.

    `lost`: it is gone or going, for this kind of reason, and is already counted.
    """

    uid: str
    inherited: int = 0
    own: int = 0
    lost: FaultKind | None = None

    @property
    def total(self) -> int:
        return self.inherited + self.own


class RoleStatus(ApiModel):
    """Pods of one role: how many are ready, how many are wanted, how many were replaced or restarted."""

    name: str
    ready: int = 0
    desired: int = 0
    restarts: int = Field(0, description="After faults of the processes. Trainers restart as one group and count once.")
    infrastructure_restarts: int = Field(0, description="After faults of nodes, evictions and lost pods.")
    last_restart: FaultKind | None = None
    pods: dict[str, PodRestarts] = Field(
        default_factory=dict, description="Pod name to restarts seen; the base of `restarts`.")


class CheckpointRef(ApiModel):
    """A committed checkpoint. Its identity is the digest; the step is for people."""

    name: str
    stage: StageName
    step: int
    digest: str
    uri: str


class SuiteResult(ApiModel):
    """One model on one suite. Interval: 95%, bootstrap over problems."""

    name: str = Field(description="<model>/<suite>, for example SFT+RL/aime24")
    model: str
    suite: str
    pass_at_1: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    maj_at_k: Measure = None
    k: int = 1
    problems: int = 0


class RLStatus(ApiModel):
    """RL at a glance, as the conductor last reported it."""

    policy_version: int = 0
    reward: Measure = None
    staleness: Measure = None
    tokens_per_second: Measure = None


class ScaleStatus(ApiModel):
    """What the scale subresource shows of the generators."""

    replicas: int = 0
    selector: str = Field("", description="Their pods' labels, for an autoscaler.")


class NodeFailure(ApiModel):
    """An incident of a node that cost the run a pod."""

    node: str
    time: str
    reason: str


class ExcludedNode(ApiModel):
    """A node on which nothing new of the run is placed. `hostname`: its label kubernetes.io/hostname."""

    name: str
    hostname: str
    reason: str
    since: str
    until: str


class RunStatus(ApiModel):
    """Written only by the operator, in one PATCH a reconcile."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    observed_generation: int = 0
    phase: Phase = "Pending"
    stage: str | None = None
    progress: str | None = Field(None, description="For people: 12/40")
    start_time: str | None = None
    completion_time: str | None = None
    conditions: list[Condition] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
    stages: list[StageStatus] = Field(default_factory=list, json_schema_extra=_MAP_BY_NAME)
    roles: list[RoleStatus] = Field(default_factory=list, json_schema_extra=_MAP_BY_NAME)
    rl: RLStatus | None = None
    scale: ScaleStatus | None = None
    latest_checkpoint: CheckpointRef | None = None
    excluded_nodes: list[ExcludedNode] = Field(default_factory=list, json_schema_extra=_MAP_BY_NAME)
    node_failures: list[NodeFailure] = Field(default_factory=list, description="What excludedNodes is decided from.")
    results: list[SuiteResult] = Field(default_factory=list, json_schema_extra=_MAP_BY_NAME)
    report: str | None = Field(None, description="Object key URI of the HTML report.")
