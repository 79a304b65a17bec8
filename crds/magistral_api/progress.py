"""Pod to operator: what a stage writes into the run's progress ConfigMap.

One key a stage, its value one JSON document. A merge patch of that one key, so that stages never overwrite each other.
"""

from typing import Literal

from pydantic import Field

from magistral_api.base import ApiModel, Digest, Metrics, ObjectUri
from magistral_api.status import RLStatus, StageName, SuiteResult


class CheckpointRecord(ApiModel):
    """A commit, as the process that made it reports it. Becomes a Checkpoint object."""

    step: int = Field(ge=0)
    digest: Digest
    parent_digest: Digest | None = None
    uri: ObjectUri
    size_bytes: int = Field(ge=0)
    policy_version: int = Field(0, ge=0)
    metrics: Metrics = Field(default_factory=dict)


class StageProgress(ApiModel):
    """The whole truth of a stage, rewritten at each report (at most one a second)."""

    stage: StageName
    attempt: int = Field(1, description="The attempt that the operator minted; a report of an older one is ignored.")
    state: Literal["Running", "Succeeded", "Failed"]
    step: int = 0
    total_steps: int = 0
    reason: str | None = Field(None, description="CamelCase, a constant; set when state is Failed.")
    message: str | None = Field(None, description="Object, field, found, expected, what to do.")
    metrics: Metrics = Field(default_factory=dict)
    checkpoints: list[CheckpointRecord] = Field(default_factory=list, description="The newest 20, oldest first.")
    outputs: dict[str, str] = Field(default_factory=dict, description="What later stages start from.")
    rl: RLStatus | None = None
    results: list[SuiteResult] = Field(default_factory=list)


OUTPUT_MODEL_URI = "modelUri"
"""select, rl: prefix of the checkpoint that the next stage starts from."""
OUTPUT_MODEL_DIGEST = "modelDigest"
OUTPUT_PROMPTS_URI = "promptsUri"
"""prepare: the JSONL of problems that RL reads."""
OUTPUT_DATASET_URI = "datasetUri"
"""curate: the JSONL of SFT rows."""
OUTPUT_REPORT_URI = "reportUri"
"""evaluate: the HTML report."""
OUTPUT_BASE_DIGEST = "baseModelDigest"
"""preflight: the digest of the base model's manifest, when it has one."""
