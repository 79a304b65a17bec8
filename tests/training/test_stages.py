"""Whole stages in two processes over a real S3 store: what is left behind, and what interruptions change (nothing)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dev.cluster.minio import Store
from magistral_api.config import StageConfig
from magistral_api.runtime import Storage
from magistral_workloads.checkpoints import Checkpoint, CheckpointWriter, committed, newest
from magistral_workloads.checkpoints.writer import files_below
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.curve import curve
from magistral_workloads.training.process import EXIT_STOPPED
from tests.training import tiny
from tests.training.conducting import TOKEN, Conducting, conducting
from tests.training.processes import Ranks, ranks
from tests.unit.config import stage_config

pytestmark = pytest.mark.timeout(900)
STEPS = 4
DATASET = "curate/dataset.jsonl"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"))


def arguments(folder: Path, config: StageConfig, s3_server: Store) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.model_dump_json(by_alias=True))
    return {"config": str(folder / "config.json"), "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key, "token": TOKEN}


def put_base(s3: ObjectStore, base: Path) -> None:
    for key, path in files_below(base, "models/base").items():
        s3.put_file(key, path)


def weights(found: Checkpoint | None) -> tuple[int, str]:
    """Step of a checkpoint and digest of its model's weights."""
    assert found is not None
    (entry,) = [entry for entry in found.manifest.objects if entry.key == "model/model.safetensors"]
    return found.manifest.step, entry.sha256


def learnt(s3: ObjectStore, stage: str, uid: str) -> list[float]:
    """The loss curve in the store: one value a step, in order."""
    found = curve(s3, uid, stage)
    assert [one.step for one in found] == list(range(1, len(found) + 1))
    return [one.metrics["loss"] for one in found]


class RLRun:
    """One RL run of STEPS steps in a bucket of its own part, by its UID."""

    def __init__(self, uid: str, s3: ObjectStore, s3_server: Store, storage: Storage, folder: Path) -> None:
        self.uid, self.s3, self._server, self._storage, self._folder = uid, s3, s3_server, storage, folder

    @contextmanager
    def running(self, trainers: int = 2) -> Iterator[tuple[Conducting, Ranks]]:
        with conducting(self.s3, self.uid, steps=STEPS, world_size=trainers) as conductor:
            config = stage_config("rl", self._storage, run_uid=self.uid, device="cpu", spec={"rl": {
                "prompts": [{"uri": f"s3://{self._storage.bucket}/p.jsonl"}], "steps": STEPS, "batchSize": 12,
                "groupSize": 4, "checkpointEvery": 2, "trainers": trainers, "zeroStage": 2, "maxUnpenalizedTokens": 32,
                "cacheTokens": 16, "microbatchTokens": 48, "optimizer": {"learningRate": 0.003}}})
            config.services.conductor = conductor.url
            folder = self._folder / f"{self.uid}-{trainers}"
            with ranks(folder, trainers, "worker.whole_stage", arguments(folder, config, self._server)) as group:
                yield conductor, group

    def committed(self) -> list[int]:
        return sorted(found.manifest.step for found in committed(self.s3, self.uid, "rl"))


def trained(conductor: Conducting, group: Ranks, upto: int, start: int = 1) -> None:
    """Batches `start` to `upto` are served and trained on."""
    for step in range(start, upto + 1):
        conductor.put(tiny.batch(step, 2))
    conductor.wait_for_version(upto)


def ended(group: Ranks) -> list[int]:
    return [group.code(rank, 60) for rank in (0, 1)]


