"""Preflight against a real store: each thing that is not as the run says is told with reason, field and remedy."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from dev.cluster.minio import Store
from magistral_api.manifest import Manifest, ManifestObject
from magistral_api.problems import Problem
from magistral_api.runtime import Storage
from magistral_workloads.checkpoints.writer import commit_manifest
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.preflight import Findings, check
from magistral_workloads.storage import ObjectStore, StorageError
from tests.unit.config import UID, stage_config

PROBLEM = Problem(id="1", kind="maths", prompt="1+1?", answer="2").model_dump_json(by_alias=True).encode() + b"\n"
MODEL = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def environ(s3_server: Store) -> Mapping[str, str]:
    return {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}


@pytest.fixture
def ready(s3: ObjectStore) -> ObjectStore:
    """A store with all that the smallest run names."""
    for name in MODEL:
        s3.put(f"models/base/{name}", name.encode())
    s3.put("prompts/maths.jsonl", PROBLEM)
    s3.put("suites/aime24.jsonl", PROBLEM)
    return s3


def published(s3: ObjectStore) -> str:
    """Give the base model a manifest; returns its digest."""
    stored = {name: s3.put(f"models/base/{name}", name.encode()) for name in MODEL}
    return commit_manifest(s3, "models/base", Manifest(run_uid="", stage="base", step=0, objects=[
        ManifestObject(key=name, size=found.size, sha256=found.sha256) for name, found in stored.items()])).digest


def fault(storage: Storage, environ: Mapping[str, str], **fields: Any) -> UserFault:
    with pytest.raises(UserFault) as raised:
        check(stage_config("preflight", storage, **fields), environ)
    return raised.value


def test_a_run_whose_inputs_are_there_passes_and_leaves_nothing_behind(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    before = [found.key for found in ready.list("")]
    findings = check(stage_config("preflight", s3_storage), environ)
    assert findings.capabilities.conditional_put
    assert findings.base_digest is None
    assert [found.key for found in ready.list("")] == before


def test_the_digest_of_the_base_model_is_found_and_compared(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    digest = published(ready)
    model = {"uri": ready.uri("models/base"), "digest": digest}
    findings = check(stage_config("preflight", s3_storage, spec={"baseModel": model}), environ)
    assert findings == Findings(findings.capabilities, digest)
    other = "sha256:" + "0" * 64
    found = fault(s3_storage, environ, spec={"baseModel": model | {"digest": other}})
    assert found.reason == "BaseModelDigestMismatch"
    assert "spec.baseModel.digest" in found.message
    assert digest in found.message
    assert other in found.message


def test_a_digest_for_a_model_without_a_manifest_is_a_mismatch(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    model = {"uri": ready.uri("models/base"), "digest": "sha256:" + "0" * 64}
    assert fault(s3_storage, environ, spec={"baseModel": model}).reason == "BaseModelDigestMismatch"


@pytest.mark.parametrize("missing", MODEL)
def test_a_base_model_that_lacks_a_part_is_told_which(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str], missing: str) -> None:
    ready.delete(f"models/base/{missing}")
    found = fault(s3_storage, environ)
    assert found.reason == "BaseModelNotFound"
    assert missing.removeprefix("model") in found.message


def test_a_base_model_that_lost_an_object_of_its_manifest_is_not_there(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    published(ready)
    ready.put("models/base/tokenizer.json", b"shorter")
    found = fault(s3_storage, environ)
    assert found.reason == "BaseModelNotFound"
    assert "tokenizer.json as manifest.json has it" in found.message


@pytest.mark.parametrize("uri", ["s3://{bucket}/models/lost", "s3://no-such-bucket/models/base"])
def test_a_base_model_that_is_not_there_is_named(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str], uri: str) -> None:
    named = uri.format(bucket=ready.bucket)
    found = fault(s3_storage, environ, spec={"baseModel": {"uri": named}})
    assert found.reason == "BaseModelNotFound"
    assert f"MagistralRun/student spec.baseModel.uri: found no objects under {named}" in found.message


@pytest.mark.parametrize("named", [
    ("prompts/maths.jsonl", "Prompts", "spec.rl.prompts[0].uri"),
    ("suites/aime24.jsonl", "Suite", "spec.evaluation.suites[aime24].uri"),
])
def test_an_input_that_is_lost_empty_or_of_another_kind_is_named(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str], named: tuple[str, str, str]) -> None:
    key, reason, field = named
    ready.delete(key)
    lost = fault(s3_storage, environ)
    ready.put(key, b"")
    empty = fault(s3_storage, environ)
    ready.put(key, json.dumps({"id": "1", "kind": "poetry", "prompt": "x"}).encode())
    wrong = fault(s3_storage, environ)
    ready.put(key, b"\x80\n")
    binary = fault(s3_storage, environ)
    assert [lost.reason, empty.reason] == [f"{reason}NotFound"] * 2
    assert [wrong.reason, binary.reason] == [f"{reason}Invalid"] * 2
    assert "field kind" in wrong.message
    assert all(field in found.message and ready.uri(key) in found.message for found in (lost, empty, wrong, binary))


def test_traces_and_general_data_that_are_not_there_are_named_together(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    curation = {"teacher": {"uri": ready.uri("teacher")}, "generalInstruction": {"uri": ready.uri("general.jsonl")}}
    found = fault(s3_storage, environ, curation=curation)
    assert found.reason == "GeneralDataNotFound"
    assert "spec.curation.generalInstruction.uri" in found.message
    assert "spec.curation.teacher.uri" in found.message
    ready.put("general.jsonl", b'{"prompt": "p", "response": "r", "score": 1}\n')
    assert fault(s3_storage, environ, curation=curation).reason == "TracesNotFound"
    ready.put("teacher/000001.jsonl", b"{}\n")
    check(stage_config("preflight", s3_storage, curation=curation), environ)


def test_graded_answers_that_are_not_there_are_named_with_their_file_of_prompts(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    prompts = {"uri": ready.uri("prompts/maths.jsonl")}
    graded = prompts | {"difficulty": {"gradedBy": {"uri": ready.uri("graded")}}}
    found = fault(s3_storage, environ, spec={"rl": {"prompts": [prompts, graded]}})
    assert found.reason == "AnswersNotFound"
    assert f"spec.rl.prompts[1].difficulty.gradedBy.uri: found no *.jsonl under {ready.uri('graded')}" in found.message
    ready.put("graded/000001.jsonl", b"{}\n")
    check(stage_config("preflight", s3_storage, spec={"rl": {"prompts": [prompts, graded]}}), environ)


def test_generations_that_are_not_there_are_all_named(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    curation = {"generations": [{"runRef": {"name": "thoughts"}}, {"uri": ready.uri("maths")}, {"uri": ready.uri("code")}]}
    ready.put("code/about.json", b"{}")
    found = fault(s3_storage, environ, curation=curation)
    assert found.reason == "TracesNotFound"
    assert all(f"spec.curation.generations[{index}].uri" in found.message for index in (1, 2))
    assert "generations[0]" not in found.message
    for name in ("maths", "code"):
        ready.put(f"{name}/000000.jsonl", b"{}\n")
    check(stage_config("preflight", s3_storage, curation=curation), environ)


def test_a_teacher_that_is_a_run_is_the_operators_to_wait_for(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    assert ready.exists()
    check(stage_config("preflight", s3_storage, curation={"teacher": {"runRef": {"name": "teacher"}}}), environ)


def test_the_first_row_is_looked_at_however_long_it_is_and_the_others_are_left_to_the_stage(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    long = Problem(id="1", kind="maths", prompt="x" * 3_000_000, answer="1").model_dump_json(by_alias=True).encode()
    ready.put("prompts/maths.jsonl", long + b"\nno problem\n" + PROBLEM)
    check(stage_config("preflight", s3_storage), environ)
    ready.put("prompts/maths.jsonl", long[:-1] + b"\n" + PROBLEM)
    assert fault(s3_storage, environ).reason == "PromptsInvalid"


def test_a_bucket_that_is_not_there_and_a_wrong_key_are_told_before_anything_else(
        s3_storage: Storage, environ: Mapping[str, str]) -> None:
    lost = s3_storage.model_copy(update={"bucket": "no-such-bucket"})
    for storage, credentials, reason in (
            (lost, environ, "BucketNotFound"), (s3_storage, {}, "CredentialsInvalid"),
            (s3_storage, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "AccessDenied")):
        with pytest.raises(StorageError) as raised:
            check(stage_config("preflight", storage), credentials)
        assert raised.value.reason == reason


def test_a_dead_endpoint_is_told_without_a_second_try(s3_storage: Storage, environ: Mapping[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = s3_storage.model_copy(update={"endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        listener.settimeout(0)
        with pytest.raises(StorageError, match="StoreUnreachable"):
            check(stage_config("preflight", dead), environ)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_preflight_and_curation_start_without_torch_and_its_like() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import magistral_workloads.recipe.preflight, magistral_workloads.recipe.curate, sys;"
         "print(*{name.partition('.')[0] for name in sys.modules})"], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "transformers", "vllm", "deepspeed", "kubernetes"} & set(told.stdout.split())


def test_the_run_whose_uid_is_given_is_the_only_place_that_is_written_to(
        ready: ObjectStore, s3_storage: Storage, environ: Mapping[str, str]) -> None:
    ready.put(f"runs/{UID}/rl/rollouts/000001.jsonl", b"kept")
    check(stage_config("preflight", s3_storage), environ)
    assert ready.get(f"runs/{UID}/rl/rollouts/000001.jsonl") == b"kept"
