"""A stage's config for tests of workloads: the smallest run, with parts replaced."""

from typing import Any

from magistral_api.config import StageConfig
from magistral_api.runtime import Storage

UID = "5c1e"


def stage_config(stage: str, storage: Storage, *, curation: dict[str, Any] | None = None, **fields: Any) -> StageConfig:
    """Config of `stage` for a run whose base model, prompts and suite lie in the storage's bucket.

    `curation`: makes it an SFTThenRL run. `fields`: the config's own, in snake case; `spec` is merged into the spec.
    """
    at = f"s3://{storage.bucket}"
    spec: dict[str, Any] = {
        "paradigm": "RL", "runtimeRef": {"name": "test"}, "baseModel": {"uri": f"{at}/models/base"},
        "rl": {"prompts": [{"uri": f"{at}/prompts/maths.jsonl"}]},
        "evaluation": {"suites": [{"name": "aime24"}]},
    }
    if curation is not None:
        spec |= {"paradigm": "SFTThenRL", "curation": curation, "sft": {}}
    spec |= fields.pop("spec", {})
    services = {"conductor": "http://conductor:8000", "verifier": "http://verifier:8000", "generators": "generators",
                "generatorPort": 8000, "rendezvous": "trainer-0", "rendezvousPort": 29500}
    return StageConfig.model_validate({
        "run_name": "student", "run_namespace": "default", "run_uid": UID, "run_generation": 1, "stage": stage,
        "spec": spec, "storage": storage, "services": services, "progress_config_map": "student-progress",
        "initial_model": {"uri": f"{at}/models/base"}} | fields)
