"""The loss curve in the store."""

from magistral_api.runtime import Storage
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.curve import StepMetrics, curve, record
from tests.unit.config import UID, stage_config


def test_a_step_is_there_once_in_order_and_as_it_was_trained_last(s3: ObjectStore, s3_storage: Storage) -> None:
    first, second = (stage_config("rl", s3_storage, attempt=attempt) for attempt in (1, 2))
    for step in (1, 2, 10, 3):
        record(s3, first, step, {"loss": float(step)})
    record(s3, second, 3, {"loss": 0.5, "gradNorm": float("nan")})
    record(s3, stage_config("sft", s3_storage), 4, {"loss": 9.0})
    assert curve(s3, UID, "rl") == [
        StepMetrics(step=1, attempt=1, metrics={"loss": 1.0}), StepMetrics(step=2, attempt=1, metrics={"loss": 2.0}),
        StepMetrics(step=3, attempt=2, metrics={"loss": 0.5}), StepMetrics(step=10, attempt=1, metrics={"loss": 10.0})]
    assert curve(s3, UID, "select") == []
