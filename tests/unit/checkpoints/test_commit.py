"""The commit protocol, against a real S3 server."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.cluster.minio import Store
from magistral_api.config import ModelAt
from magistral_api.manifest import MANIFEST, Manifest, ManifestObject, digest
from magistral_api.runtime import Storage
from magistral_workloads.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    committed,
    fetch,
    fetch_model,
    fetch_newest,
    newest,
    quarantine,
    records,
    remove,
)
from magistral_workloads.checkpoints.found import QUARANTINED
from magistral_workloads.checkpoints.writer import commit_manifest
from magistral_workloads.storage import ObjectStore, StorageError
from tests.unit.checkpoints import until_killed

UID = "0b7f"
MODEL = {"model/config.json": b"{}", "model/model.safetensors": b"weights"}


def files(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    paths = {key: folder / key for key in contents}
    for key, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[key])
    return paths


def commit(s3: ObjectStore, folder: Path, step: int, *, attempt: int = 1, nonce: str = "n", ranks: int = 2,
           parent: Checkpoint | None = None) -> Checkpoint:
    """A checkpoint of `ranks` ranks: the model by rank 0, a state shard by each."""
    writers = [CheckpointWriter(s3, UID, "rl", step, attempt=attempt, nonce=nonce, rank=rank, world_size=ranks)
               for rank in range(ranks)]
    for rank, writer in enumerate(writers):
        shards = {f"state/rank-{rank}.pt": f"state {step} {rank}".encode()} | (MODEL if rank == 0 else {})
        writer.upload_shards(files(folder / f"{step}.{attempt}.{nonce}", shards))
    return writers[0].commit(parent_digest=parent.digest if parent else None, metrics={"loss": 0.5})


def flip(s3: ObjectStore, uri: str, key: str) -> None:
    prefix = s3.locate(uri)[1]
    data = bytearray(s3.get(f"{prefix}/{key}"))
    data[0] ^= 1
    s3.put(f"{prefix}/{key}", bytes(data))


def refusal(call: object) -> StorageError:
    with pytest.raises(StorageError) as raised:
        call()  # type: ignore[operator]
    return raised.value


def test_a_committed_checkpoint_comes_back_byte_for_byte(s3: ObjectStore, tmp_path: Path) -> None:
    written = commit(s3, tmp_path / "from", 7)
    found = fetch(s3, written.uri, written.digest, tmp_path / "to")
    assert found == written
    assert (tmp_path / "to/state/rank-1.pt").read_bytes() == b"state 7 1"
    assert (tmp_path / "to/model/model.safetensors").read_bytes() == b"weights"


def test_the_identity_is_the_digest_of_the_manifest_in_the_store(s3: ObjectStore, tmp_path: Path) -> None:
    written = commit(s3, tmp_path, 7)
    assert digest(s3.get(f"{s3.locate(written.uri)[1]}/{MANIFEST}")) == written.digest
    assert written.record().digest == written.digest
    assert written.record().size_bytes == sum(entry.size for entry in written.manifest.objects)


def test_of_sixteen_processes_that_commit_one_attempt_one_wins(s3: ObjectStore) -> None:
    start = threading.Barrier(16)
    entry = s3.put("runs/race/shard", b"x")
    objects = [ManifestObject(key="shard", size=entry.size, sha256=entry.sha256)]

    def write(number: int) -> Checkpoint | None:
        start.wait()
        manifest = Manifest(run_uid=UID, stage="rl", step=1, objects=objects, state={"writer": number})
        try:
            return commit_manifest(s3, "runs/race", manifest)
        except StorageError as error:
            assert error.reason == "AlreadyCommitted"
            return None

    with ThreadPoolExecutor(16) as pool:
        (winner,) = [won for won in pool.map(write, range(16)) if won]
    assert digest(s3.get(f"runs/race/{MANIFEST}")) == winner.digest


def test_rank_0_does_not_commit_before_every_rank_has_left_its_receipt(s3: ObjectStore, tmp_path: Path) -> None:
    writer = CheckpointWriter(s3, UID, "rl", 3, attempt=1, nonce="n", world_size=2)
    writer.upload_shards(files(tmp_path, MODEL))
    error = refusal(lambda: writer.commit(timeout_seconds=0))
    assert error.reason == "NotCommitted"
    assert "rank-00001" in error.message
    assert newest(s3, UID, "rl") is None


@pytest.mark.parametrize("point", until_killed.POINTS)
def test_a_trainer_killed_before_the_manifest_leaves_no_checkpoint(
        s3: ObjectStore, s3_server: Store, s3_storage: Storage, tmp_path: Path, point: str) -> None:
    parent = commit(s3, tmp_path, 1)
    child = subprocess.Popen(
        [sys.executable, until_killed.__file__, point, s3_storage.model_dump_json(), UID],
        stdout=subprocess.PIPE, text=True,
        env={"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key})
    assert child.stdout is not None
    assert child.stdout.readline().strip() == point
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert any("/steps/000002/" in found.key for found in s3.list(f"runs/{UID}/"))
    assert newest(s3, UID, "rl") == parent


def test_the_newest_is_the_highest_step_and_of_two_attempts_the_later(s3: ObjectStore, tmp_path: Path) -> None:
    assert newest(s3, UID, "rl") is None
    first = commit(s3, tmp_path, 9)
    assert newest(s3, UID, "rl") == first
    tenth = commit(s3, tmp_path, 10, parent=first)
    assert newest(s3, UID, "rl") == tenth
    commit(s3, tmp_path, 9, attempt=2)
    assert newest(s3, UID, "rl") == tenth
    assert newest(s3, UID, "sft") is None
    assert newest(s3, "another", "rl") is None


def test_a_restarted_stage_reports_its_checkpoints_again_oldest_first(s3: ObjectStore, tmp_path: Path) -> None:
    for step in range(1, 4):
        commit(s3, tmp_path, step, ranks=1)
    assert [record.step for record in records(s3, UID, "rl")] == [1, 2, 3]


def test_a_flipped_byte_is_found_and_named(s3: ObjectStore, tmp_path: Path) -> None:
    written = commit(s3, tmp_path / "from", 7)
    flip(s3, written.uri, "model/model.safetensors")
    error = refusal(lambda: fetch(s3, written.uri, written.digest, tmp_path / "to"))
    assert error.reason == "DigestMismatch"
    assert "model/model.safetensors" in error.message
    assert not (tmp_path / "to/model/model.safetensors").exists()


def test_resume_falls_back_to_the_checkpoint_before_a_damaged_one(s3: ObjectStore, tmp_path: Path) -> None:
    parent = commit(s3, tmp_path / "from", 1)
    damaged = commit(s3, tmp_path / "from", 2, parent=parent)
    flip(s3, damaged.uri, "state/rank-0.pt")
    assert fetch_newest(s3, UID, "rl", tmp_path / "to") == parent
    assert (tmp_path / "to/state/rank-0.pt").read_bytes() == b"state 1 0"
    assert list(committed(s3, UID, "rl")) == [parent], "every process passes over it from now on"
    assert s3.head(f"{s3.locate(damaged.uri)[1]}/{QUARANTINED}") is not None


def test_a_rank_that_finds_its_shard_damaged_moves_all_ranks_back(s3: ObjectStore, tmp_path: Path) -> None:
    parent = commit(s3, tmp_path, 1)
    damaged = commit(s3, tmp_path, 2, parent=parent)
    quarantine(s3, damaged.uri, "state/rank-1.pt is damaged")
    quarantine(s3, damaged.uri, "said twice")
    assert newest(s3, UID, "rl") == parent


def test_a_checkpoint_with_a_lost_or_shortened_object_is_never_chosen(s3: ObjectStore, tmp_path: Path) -> None:
    parent = commit(s3, tmp_path, 1)
    lost, short = commit(s3, tmp_path, 2), commit(s3, tmp_path, 3)
    s3.delete(f"{s3.locate(lost.uri)[1]}/state/rank-1.pt")
    s3.put(f"{s3.locate(short.uri)[1]}/state/rank-1.pt", b"")
    assert newest(s3, UID, "rl") == parent


def test_a_manifest_that_is_no_manifest_is_passed_over(s3: ObjectStore, tmp_path: Path) -> None:
    parent = commit(s3, tmp_path, 1)
    s3.put(f"runs/{UID}/rl/steps/000002/attempts/1.x/{MANIFEST}", b'{"schemaVersion": 1')
    assert newest(s3, UID, "rl") == parent
    error = refusal(lambda: fetch(s3, s3.uri(f"runs/{UID}/rl/steps/000002/attempts/1.x"), None, tmp_path))
    assert error.reason == "ManifestInvalid"


def test_another_digest_than_the_one_named_is_refused(s3: ObjectStore, tmp_path: Path) -> None:
    written = commit(s3, tmp_path / "from", 7)
    error = refusal(lambda: fetch(s3, written.uri, "sha256:" + "0" * 64, tmp_path / "to"))
    assert error.reason == "DigestMismatch"
    assert written.digest in error.message
    assert not (tmp_path / "to").exists()


def test_a_manifest_cannot_write_outside_of_the_folder(s3: ObjectStore, tmp_path: Path) -> None:
    stored = s3.put("models/evil/x", b"x")
    for key in ("../x", "/etc/x", "a/../../x"):
        manifest = Manifest(run_uid="", stage="rl", step=0, objects=[
            ManifestObject(key=key, size=stored.size, sha256=stored.sha256)])
        s3.put(f"models/evil/{MANIFEST}", manifest.to_bytes())
        error = refusal(lambda: fetch(s3, s3.uri("models/evil"), None, tmp_path / "to"))
        assert error.reason == "ManifestInvalid"
        assert key in error.message


def test_a_checkpoint_of_ours_gives_its_model_without_the_optimiser(s3: ObjectStore, tmp_path: Path) -> None:
    written = commit(s3, tmp_path / "from", 7)
    folder = fetch_model(s3, ModelAt(uri=written.uri, digest=written.digest), tmp_path / "to")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert not (tmp_path / "to/state").exists()


def test_a_plain_directory_is_a_model_and_its_pickles_stay_behind(s3: ObjectStore, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "modeling.py"):
        s3.put(f"models/base/{name}", name.encode())
    folder = fetch_model(s3, ModelAt(uri=s3.uri("models/base")), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_plain_directory_with_a_manifest_is_verified(s3: ObjectStore, tmp_path: Path) -> None:
    stored = s3.put("models/base/config.json", b"{}")
    made = commit_manifest(s3, "models/base", Manifest(run_uid="", stage="base", step=0, objects=[
        ManifestObject(key="config.json", size=stored.size, sha256=stored.sha256)]))
    folder = fetch_model(s3, ModelAt(uri=made.uri, digest=made.digest), tmp_path / "a")
    assert (folder / "config.json").read_bytes() == b"{}"
    flip(s3, made.uri, "config.json")
    assert refusal(lambda: fetch_model(s3, ModelAt(uri=made.uri), tmp_path / "b")).reason == "DigestMismatch"


def test_a_digest_without_a_manifest_and_an_empty_prefix_are_refused(s3: ObjectStore, tmp_path: Path) -> None:
    named = ModelAt(uri=s3.uri("models/none"), digest="sha256:" + "0" * 64)
    assert refusal(lambda: fetch_model(s3, named, tmp_path)).reason == "DigestMismatch"
    assert refusal(lambda: fetch_model(s3, ModelAt(uri=named.uri), tmp_path)).reason == "ObjectNotFound"


def test_removing_a_checkpoint_leaves_nothing(s3: ObjectStore, tmp_path: Path) -> None:
    remove(s3, commit(s3, tmp_path, 1).uri)
    assert not list(s3.list(""))
