"""Every rule of the schema on a real API server: an object that passes, one that does not, and the message it gets."""

import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from magistral_api import API_VERSION
from magistral_api.checkpoint import CheckpointSpec
from magistral_api.run import (
    RL,
    SFT,
    Curation,
    CurriculumStage,
    Difficulty,
    Generation,
    GradedBy,
    MagistralRunSpec,
    Teacher,
)
from magistral_api.runtime import MagistralRuntimeSpec
from magistral_operator.kinds import BY_NAME, CHECKPOINT, RUN, RUNTIME, Kind
from tests.control_plane.cluster import DIGEST, Api, Manifest, runtime

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPTS = [{"uri": "s3://magistral/p.jsonl"}]
RL_PART = {"prompts": PROMPTS, "steps": 40, "batchSize": 16, "groupSize": 4}
SFT_PART = {"batchSize": 8, "selection": {"suite": "suite"}}
GRADED = {"gradedBy": {"runRef": {"name": "grader"}}}
CURATION = {"teacher": {"runRef": {"name": "teacher"}}}


def run(paradigm: str = "RL", name: str = "one", without: str = "", **spec: Any) -> Manifest:
    parts: dict[str, Any] = {}
    if paradigm in ("SFT", "SFTThenRL"):
        parts |= {"curation": CURATION, "sft": SFT_PART}
    if paradigm in ("RL", "SFTThenRL"):
        parts["rl"] = RL_PART
    whole = {"paradigm": paradigm, "runtimeRef": {"name": "cpu"}, "baseModel": {"uri": "s3://magistral/models/base"},
             "evaluation": {"suites": [{"name": "suite"}]}} | parts | spec
    whole.pop(without, None)
    return {"apiVersion": API_VERSION, "kind": "MagistralRun", "metadata": {"name": name, "namespace": "default"},
            "spec": whole}


def rl(**fields: Any) -> Manifest:
    return run("RL", rl=RL_PART | fields)


def prompts(**fields: Any) -> Manifest:
    """An RL run with one file of prompts that is prepared so."""
    return rl(prompts=[PROMPTS[0] | fields])


def sft(**fields: Any) -> Manifest:
    return run("SFT", sft=SFT_PART | fields)


def device(kind: str, processes: int) -> Manifest:
    made = runtime("cpu")
    made["spec"] |= {"device": kind, "processesPerPod": processes}
    return made


