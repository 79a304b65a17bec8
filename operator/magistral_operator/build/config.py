"""The ConfigMaps that pods read: one a stage, one for the servers that outlive stages."""

from magistral_api.config import ModelAt, Services, StageConfig
from magistral_api.names import (
    CONDUCTOR_PORT,
    GENERATOR_PORT,
    RENDEZVOUS_PORT,
    VERIFIER_PORT,
    child,
    progress_config_map,
)
from magistral_api.progress import (
    OUTPUT_BASE_DIGEST,
    OUTPUT_DATASET_URI,
    OUTPUT_MODEL_DIGEST,
    OUTPUT_MODEL_URI,
    OUTPUT_PROMPTS_URI,
)
from magistral_api.status import StageName
from magistral_operator.build.metadata import owned
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import checkpoints, references


class MissingOutputError(Exception):
    """A stage that succeeded did not report what the next one starts from."""


def stage(case: Case, name: StageName, attempt: int) -> Manifest:
    """ConfigMap `<run>-<stage>`. Raises MissingOutputError."""
    config = _config(case, name, attempt).model_copy(update={
        "initial_model": _initial_model(case, name),
        "run_outputs": references.outputs(case, name),
        "prompts_uri": _output(case, "prepare", OUTPUT_PROMPTS_URI) if name == "rl" and case.stage("prepare") else None,
        "dataset_uri": _output(case, "curate", OUTPUT_DATASET_URI) if name == "sft" else None,
        "candidates": _candidates(case, name),
    })
    return owned(case, "ConfigMap", name, stage=name) | {"data": {"config.json": _text(config)}}


def serving(case: Case) -> Manifest:
    """ConfigMap `<run>-serving`: the same from the first stage that needs it to the last, so nothing restarts."""
    config = _config(case, "rl" if case.run.spec.rl else "evaluate", 1)
    return owned(case, "ConfigMap", "serving") | {"data": {"config.json": _text(config)}}


def _config(case: Case, name: StageName, attempt: int) -> StageConfig:
    meta, runtime = case.run.metadata, case.ready_runtime.spec
    return StageConfig(
        run_name=meta.name, run_namespace=meta.namespace, run_uid=meta.uid, run_generation=meta.generation,
        stage=name, attempt=attempt, spec=case.run.spec, storage=runtime.storage, services=_services(case, name),
        device=runtime.device, processes_per_pod=runtime.processes_per_pod,
        progress_config_map=progress_config_map(meta.name), initial_model=_base(case))


def _services(case: Case, name: StageName) -> Services:
    def host(part: str) -> str:
        return f"{child(case.name, part)}.{case.run.metadata.namespace}.svc"

    group = "sft" if name == "sft" else "trainer"
    return Services(
        conductor=f"http://{host('conductor')}:{CONDUCTOR_PORT}",
        verifier=f"http://{host('verifier')}:{VERIFIER_PORT}",
        generators=host("generator"), generator_port=GENERATOR_PORT,
        rendezvous=f"{child(case.name, group)}-0.{host(group)}", rendezvous_port=RENDEZVOUS_PORT)


def _base(case: Case) -> ModelAt:
    source, preflight = case.run.spec.base_model, case.stage("preflight")
    found = preflight.outputs.get(OUTPUT_BASE_DIGEST) if preflight else None
    return ModelAt(uri=source.uri, digest=source.digest or found)


def _initial_model(case: Case, name: StageName) -> ModelAt:
    if name == "rl" and case.stage("select"):
        return _model(case, "select")
    return _base(case)


def _candidates(case: Case, name: StageName) -> dict[str, ModelAt]:
    if name == "select":
        commits = checkpoints.known(case, "sft")
        if not commits:
            raise MissingOutputError("stage sft succeeded without reporting a checkpoint: nothing to select from")
        return {str(commit.step): ModelAt(uri=commit.uri, digest=commit.digest) for commit in commits}
    if name != "evaluate":
        return {}
    columns = {"base": _base(case)}
    if case.stage("select"):
        columns["SFT"] = _model(case, "select")
    if case.stage("rl"):
        columns["SFT+RL" if case.stage("select") else "RL"] = _model(case, "rl")
    return columns


def _model(case: Case, name: StageName) -> ModelAt:
    known = case.stage(name)
    digest = known.outputs.get(OUTPUT_MODEL_DIGEST) if known else None
    return ModelAt(uri=_output(case, name, OUTPUT_MODEL_URI), digest=digest)


def _output(case: Case, name: StageName, key: str) -> str:
    known = case.stage(name)
    value = known.outputs.get(key) if known else None
    if not value:
        raise MissingOutputError(f"stage {name} succeeded without reporting outputs.{key}, which a later stage needs")
    return value


def _text(config: StageConfig) -> str:
    # The failure policy is the operator's: a change of it must not look like a change of the pods' configuration.
    return config.model_dump_json(by_alias=True, exclude_none=True, indent=1, exclude={"spec": {"failure_policy"}})
