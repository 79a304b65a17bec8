"""Where a process stands in its group."""

import pytest

from magistral_api.config import StageConfig
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.training.world import Place
from tests.unit.config import stage_config

STORAGE = Storage(endpoint="http://store:9000", bucket="bucket", credentials_secret_ref=SecretRef(name="store"))


def config(stage: str, *, pods: int, processes: int = 1) -> StageConfig:
    rl = {"prompts": [{"uri": "s3://bucket/p.jsonl"}], "trainers": pods, "batchSize": 64 * pods}
    spec = {"rl": rl, "sft": {"workers": pods, "batchSize": 64 * pods}}
    return stage_config(stage, STORAGE, curation={"teacher": {"uri": "s3://bucket/t"}}, spec=spec,
                        processes_per_pod=processes)


def test_the_rank_of_a_trainer_is_the_number_of_its_pod() -> None:
    place = Place.of(config("rl", pods=12), {"POD_NAME": "student-trainer-11"})
    assert (place.rank, place.size, place.local_rank) == (11, 12, 0)
    assert (place.host, place.port) == ("trainer-0", 29500)


def test_the_rank_in_sft_is_the_index_of_the_job() -> None:
    place = Place.of(config("sft", pods=2), {"POD_NAME": "student-sft-1-x7k2p", "JOB_COMPLETION_INDEX": "1"})
    assert (place.rank, place.size) == (1, 2)


def test_processes_of_one_pod_have_neighbouring_ranks() -> None:
    environ = {"POD_NAME": "student-trainer-1"}
    found = [Place.of(config("rl", pods=2, processes=4), environ | {"LOCAL_RANK": str(local)}) for local in range(4)]
    assert [(place.rank, place.size) for place in found] == [(4, 8), (5, 8), (6, 8), (7, 8)]


@pytest.mark.parametrize(("environ", "message"), [
    ({}, "POD_NAME: found ''"),
    ({"POD_NAME": "trainer"}, "expected a name that ends with a number"),
    ({"POD_NAME": "student-trainer-2"}, "rank 2, local rank 0: expected less than 2"),
])
def test_a_pod_that_is_not_of_the_group_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Place.of(config("rl", pods=2), environ)
