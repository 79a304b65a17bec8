"""Operator to pod: the one JSON file that every pod of a stage reads (mounted ConfigMap, no secrets)."""

import os
from pathlib import Path

from pydantic import Field

from magistral_api.base import ApiModel
from magistral_api.run import MagistralRunSpec, RunOutput
from magistral_api.runtime import Storage
from magistral_api.status import StageName

CONFIG_PATH = Path("/etc/magistral/config.json")
TOKEN_PATH = Path("/etc/magistral-token/token")
"""The run's bearer token for its own HTTP routes; a Secret volume, absent from every pod that needs none."""
ATTEMPT_VARIABLE = "MAGISTRAL_ATTEMPT"
"""Environment of a pod: the attempt that it belongs to. The mounted file may lag behind by a moment."""
SCRATCH_PATH = Path("/scratch")
"""A sized emptyDir; HOME and TMPDIR are under it."""


class ModelAt(ApiModel):
    """A model prefix in the object store and the digest of its manifest, when it has one."""

    uri: str
    digest: str | None = None


class Services(ApiModel):
    """Where the run's own services answer. DNS names inside the cluster."""

    conductor: str = Field(description="http://<host>:<port>")
    verifier: str = Field(description="http://<host>:<port>, balanced over ready verifiers")
    generators: str = Field(description="Headless name: one address a ready generator pod")
    generator_port: int
    rendezvous: str = Field(description="Host of rank 0 of the current stage's training group")
    rendezvous_port: int


class StageConfig(ApiModel):
    """All that a pod of one stage needs to know, besides credentials and its own name."""

    run_name: str
    run_namespace: str
    run_uid: str
    run_generation: int
    stage: StageName
    attempt: int = Field(1, ge=1)
    spec: MagistralRunSpec
    storage: Storage
    services: Services
    device: str = "cuda"
    processes_per_pod: int = 1
    progress_config_map: str
    initial_model: ModelAt = Field(description="What this stage starts from: base model or selected checkpoint")
    run_outputs: dict[str, str] | None = Field(
        None, description="By name of the run, the prefix that each `runRef` which the stage reads stands for")
    prompts_uri: str | None = Field(None, description="rl: the prepared prompts, to be read instead of spec.rl.prompts")
    dataset_uri: str | None = Field(None, description="sft: the curated JSONL")
    candidates: dict[str, ModelAt] = Field(
        default_factory=dict,
        description="select: SFT checkpoints by step. evaluate: models by column name (base, SFT, RL, SFT+RL)")

    def prefix_of(self, output: RunOutput) -> str | None:
        """The prefix that `output` stands for; None when it is not known, as the run that it names is gone."""
        return (self.run_outputs or {}).get(output.run_ref.name) if output.run_ref else output.uri

    @classmethod
    def load(cls, path: Path = CONFIG_PATH) -> "StageConfig":
        """Read the mounted file. Raises pydantic.ValidationError, FileNotFoundError."""
        config = cls.model_validate_json(path.read_text())
        return config.model_copy(update={"attempt": int(os.environ.get(ATTEMPT_VARIABLE, config.attempt))})
