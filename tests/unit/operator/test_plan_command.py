"""`magistral plan` offline: what it prints of the examples, and what it says of bad files."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from magistral_api.config import StageConfig
from magistral_api.names import PARADIGM_STAGES
from magistral_operator.cli import main
from magistral_operator.plan import Key, Manifest, key_of
from magistral_operator.preview import NotPlannedError, preview
from tests.unit.operator.world import OUTPUTS, PREPARING, World, preparing, reach, run, runtime, with_prepare

EXAMPLES = Path(__file__).parents[3] / "examples"
EXAMPLE = ["-f", str(EXAMPLES / "magistral-small.yaml"), "-f", str(EXAMPLES / "runtime-h100.yaml")]
SECRET_WORD = "hunter2"
Out = pytest.CaptureFixture[str]


def plan(capsys: Out, *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: Out, *arguments: str) -> list[str]:
    """What the command says when it cannot go on."""
    assert main(["plan", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix("error: ") for line in err.splitlines()]


def written(folder: Path, *documents: Manifest) -> list[str]:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return ["-f", str(file)]


def test_the_paper_s_run_is_printed_with_every_object_of_every_stage(capsys: Out) -> None:
    found = list(yaml.safe_load_all(plan(capsys, *EXAMPLE)))
    assert Counter(one["kind"] for one in found) == {
        "Secret": 1, "ServiceAccount": 1, "Role": 1, "RoleBinding": 1, "Service": 5, "NetworkPolicy": 2,
        "PodDisruptionBudget": 3, "ConfigMap": 9, "Job": 6, "Deployment": 2, "StatefulSet": 2, "Checkpoint": 2}
    assert all(one["metadata"]["namespace"] == "default" for one in found)
    trainer = next(one for one in found if key_of(one) == ("StatefulSet", "magistral-small-trainer"))
    assert trainer["spec"]["replicas"] == 8


def test_the_teacher_s_run_is_planned_with_its_curriculum(capsys: Out) -> None:
    files = [argument for name in ("magistral-medium", "runtime-h100") for argument in ("-f", str(EXAMPLES / f"{name}.yaml"))]
    found = {key_of(one): one for one in yaml.safe_load_all(plan(capsys, *files))}
    config = StageConfig.model_validate_json(found["ConfigMap", "magistral-medium-rl"]["data"]["config.json"])
    assert config.spec.rl is not None
    settings = [config.spec.rl.at(step) for step in (1, 201, 501)]
    assert [rl.max_unpenalized_tokens // 1024 for rl in settings] == [16, 24, 32]
    assert [rl.batch_size // 1024 for rl in settings] == [8, 4, 2]


@pytest.mark.parametrize("name", ["teacher", "student", "smollm"])
def test_the_demo_s_runs_can_be_planned(capsys: Out, name: str) -> None:
    files = [argument for file in (name, "runtime", "store") for argument in ("-f", str(EXAMPLES / "demo" / f"{file}.yaml"))]
    text = plan(capsys, *files)
    assert {"Job", "Deployment"} <= {one["kind"] for one in yaml.safe_load_all(text)}


def test_one_stage_can_be_seen_with_all_that_exists_while_it_runs(capsys: Out) -> None:
    found = [key_of(one) for one in yaml.safe_load_all(plan(capsys, *EXAMPLE, "--stage", "rl"))]
    workloads = {name.removeprefix("magistral-small-") for kind, name in found
                 if kind in ("Job", "StatefulSet", "Deployment")}
    assert workloads == {"conductor", "trainer", "generator", "verifier"}


def test_the_summary_adds_up_gpus_by_role(capsys: Out) -> None:
    lines = [line.split() for line in plan(capsys, *EXAMPLE, "--summary").splitlines()]
    head = next(line for line in lines if line[:1] == ["ROLE"])
    gpus = {line[0]: line[-1] for line in lines if line[0:1] and line[0] in ("trainer", "generator", "verifier")}
    assert head[-1] == "nvidia.com/gpu"
    assert gpus == {"trainer": "64", "generator": "64", "verifier": "0"}
    assert next(line for line in lines if line[:2] == ["at", "once"])[2:] == ["137", "1540", "15152Gi", "128"]


@pytest.mark.parametrize("paradigm", list(PARADIGM_STAGES))
def test_the_plan_is_what_the_operator_then_creates(paradigm: str) -> None:
    planned: set[Key] = {key_of(one) for stage in preview(run(paradigm), runtime()) for one in stage.objects
                         if one["kind"] not in ("Secret", "Checkpoint")}
    world, created = World(paradigm).settle(), set[Key]()
    for stage in PARADIGM_STAGES[paradigm]:
        created |= set(world.children)
        world.report(stage, **OUTPUTS[stage]).settle()
    assert planned == {key for key in created if key[0] != "Checkpoint"}


@pytest.mark.parametrize("paradigm", PREPARING)
def test_the_plan_has_the_stage_that_prepares_prompts(paradigm: str) -> None:
    world = preparing(World(paradigm))
    stages = preview(world.run, runtime())
    assert [stage.name for stage in stages] == with_prepare(paradigm)
    planned = {key_of(one) for stage in stages for one in stage.objects if one["kind"] not in ("Secret", "Checkpoint")}
    created = set[Key]()
    for stage in with_prepare(paradigm):
        created |= set(reach(world, stage).children)
    assert planned == {key for key in created if key[0] != "Checkpoint"}


def test_pods_of_the_plan_are_those_of_the_operator() -> None:
    world = World("Evaluate").settle()
    (planned,) = (one for one in preview(world.run, runtime())[0].new if one["kind"] == "Job")
    assert planned["spec"] == world.child("Job", "preflight")["spec"]


def test_a_suspended_run_is_planned_as_it_will_be_once_resumed() -> None:
    assert preview(run(suspend=True), runtime()) == preview(run(), runtime())


def test_what_only_a_real_run_knows_is_marked(capsys: Out) -> None:
    text = plan(capsys, *EXAMPLE)
    by_key = {key_of(one): one for one in yaml.safe_load_all(text)}
    assert text.startswith("# MagistralRun magistral-small in namespace default")
    assert "PLACEHOLDER" in text.splitlines()[1]
    assert '"datasetUri": "s3://magistral/PLACEHOLDER/curate"' in by_key["ConfigMap", "magistral-small-sft"]["data"][
        "config.json"]
    for one in by_key.values():
        assert one["metadata"]["ownerReferences"][0]["uid"] == "PLACEHOLDER-uid"


def test_no_secret_is_printed(capsys: Out, tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": {"accessKey": SECRET_WORD}}
    files = written(tmp_path, secret, run(), runtime())
    text = plan(capsys, *files)
    assert SECRET_WORD not in text
    (token,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "Secret")
    assert set(token) == {"apiVersion", "kind", "metadata", "type", "immutable"}
    pasted = runtime()
    pasted["spec"]["storage"]["secretKey"] = SECRET_WORD
    (line,) = refused(capsys, *written(tmp_path, run(), pasted))
    assert "spec.storage.secretKey: unknown field" in line
    assert SECRET_WORD not in line
    (tmp_path / "run.yaml").write_text(f"kind: Secret\ndata: {{password: {SECRET_WORD}\n")
    assert SECRET_WORD not in "".join(refused(capsys, "-f", str(tmp_path / "run.yaml")))


def with_rl(**fields: Any) -> Manifest:
    made = run()
    made["spec"]["rl"] |= fields
    return made


def without(part: str, paradigm: str) -> Manifest:
    made = run(paradigm)
    del made["spec"][part]
    return made


BAD: dict[str, tuple[list[Any], str]] = {
    "a misspelt field": (
        [with_rl(batchsize=16), runtime()],
        "run.yaml, document 1: MagistralRun one: spec.rl.batchsize: unknown field, expected perhaps 'batchSize'; rename it"),
    "a field in Python's spelling": (
        [with_rl(group_size=4), runtime()],
        "run.yaml, document 1: MagistralRun one: spec.rl.group_size: unknown field, expected perhaps 'groupSize'; rename it"),
    "a field of nowhere": (
        [runtime(trainer={"zzz": 1}), run()],
        "run.yaml, document 1: MagistralRuntime cpu: spec.roles.trainer.zzz: unknown field, expected one of args, env, "),
    "a text for a number": (
        [with_rl(steps="40"), runtime()],
        "run.yaml, document 1: MagistralRun one: spec.rl.steps: found '40', expected: Input should be a valid integer; "),
    "a number out of range": (
        [with_rl(temperature=3.5), runtime()], "spec.rl.temperature: found 3.5, expected: Input should be less than or "),
    "a missing field": (
        [without("baseModel", "RL"), runtime()], "spec.baseModel: found nothing, expected a value; add the field"),
    "a missing part": (
        [without("sft", "SFT"), runtime()],
        "spec.sft: found nothing, expected a value: paradigm SFT has a stage sft; add it"),
    "a part without meaning": (
        [run("Evaluate", rl=run()["spec"]["rl"]), runtime()],
        "spec.rl: found a value, expected none: paradigm Evaluate has no stage rl; remove it"),
    "another version": (
        [run() | {"apiVersion": "training.magistral.dev/v9"}],
        "MagistralRun one: apiVersion: found 'training.magistral.dev/v9', expected 'training.magistral.dev/v1alpha1'"),
    "no name": (
        [{**run(), "metadata": {}}], "run.yaml: MagistralRun: metadata.name: found nothing, expected a name; add one"),
    "the same name twice": (
        [run(), run(), runtime()], "run.yaml, document 2: MagistralRun one: found twice, first in "),
    "no run": ([runtime()], "found no MagistralRun, expected at least one; name its file with -f"),
    "no object": ([["a"]], "run.yaml: found a list, expected a Kubernetes object with apiVersion, kind and metadata"),
    "another runtime": (
        [run(runtimeRef={"name": "gpu"}), runtime()],
        "spec.runtimeRef.name: found 'gpu', expected a MagistralRuntime of the files (cpu); name its file with -f"),
    "more pods than the runtime allows": (
        [run(), runtime(trainer={"maxReplicas": 1})],
        "run.yaml, document 1: MagistralRun one: TooManyReplicas: spec.rl.trainers: 2 pods asked, at most 1 allowed"),
}


@pytest.mark.parametrize("sentence", list(BAD))
def test_it_names_file_object_field_and_remedy_of(sentence: str, capsys: Out, tmp_path: Path) -> None:
    documents, words = BAD[sentence]
    (line,) = refused(capsys, *written(tmp_path, *documents))
    assert words in line


def test_every_fault_of_all_files_is_told_at_once(capsys: Out, tmp_path: Path) -> None:
    lines = refused(capsys, *written(tmp_path, with_rl(steps=0, batchsize=1), runtime(worker={"image": ""})))
    assert [line.split(": ")[2] for line in lines] == ["spec.rl.steps", "spec.rl.batchsize", "spec.roles.worker.image"]


def test_a_file_that_is_not_there_is_named(capsys: Out) -> None:
    (line,) = refused(capsys, "-f", "nowhere.yaml")
    assert line == "nowhere.yaml: cannot be read: No such file or directory; correct the path after -f"


def test_a_file_that_is_no_yaml_is_told_with_the_place(capsys: Out, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("kind: MagistralRun\nspec: {\n")
    (line,) = refused(capsys, "-f", str(tmp_path / "run.yaml"))
    assert "run.yaml: line 3, column 1: " in line


def test_a_stage_that_the_paradigm_lacks_is_refused(capsys: Out, tmp_path: Path) -> None:
    (line,) = refused(capsys, *written(tmp_path, run(), runtime()), "--stage", "sft")
    assert "--stage: found sft, expected one of preflight, rl, evaluate" in line


def test_a_run_that_would_never_start_is_not_planned() -> None:
    with pytest.raises(NotPlannedError, match=r"WorldSizeMismatch: spec\.rl\.batchSize"):
        preview(run(), runtime(spec={"device": "cuda", "processesPerPod": 16}))


def test_a_run_that_would_stop_at_a_stage_of_its_curriculum_is_not_planned() -> None:
    staged = with_rl(curriculum=[{"fromStep": 20, "batchSize": 20}])
    with pytest.raises(NotPlannedError, match=r"WorldSizeMismatch: spec\.rl\.curriculum\[0\]\.batchSize: 20 sequences"):
        preview(staged, runtime(spec={"device": "cuda", "processesPerPod": 4}))
