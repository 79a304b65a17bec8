"""Policy versions through a real object store."""

from pathlib import Path

import pytest

from magistral_api.names import weights_prefix
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.transport.weights.store import fetch_version, publish, retain

UID = "90ac"


def model(folder: Path, weights: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def versions(s3: ObjectStore) -> set[int]:
    root = weights_prefix(UID, 0).rpartition("/")[0]
    return {int(found.key.removeprefix(f"{root}/").partition("/")[0]) for found in s3.list(f"{root}/")}


def test_a_version_arrives_as_it_was_published(s3: ObjectStore, tmp_path: Path) -> None:
    uri, digest = publish(s3, UID, 3, model(tmp_path / "from", b"w3"), nonce="a")
    folder = fetch_version(s3, uri, digest, tmp_path / "to")
    assert (folder / "model.safetensors").read_bytes() == b"w3"
    assert (folder / "config.json").read_bytes() == b"{}"


def test_damaged_weights_never_reach_a_generator(s3: ObjectStore, tmp_path: Path) -> None:
    uri, digest = publish(s3, UID, 3, model(tmp_path / "from", b"w3"), nonce="a")
    s3.put(f"{s3.locate(uri)[1]}/model.safetensors", b"w4")
    with pytest.raises(StorageError, match="DigestMismatch"):
        fetch_version(s3, uri, digest, tmp_path / "to")
    assert not (tmp_path / "to/model.safetensors").exists()


def test_a_resumed_trainer_that_publishes_a_version_again_leaves_the_first_one_whole(
        s3: ObjectStore, tmp_path: Path) -> None:
    first = publish(s3, UID, 3, model(tmp_path / "from", b"before"), nonce="a")
    again = publish(s3, UID, 3, model(tmp_path / "from", b"after"), nonce="b")
    for (uri, digest), weights in ((first, b"before"), (again, b"after")):
        assert (fetch_version(s3, uri, digest, tmp_path / "to") / "model.safetensors").read_bytes() == weights


def test_the_last_versions_stay_and_older_ones_go_in_every_incarnation(s3: ObjectStore, tmp_path: Path) -> None:
    for version in range(1, 7):
        publish(s3, UID, version, model(tmp_path / "from", b"w"), nonce="a")
    publish(s3, UID, 2, model(tmp_path / "from", b"w"), nonce="b")
    s3.put(f"runs/{UID}/rl/steps/000001/attempts/1.a/manifest.json", b"a checkpoint")
    retain(s3, UID, 6, keep=3)
    assert versions(s3) == {4, 5, 6}
    assert retain(s3, UID, 6, keep=3) == 0
    assert s3.head(f"runs/{UID}/rl/steps/000001/attempts/1.a/manifest.json") is not None


def test_versions_newer_than_a_resumed_trainers_are_left_alone(s3: ObjectStore, tmp_path: Path) -> None:
    for version in (3, 8, 9):
        publish(s3, UID, version, model(tmp_path / "from", b"w"), nonce="a")
    retain(s3, UID, 6)
    assert versions(s3) == {8, 9}
