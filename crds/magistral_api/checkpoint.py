"""Checkpoint: one committed checkpoint as an object, so that kubectl and GitOps can name its digest."""

from typing import ClassVar

from pydantic import Field

from magistral_api.base import ApiModel, Cel, Digest, Metrics, Name, ObjectUri
from magistral_api.status import Condition, StageName


class CheckpointSpec(ApiModel):
    """Written once by the operator when a stage reports a commit; a checkpoint never changes."""

    run: Name
    run_uid: str = Field(max_length=64)
    stage: StageName
    step: int = Field(ge=0)
    digest: Digest
    parent_digest: Digest | None = None
    uri: ObjectUri
    size_bytes: int = Field(ge=0)
    policy_version: int = Field(0, ge=0)
    metrics: Metrics = Field(default_factory=dict)

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self == oldSelf", "a Checkpoint is immutable: its digest names these bytes for ever"),
    )


class CheckpointStatus(ApiModel):
    """`Ready=True`: the manifest was committed and its digest verified by the stage that wrote it."""

    conditions: list[Condition] = Field(
        default_factory=list,
        json_schema_extra={
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            # Nothing of a Checkpoint is generated anew, so kstatus has only this to tell it from a finished one.
            "default": [{"type": "Ready", "status": "Unknown", "reason": "NotSeen", "message": "Not yet seen.",
                         "lastTransitionTime": "1970-01-01T00:00:00Z"}]})