def test_rl_ends_with_the_same_weights_killed_or_told_to_end_or_left_alone(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, base: Path) -> None:
    put_base(s3, base)
    alone, killed, told = (RLRun(uid, s3, s3_server, s3_storage, tmp_path) for uid in ("alone", "killed", "told"))
    with alone.running() as (conductor, group):
        trained(conductor, group, STEPS)
        assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
        assert [said.version for said in conductor.published] == [1, 2, 3, 4]
        assert [record.step for record in conductor.committed] == [2, 4]
        # Batches of known lengths: what the trainers say of them is what they hold.
        assert [said.metrics["length"] for said in conductor.published] == [
            pytest.approx(sum(len(record.completion_tokens) for record in tiny.batch(step, 2)) / 12) for step in range(1, 5)]
        losses = [said.metrics["loss"] for said in conductor.published]
    assert alone.committed() == [2, 4]

    with killed.running() as (conductor, group):
        trained(conductor, group, 3)
        group.kill(1)
        assert group.code(0, 60) == 1
        for rank in (0, 1):
            group.start(rank)
        trained(conductor, group, 4, start=4)
        assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
        again = {said.version: said.metrics["loss"] for said in conductor.published}
        assert [said.version for said in conductor.published] == [1, 2, 3, 3, 4]
        assert [again[version] for version in (1, 2, 3, 4)] == losses

    # As a suspended run: both are told to end, one of them while it waits for a batch that never comes.
    with told.running() as (conductor, group):
        trained(conductor, group, 3)
        for rank in (1, 0):
            group.running[rank].send_signal(signal.SIGTERM)
        assert ended(group) == [EXIT_STOPPED, EXIT_STOPPED]
        assert told.committed() == [2, 3]
        assert [record.step for record in conductor.committed] == [2, 3]
        for rank in (0, 1):
            group.start(rank)
        trained(conductor, group, 4, start=4)
        assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
        assert [said.version for said in conductor.published] == [1, 2, 3, 4]

    expected = weights(newest(s3, alone.uid, "rl"))
    assert weights(newest(s3, killed.uid, "rl")) == expected == weights(newest(s3, told.uid, "rl"))
    assert losses == learnt(s3, "rl", "alone") == learnt(s3, "rl", "killed") == learnt(s3, "rl", "told")
    parents = {found.manifest.step: found.manifest.parent_digest for found in committed(s3, killed.uid, "rl")}
    assert parents[2] is None and parents[4] is not None


def test_rl_goes_on_with_another_number_of_trainers_as_if_it_had_never_changed(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, base: Path) -> None:
    put_base(s3, base)
    alone, changed = (RLRun(uid, s3, s3_server, s3_storage, tmp_path) for uid in ("alone", "changed"))
    with alone.running() as (conductor, group):
        trained(conductor, group, STEPS)
        assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
    # Each batch was written for two trainers; step 3 is one trainer's, step 4 belongs to four.
    with changed.running(2) as (conductor, group):
        trained(conductor, group, 2)
        group.running[0].send_signal(signal.SIGTERM)
        assert ended(group) == [EXIT_STOPPED, EXIT_STOPPED]
        conductor.put(tiny.batch(3, 2))
    with changed.running(1) as (conductor, group):
        conductor.wait_for_version(3)
        group.running[0].send_signal(signal.SIGTERM)
        assert group.code(0, 60) == EXIT_STOPPED, group.log(0).read_text()[-3000:]
    with changed.running(4) as (conductor, group):
        conductor.put(tiny.batch(4, 2))
        assert [group.code(rank) for rank in range(4)] == [0] * 4, group.log(0).read_text()[-3000:]
    assert learnt(s3, "rl", "changed") == pytest.approx(learnt(s3, "rl", "alone"), rel=1e-4, abs=1e-6)
    worlds = {found.manifest.step: found.manifest.world_size for found in committed(s3, "changed", "rl")}
    assert worlds == {2: 2, 3: 1, 4: 4}


