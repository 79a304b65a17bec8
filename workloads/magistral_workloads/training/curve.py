"""The loss curve: one small object a step in the store, where it outlives every pod and report.

A step trained again after a crash replaces its record: the curve is that of the weights that exist.
"""

from magistral_api.base import ApiModel, Metrics
from magistral_api.config import StageConfig
from magistral_api.names import metrics_key, metrics_prefix
from magistral_workloads.storage import ObjectStore


class StepMetrics(ApiModel):
    """Metrics of one optimiser step, the whole batch. `attempt`: of the stage, in which the step was trained."""

    step: int
    attempt: int
    metrics: Metrics


def record(store: ObjectStore, config: StageConfig, step: int, metrics: dict[str, float]) -> None:
    """Rank 0, once a step, before the step's checkpoint. Raises StorageError."""
    found = StepMetrics(step=step, attempt=config.attempt, metrics=metrics)
    store.put(metrics_key(config.run_uid, config.stage, step), found.model_dump_json(by_alias=True).encode())


def curve(store: ObjectStore, uid: str, stage: str) -> list[StepMetrics]:
    """All steps that are recorded, in order. Raises StorageError."""
    return [StepMetrics.model_validate_json(store.get(found.key))
            for found in store.list(f"{metrics_prefix(uid, stage)}/")]