CREATED: dict[str, tuple[Kind, Manifest, Manifest, str]] = {
    "a run's name is short": (RUN, run(name="a" * 40), run(name="a" * 41), "metadata.name must have at most 40"),
    "a run's name begins with a letter": (RUN, run(name="a1"), run(name="1a"), "a DNS label that begins with a letter"),
    "SFT needs a curation": (RUN, run("SFT"), run("SFT", without="curation"), "spec.curation is required"),
    "SFT needs its part": (RUN, run("SFT"), run("SFT", without="sft"), "spec.sft is required"),
    "RL needs its part": (RUN, run("RL"), run("RL", without="rl"), "spec.rl is required"),
    "SFTThenRL needs both": (RUN, run("SFTThenRL"), run("SFTThenRL", without="rl"), "spec.rl is required"),
    "RL curates nothing": (RUN, run("RL"), run("RL", curation=CURATION), "spec.curation and spec.sft have no meaning"),
    "evaluation trains nothing": (
        RUN, run("Evaluate"), run("Evaluate", rl=RL_PART), "spec.rl has no meaning for paradigms SFT and Evaluate"),
    "the selection suite is evaluated": (
        RUN, sft(), sft(selection={"suite": "other"}), "sft.selection.suite must be one of evaluation.suites"),
    "a teacher is a run or a prefix": (
        RUN, run("SFT", curation={"teacher": {"uri": "s3://magistral/ledger"}}),
        run("SFT", curation={"teacher": {"uri": "s3://magistral/ledger", "runRef": {"name": "t"}}}),
        "set exactly one of runRef and uri"),
    "a generation is a run or a prefix": (
        RUN, run("SFT", curation={"generations": [{"runRef": {"name": "answers"}}, {"uri": "s3://magistral/answers"}]}),
        run("SFT", curation={"generations": [{}]}), "set exactly one of runRef and uri"),
    "there is something to curate": (
        RUN, run("SFT", curation={"generations": [{"uri": "s3://magistral/answers"}]}),
        run("SFT", curation={"generations": []}), "set teacher, generations or both"),
    "a word or two in common is no contamination": (
        RUN, run("SFT", curation=CURATION | {"decontamination": {"ngram": 8}}),
        run("SFT", curation=CURATION | {"decontamination": {"ngram": 2}}), "spec.curation.decontamination.ngram"),
    "an SFT batch is shared by its workers": (
        RUN, sft(workers=4), sft(workers=3), "sft.batchSize must be a multiple of sft.workers"),
    "SFT selects by AIME'24 unless told otherwise": (
        RUN, run("SFT", sft={}, evaluation={"suites": [{"name": "aime24"}]}), run("SFT", sft={}),
        "sft.selection.suite must be one of evaluation.suites"),
    "the longest SFT row fits a microbatch": (
        RUN, sft(maxTokens=64, microbatchTokens=64), sft(maxTokens=65, microbatchTokens=64),
        "sft.maxTokens must not exceed sft.microbatchTokens"),
    "an RL batch is made of whole groups": (
        RUN, rl(groupSize=8), rl(groupSize=3), "rl.batchSize must be a multiple of rl.groupSize"),
    "an RL batch is shared by the trainers": (
        RUN, rl(trainers=8), rl(trainers=3), "rl.batchSize must be a multiple of rl.trainers"),
    "only the upper clip is raised": (
        RUN, rl(epsilonLow=0.3), rl(epsilonLow=0.4), "rl.epsilonLow must not exceed rl.epsilonHigh"),
    "graded answers are a run's or a prefix": (
        RUN, prompts(difficulty={"gradedBy": {"uri": "s3://magistral/graded"}}),
        prompts(difficulty={"gradedBy": {"uri": "s3://magistral/graded", "runRef": {"name": "g"}}}),
        "set exactly one of runRef and uri"),
    "some pass rate is between the bounds": (
        RUN, prompts(difficulty=GRADED | {"minPassRate": 0.5, "maxPassRate": 0.6}),
        prompts(difficulty=GRADED | {"minPassRate": 0.9}), "difficulty.minPassRate must be below difficulty.maxPassRate"),
    "a language is asked for once": (
        RUN, prompts(languages=["python", "cpp"]), prompts(languages=["cpp", "cpp"]), "Duplicate value"),
    "a checkpoint is made before the end": (
        RUN, rl(checkpointEvery=40), rl(checkpointEvery=41), "rl.checkpointEvery must not exceed rl.steps"),
    "the longest completion fits a microbatch": (
        RUN, rl(maxUnpenalizedTokens=96, cacheTokens=32, microbatchTokens=128),
        rl(maxUnpenalizedTokens=97, cacheTokens=32, microbatchTokens=128),
        "rl.microbatchTokens must hold the longest completion"),
    "stages of a curriculum are in order": (
        RUN, rl(curriculum=[{"fromStep": 5, "asyncRatio": 1.5}, {"fromStep": 9, "asyncRatio": 1}]),
        rl(curriculum=[{"fromStep": 9, "asyncRatio": 1.5}, {"fromStep": 5, "asyncRatio": 1}]),
        "rl.curriculum must be in ascending order of fromStep"),
    "stages of a curriculum begin at different steps": (
        RUN, rl(curriculum=[{"fromStep": 5, "batchSize": 8}]),
        rl(curriculum=[{"fromStep": 5, "batchSize": 8}, {"fromStep": 5, "batchSize": 16}]), "Duplicate value"),
    "the first stage of a curriculum is the fields beside it": (
        RUN, rl(curriculum=[{"fromStep": 2, "batchSize": 8}]), rl(curriculum=[{"fromStep": 1, "batchSize": 8}]),
        "spec.rl.curriculum[0].fromStep"),
    "a stage of a curriculum changes something": (
        RUN, rl(curriculum=[{"fromStep": 5, "maxUnpenalizedTokens": 64}]), rl(curriculum=[{"fromStep": 5}]),
        "rl.curriculum: a stage without"),
    "the batch of a stage is made of whole groups": (
        RUN, rl(curriculum=[{"fromStep": 5, "batchSize": 12}]), rl(curriculum=[{"fromStep": 5, "batchSize": 10}]),
        "rl.curriculum: every batchSize must be a multiple of rl.groupSize"),
    "the batch of a stage is shared by the trainers": (
        RUN, rl(trainers=8, curriculum=[{"fromStep": 5, "batchSize": 8}]),
        rl(trainers=8, curriculum=[{"fromStep": 5, "batchSize": 12}]),
        "rl.curriculum: every batchSize must be a multiple of rl.trainers"),
    "the longest completion of a stage fits a microbatch": (
        RUN, rl(maxUnpenalizedTokens=64, cacheTokens=32, microbatchTokens=128,
                curriculum=[{"fromStep": 5, "maxUnpenalizedTokens": 96}]),
        rl(maxUnpenalizedTokens=64, cacheTokens=32, microbatchTokens=128,
           curriculum=[{"fromStep": 5, "maxUnpenalizedTokens": 97}]),
        "rl.curriculum: rl.microbatchTokens must hold the longest completion of every stage"),
    "processes do not share cores": (
        RUNTIME, device("cuda", 8), device("cpu", 8), "processesPerPod must be 1 when device is cpu"),
    # Not CEL, but the same promise: what is wrong is refused, and the answer names it.
    "a wrong field is refused": (RUN, rl(), rl(batchsize=16), 'unknown field "spec.rl.batchsize"'),
    "a wrong URI is refused": (RUN, run(), run(baseModel={"uri": "http://x/y"}), "spec.baseModel.uri"),
    "a number out of range is refused": (RUN, rl(temperature=1), rl(temperature=3), "spec.rl.temperature"),
    "a wrong duration is refused": (
        RUN, run(activeDeadline="12h"), run(activeDeadline="12 hours"), "spec.activeDeadline"),
    "suites are named once": (
        RUN, run(), run(evaluation={"suites": [{"name": "suite"}, {"name": "suite"}]}), "Duplicate value"),
    "a store is an http address": (RUNTIME, device("cpu", 1), {**runtime("cpu"), "spec": runtime("cpu")["spec"] | {
        "storage": {"endpoint": "store:9000", "bucket": "magistral", "credentialsSecretRef": {"name": "s"}}}},
        "spec.storage.endpoint"),
}