@pytest.mark.parametrize("told", [0, 1])
def test_trainers_of_whom_one_is_told_to_end_in_the_middle_of_a_step_commit_that_step(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, base: Path, told: int) -> None:
    put_base(s3, base)
    run = RLRun("told", s3, s3_server, s3_storage, tmp_path)
    with run.running() as (conductor, group):
        for step in range(1, STEPS):
            conductor.put(tiny.batch(step, 2))
        conductor.wait_for_version(1)
        group.running[told].send_signal(signal.SIGTERM)
        assert ended(group) == [EXIT_STOPPED, EXIT_STOPPED]
        last = max(said.version for said in conductor.published)
        assert run.committed()[-1] == conductor.committed[-1].step == last
        for rank in (0, 1):
            group.start(rank)
        trained(conductor, group, STEPS, start=STEPS)
        assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
        assert [said.version for said in conductor.published] == [1, 2, 3, 4]
    assert [found.step for found in curve(s3, run.uid, "rl")] == [1, 2, 3, 4]


def sft_config(storage: Storage, uid: str, epochs: int) -> StageConfig:
    at = f"s3://{storage.bucket}"
    return stage_config("sft", storage, run_uid=uid, device="cpu", dataset_uri=f"{at}/{DATASET}", curation={
        "teacher": {"uri": f"{at}/teacher"}}, spec={"sft": {
            "epochs": epochs, "batchSize": 8, "workers": 2, "zeroStage": 3, "maxTokens": 220, "microbatchTokens": 512,
            "optimizer": {"learningRate": 0.003, "warmupSteps": 2}}, "evaluation": {"suites": [{"name": "aime24"}]}})


def test_sft_leaves_a_checkpoint_an_epoch_and_goes_on_after_being_told_to_end(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, base: Path) -> None:
    put_base(s3, base)
    s3.put(DATASET, tiny.dataset(21))
    epochs, found = 12, {}
    for uid in ("alone", "told"):
        config = sft_config(s3_storage, uid, epochs)
        with ranks(tmp_path / uid, 2, "worker.whole_stage", arguments(tmp_path / uid, config, s3_server)) as group:
            if uid == "told":
                while newest(s3, uid, "sft") is None:
                    assert group.running[0].poll() is None, group.log(0).read_text()[-3000:]
                group.running[1].send_signal(signal.SIGTERM)
                assert ended(group) == [EXIT_STOPPED, EXIT_STOPPED]
                for rank in (0, 1):
                    group.start(rank)
            assert ended(group) == [0, 0], group.log(0).read_text()[-3000:]
        found[uid] = {checkpoint.manifest.step: checkpoint for checkpoint in committed(s3, uid, "sft")}
    assert sorted(found["alone"]) == [3 * epoch for epoch in range(1, epochs + 1)]
    assert weights(newest(s3, "told", "sft")) == weights(newest(s3, "alone", "sft"))
    assert len(learnt(s3, "sft", "alone")) == 3 * epochs
    assert learnt(s3, "sft", "told") == learnt(s3, "sft", "alone")
    losses = [checkpoint.manifest.metrics["loss"] for _, checkpoint in sorted(found["alone"].items())]
    assert losses[-1] < losses[0]
    assert found["alone"][3].manifest.data_digests.keys() == {"dataset.jsonl"}


def test_a_checkpoint_whose_optimiser_state_is_not_all_there_is_refused_with_the_remedy(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, base: Path) -> None:
    s3.put(DATASET, tiny.dataset(21))
    config = sft_config(s3_storage, "one", 1)
    writers = [CheckpointWriter(s3, "one", "sft", 3, attempt=1, nonce="n", rank=rank, world_size=2) for rank in (0, 1)]
    for writer, files in zip(writers, (files_below(base, "model"), {}), strict=True):
        writer.upload_shards(files)
    writers[0].commit(zero_stage=3)
    with ranks(tmp_path / "one", 1, "worker.whole_stage", arguments(tmp_path / "one", config, s3_server)) as group:
        assert group.code(0) == 1
        said = group.log(0).read_text()
        assert "the optimiser state of 2 processes at ZeRO stage 3 cannot be dealt to 1 at stage 3" in said
        assert "Go on with the release and the number of processes that wrote it" in said
