"""The object store, against a real S3 server."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dev.cluster.minio import Store
from magistral_api.runtime import Storage
from magistral_workloads.storage import ObjectAt, ObjectStore, StorageError, probe
from magistral_workloads.storage.store import PART_BYTES
from tests.unit.storage.careless import careless

WRITERS = 16


def reason_of(call: object) -> StorageError:
    with pytest.raises(StorageError) as raised:
        call()  # type: ignore[operator]
    return raised.value


def test_of_sixteen_writers_of_one_object_one_wins(s3: ObjectStore) -> None:
    start = threading.Barrier(WRITERS)

    def write(number: int) -> bool:
        start.wait()
        return s3.put_if_absent("race", str(number).encode())

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(write, range(WRITERS)))
    assert won.count(True) == 1
    assert s3.get("race") == str(won.index(True)).encode()


def test_a_conditional_put_without_the_look_beforehand_still_loses(s3: ObjectStore) -> None:
    assert s3.put_conditionally("a", b"first")
    assert not s3.put_conditionally("a", b"second")
    assert s3.get("a") == b"first"


def test_a_file_of_several_parts_comes_back_byte_for_byte(s3: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * (PART_BYTES // 256) + b"the second part")
    stored = s3.put_file("big", source)
    s3.download_verified("big", tmp_path / "copy", stored.size, stored.sha256)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_an_empty_file_is_an_object_too(s3: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert s3.put_file("empty", tmp_path / "empty").size == 0
    assert s3.get("empty") == b""


def test_a_damaged_object_leaves_no_file(s3: ObjectStore, tmp_path: Path) -> None:
    stored = s3.put("a", b"0123456789")
    s3.put("a", b"0123456798")
    error = reason_of(lambda: s3.download_verified("a", tmp_path / "a", stored.size, stored.sha256))
    assert error.reason == "DigestMismatch"
    assert s3.uri("a") in error.message
    assert not list(tmp_path.iterdir())


def test_a_range_is_cut_at_the_end_of_the_object(s3: ObjectStore) -> None:
    s3.put("a", b"0123456789")
    assert s3.get_range("a", 8, 100) == b"89"
    assert s3.get_range("a", 2, 3) == b"234"


def test_listing_stays_inside_its_folder_and_deleting_too(s3: ObjectStore) -> None:
    for key in ("runs/a/1", "runs/a/2/3", "runs/ab/1"):
        s3.put(key, b"x")
    assert [found.key for found in s3.list("runs/a/")] == ["runs/a/1", "runs/a/2/3"]
    assert s3.delete_prefix("runs/a") == 2
    assert [found.key for found in s3.list("runs/")] == ["runs/ab/1"]
    with pytest.raises(ValueError, match="whole bucket"):
        s3.delete_prefix("/")


def test_what_is_not_there_has_no_head_and_can_be_deleted(s3: ObjectStore) -> None:
    assert s3.head("nothing") is None
    s3.delete("nothing")
    assert reason_of(lambda: s3.get("nothing")).reason == "ObjectNotFound"


def test_a_uri_may_name_another_bucket_of_the_same_server(s3: ObjectStore) -> None:
    other, key = s3.locate("s3://models/base/small/")
    assert (other.bucket, key) == ("models", "base/small")
    assert reason_of(lambda: other.get(key)).reason == "BucketNotFound"
    assert s3.locate(s3.uri("a"))[0] is s3


@pytest.mark.parametrize("uri", ["models/base", "s3://", "s3://bucket", "s3://bucket/", "https://bucket/key"])
def test_what_is_no_object_address_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="expected s3://bucket/key"):
        ObjectAt.parse(uri)


def test_a_bucket_that_is_not_there_is_named(s3_server: Store, s3_storage: Storage) -> None:
    lost = s3_storage.model_copy(update={"bucket": "no-such-bucket"})
    store = ObjectStore(lost, s3_server.access_key, s3_server.secret_key, owner="MagistralRuntime/r")
    error = reason_of(lambda: list(store.list("runs/")))
    assert error.reason == "BucketNotFound"
    assert "MagistralRuntime/r spec.storage.bucket" in error.message
    assert "no-such-bucket" in error.message


def test_a_wrong_key_names_the_secret_and_never_shows_it(s3_server: Store, s3_storage: Storage) -> None:
    for access, secret in ((s3_server.access_key, "wrong-secret-key"), ("unknown", s3_server.secret_key)):
        store = ObjectStore(s3_storage, access, secret)
        error = reason_of(lambda store=store: store.put("a", b"x"))
        assert error.reason == "AccessDenied"
        assert "Secret store" in error.message
        assert secret not in error.message
        assert access not in error.message
        assert reason_of(lambda store=store: store.put_conditionally("a", b"x")).reason == "AccessDenied"


@pytest.mark.parametrize(
    ("access", "secret", "key"), [("", "s", "accessKey"), ("a", "", "secretKey"), ("a", "s\n", "secretKey")])
def test_credentials_that_cannot_be_right_are_refused_at_once(
        s3_storage: Storage, access: str, secret: str, key: str) -> None:
    error = reason_of(lambda: ObjectStore(s3_storage, access, secret))
    assert error.reason == "CredentialsInvalid"
    assert f"Secret store key {key}" in error.message


def test_a_server_that_is_not_there_is_unreachable_for_every_call(s3_storage: Storage, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = s3_storage.model_copy(update={"endpoint": f"http://127.0.0.1:{free.getsockname()[1]}"})
    store = ObjectStore(dead, "a", "b", owner="MagistralRuntime/r", retries=0)
    (tmp_path / "f").write_bytes(b"x")
    calls = [
        lambda: store.put("a", b""), lambda: store.get("a"), lambda: store.head("a"), lambda: list(store.list("a")),
        lambda: store.put_conditionally("a", b""), lambda: store.put_file("a", tmp_path / "f"), store.exists,
        lambda: store.delete("a"), lambda: store.delete_prefix("a"),
    ]
    for call in calls:
        error = reason_of(call)
        assert error.reason == "StoreUnreachable"
        assert f"MagistralRuntime/r spec.storage.endpoint: {dead.endpoint} cannot be reached" in error.message


def test_a_server_that_takes_connections_but_never_answers_is_unreachable(s3_storage: Storage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = s3_storage.model_copy(update={"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        store = ObjectStore(mute, "a", "b", read_seconds=0.2, retries=0)
        assert "timed out" in reason_of(store.exists).message


def test_a_host_that_nobody_knows_is_unreachable(s3_storage: Storage) -> None:
    lost = s3_storage.model_copy(update={"endpoint": "http://store.invalid:9000"})
    assert reason_of(ObjectStore(lost, "a", "b", retries=0).exists).reason == "StoreUnreachable"


def test_the_probe_of_an_honest_store_finds_no_fault_and_leaves_nothing(s3: ObjectStore) -> None:
    capabilities = probe(s3, "runs/u/preflight")
    assert capabilities.conditional_put
    assert capabilities.lists_after_write
    assert not capabilities.warnings()
    assert not list(s3.list(""))


def test_the_probe_tells_when_a_store_ignores_if_none_match(s3_server: Store, s3_storage: Storage) -> None:
    with careless(s3_server.address) as url:
        store = ObjectStore(s3_storage.model_copy(update={"endpoint": url}), s3_server.access_key, s3_server.secret_key)
        capabilities = probe(store, "runs/u/preflight")
        assert capabilities == replace(capabilities, conditional_put=False, lists_after_write=True)
        assert "ignores If-None-Match" in capabilities.warnings()[0]


def test_a_store_that_ignores_if_none_match_does_not_lose_what_is_there(s3_server: Store, s3_storage: Storage) -> None:
    with careless(s3_server.address) as url:
        store = ObjectStore(s3_storage.model_copy(update={"endpoint": url}), s3_server.access_key, s3_server.secret_key)
        assert store.put_if_absent("a", b"first")
        assert not store.put_if_absent("a", b"second")
        assert store.get("a") == b"first"


def test_a_put_whose_answer_was_lost_is_known_as_won(s3_server: Store, s3_storage: Storage) -> None:
    with careless(s3_server.address, honour=True, lose_answers=1) as url:
        store = ObjectStore(s3_storage.model_copy(update={"endpoint": url}), s3_server.access_key, s3_server.secret_key)
        assert store.put_conditionally("a", b"mine")
        assert store.get("a") == b"mine"


def test_a_download_that_breaks_off_goes_on_from_where_it_was(
        s3_server: Store, s3_storage: Storage, s3: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 20_000)
    stored = s3.put_file("big", source)
    with careless(s3_server.address, cut_bodies=2) as url:
        store = ObjectStore(s3_storage.model_copy(update={"endpoint": url}), s3_server.access_key, s3_server.secret_key)
        store.download_verified("big", tmp_path / "copy", stored.size, stored.sha256)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