def post(api: Api, kind: Kind, manifest: Manifest) -> httpx.Response:
    """Create without keeping it, as strict about unknown fields as kubectl is."""
    return api.http.post(kind.path(manifest["metadata"].get("namespace")), json=manifest,
                         params={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize("sentence", list(CREATED))
def test_when_created(api: Api, sentence: str) -> None:
    kind, good, bad, message = CREATED[sentence]
    accepted, refused = post(api, kind, good), post(api, kind, bad)
    assert accepted.is_success, accepted.text
    assert refused.status_code in (400, 422)
    assert message in refused.json()["message"]


RESIZED = "spec.rl.trainers may change only while the run is suspended"
RESCHEDULED = "spec.rl.curriculum may change only while the run is suspended"
IMMUTABLE: dict[str, tuple[str, Manifest, Manifest]] = {
    "the paradigm stays": (
        "RL", {"suspend": True}, {"paradigm": "Evaluate", "rl": None}),
    "the base model stays": ("RL", {"rl": {"generators": 4}}, {"baseModel": {"uri": "s3://magistral/other"}}),
    "the runtime stays": ("RL", {"rl": {"verifiers": 4}}, {"runtimeRef": {"name": "other"}}),
    "the seed stays": ("RL", {"activeDeadline": "1h"}, {"seed": 1}),
    "the curation stays": ("SFT", {"ttlAfterFinished": "1h"}, {"curation": {"maxGenerationsPerProblem": 1}}),
    "SFT stays": ("SFT", {"failurePolicy": {"maxRestarts": 9}}, {"sft": {"epochs": 9}}),
    "the RL batch stays": ("RL", {"rl": {"steps": 80}}, {"rl": {"batchSize": 32}}),
    "the RL group stays": ("RL", {"rl": {"generators": 2}}, {"rl": {"groupSize": 8}}),
    "the prompts stay": ("RL", {"study": "s"}, {"rl": {"prompts": [{"uri": "s3://magistral/q.jsonl"}]}}),
}


@pytest.fixture(scope="module")
def stored(api: Api) -> dict[str, Manifest]:
    """One run a paradigm in the store, by paradigm."""
    made = {}
    for paradigm in ("RL", "SFT"):
        made[paradigm] = run(paradigm, name=f"rules-{paradigm.lower()}")
        api.create(RUN, made[paradigm])
    return made


@pytest.mark.parametrize("sentence", list(IMMUTABLE))
def test_when_changed(api: Api, stored: dict[str, Manifest], sentence: str) -> None:
    paradigm, good, bad = IMMUTABLE[sentence]
    path = RUN.path("default", stored[paradigm]["metadata"]["name"])

    def patch(spec: Manifest) -> httpx.Response:
        return api.http.patch(path, json={"spec": spec}, params={"dryRun": "All"},
                              headers={"Content-Type": "application/merge-patch+json"})

    accepted, refused = patch(good), patch(bad)
    assert accepted.is_success, accepted.text
    assert refused.status_code == 422
    assert "immutable once the run exists" in refused.json()["message"]


def test_the_number_of_trainers_changes_only_while_the_run_is_suspended(api: Api) -> None:
    made = run("RL", name="resized")
    api.create(RUN, made)

    def patch(**spec: Any) -> httpx.Response:
        return api.http.patch(RUN.path("default", "resized"), json={"spec": spec},
                              headers={"Content-Type": "application/merge-patch+json"})

    for refused in (patch(rl={"trainers": 2}), patch(suspend=True, rl={"trainers": 2})):
        assert refused.status_code == 422
        assert RESIZED in refused.json()["message"]
    assert patch(suspend=True).is_success
    assert RESIZED in patch(suspend=False, rl={"trainers": 2}).json()["message"]
    assert patch(rl={"trainers": 2}).is_success
    assert patch(suspend=False).is_success
    assert "must be a multiple of rl.trainers" in patch(suspend=True, rl={"trainers": 3}).json()["message"]


def test_the_curriculum_changes_only_while_the_run_is_suspended(api: Api) -> None:
    api.create(RUN, run("RL", name="rescheduled", rl=RL_PART | {"curriculum": [{"fromStep": 5, "batchSize": 8}]}))

    def patch(**spec: Any) -> httpx.Response:
        return api.http.patch(RUN.path("default", "rescheduled"), json={"spec": spec},
                              headers={"Content-Type": "application/merge-patch+json"})

    later = {"curriculum": [{"fromStep": 9, "batchSize": 8}]}
    for refused in (patch(rl=later), patch(rl={"curriculum": []}), patch(suspend=True, rl=later)):
        assert refused.status_code == 422
        assert RESCHEDULED in refused.json()["message"]
    assert patch(suspend=True).is_success
    assert RESCHEDULED in patch(suspend=False, rl=later).json()["message"]
    assert patch(rl=later).is_success
    assert patch(suspend=False).is_success


def test_a_checkpoint_never_changes(api: Api) -> None:
    spec = {"run": "one", "runUid": "u", "stage": "rl", "step": 1, "digest": DIGEST, "uri": "s3://magistral/x",
            "sizeBytes": 1}
    api.create(CHECKPOINT, {"apiVersion": API_VERSION, "kind": "Checkpoint",
                            "metadata": {"name": "rules", "namespace": "default"}, "spec": spec})
    merge = {"Content-Type": "application/merge-patch+json"}
    path = CHECKPOINT.path("default", "rules")
    assert api.http.patch(path, json={"metadata": {"labels": {"a": "b"}}}, headers=merge).is_success
    refused = api.http.patch(path, json={"spec": {"digest": "sha256:" + "b" * 64}}, headers=merge)
    assert "a Checkpoint is immutable" in refused.json()["message"]


def test_an_object_that_the_operator_has_not_seen_is_not_taken_for_a_finished_one(api: Api) -> None:
    commit = {"apiVersion": API_VERSION, "kind": "Checkpoint", "metadata": {"name": "unseen", "namespace": "default"}, "spec": {
        "run": "one", "runUid": "u", "stage": "rl", "step": 1, "digest": DIGEST, "uri": "s3://magistral/x", "sizeBytes": 1}}
    api.create(CHECKPOINT, commit)
    ready = (api.get(CHECKPOINT, "default", "unseen") or {})["status"]["conditions"]
    assert [(one["type"], one["status"]) for one in ready] == [("Ready", "Unknown")]
    answer = post(api, RUN, run()).json()
    assert answer["status"]["observedGeneration"] < answer["metadata"]["generation"]


def test_every_rule_of_the_models_is_tried_here() -> None:
    tried = [message for *_, message in CREATED.values()]
    tried += [RESIZED, RESCHEDULED, "immutable once the run exists", "a Checkpoint is immutable"]
    models = (MagistralRunSpec, RL, CurriculumStage, SFT, Curation, Teacher, Generation, GradedBy, Difficulty,
              MagistralRuntimeSpec, CheckpointSpec)
    rules = [rule.message for model in models for rule in model.cel]
    assert [message for message in rules if not any(part in message for part in tried)] == []
    assert len(rules) >= 15


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda file: file.stem)
def test_the_api_accepts_the_example(api: Api, file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        if document and document["kind"] in BY_NAME:
            manifest = copy.deepcopy(document)
            kind = BY_NAME[manifest["kind"]]
            if kind.namespaced:
                manifest["metadata"]["namespace"] = "default"
            response = post(api, kind, manifest)
            assert response.is_success, response.text
