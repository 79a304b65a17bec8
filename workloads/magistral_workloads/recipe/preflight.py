"""Before anything is created: is the store usable with these credentials, and is all there that the run names?

Runs where and with what the run will run. Nothing is tried twice, so that a dead endpoint is told within seconds; the
operator starts a failed preflight again with back-off.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from magistral_api.config import StageConfig
from magistral_api.manifest import MANIFEST
from magistral_api.names import run_prefix
from magistral_api.problems import DataFormat
from magistral_api.progress import OUTPUT_BASE_DIGEST
from magistral_api.suites import resolve
from magistral_workloads.algorithm.curation import GeneralRow
from magistral_workloads.checkpoints import Checkpoint
from magistral_workloads.checkpoints.found import read_manifest
from magistral_workloads.datasets.reader import converted, parsed
from magistral_workloads.progress import Reporter, UserFault, run_stage
from magistral_workloads.storage import Capabilities, ObjectStore, StorageError, probe
from magistral_workloads.storage.errors import BUCKET_NOT_FOUND

CONNECT_SECONDS: Final = 1.5
READ_SECONDS: Final = 2.5
TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tekken.json")


@dataclass(frozen=True)
class Findings:
    """What later stages and people want to know of a run that may start."""

    capabilities: Capabilities
    base_digest: str | None


@dataclass(frozen=True)
class Input:
    """A file of rows that the spec names. `reason` begins the reasons: <reason>NotFound, <reason>Invalid."""

    field: str
    uri: str
    reason: str
    rows: Callable[[ObjectStore, str, str], Iterator[object]]
    """Of (store, key, reason). Raises UserFault at a row that is not as expected."""


@dataclass(frozen=True)
class Prefix:
    """A prefix of JSONL objects that the spec names at `field`.uri. `reason`: <reason>NotFound."""

    field: str
    uri: str
    reason: str
    expected: str


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point. Here what the store refuses is the user's to repair."""
    try:
        findings = check(config)
    except StorageError as error:
        raise UserFault(error.reason, error.message) from None
    reporter.update(
        message="; ".join(findings.capabilities.warnings()) or None,
        metrics={"conditionalPut": float(findings.capabilities.conditional_put),
                 "listsAfterWrite": float(findings.capabilities.lists_after_write)},
        outputs={OUTPUT_BASE_DIGEST: findings.base_digest} if findings.base_digest else {})


def check(config: StageConfig, environ: Mapping[str, str] = os.environ) -> Findings:
    """Raises StorageError when the store is not usable; UserFault with every input that is not as it should be."""
    store = ObjectStore.of(config, environ, connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS, retries=0)
    next(store.list(f"{run_prefix(config.run_uid)}/"), None)
    capabilities = probe(store, f"{run_prefix(config.run_uid)}/preflight")
    faults: list[UserFault] = []
    base: Checkpoint | None = None
    try:
        base = base_model(config, store)
    except UserFault as fault:
        faults.append(fault)
    for found in inputs(config):
        try:
            _readable(store, config.run_name, found)
        except UserFault as fault:
            faults.append(fault)
    for prefix in prefixes(config):
        try:
            _filled(store, config.run_name, prefix)
        except UserFault as fault:
            faults.append(fault)
    if faults:
        raise UserFault(faults[0].reason, ". Also: ".join(fault.message for fault in faults))
    return Findings(capabilities, base.digest if base else None)


def base_model(config: StageConfig, store: ObjectStore) -> Checkpoint | None:
    """The base model's manifest, or None when it has none. Raises UserFault when it is no model, or another one."""
    wanted = config.spec.base_model
    where = f"MagistralRun/{config.run_name} spec.baseModel"
    at, prefix = store.locate(wanted.uri)
    sizes = _below(at, prefix)
    made = read_manifest(at, prefix) if MANIFEST in sizes else None
    if wanted.digest and (made is None or made.digest != wanted.digest):
        found = made.digest if made else f"no {MANIFEST}"
        raise UserFault("BaseModelDigestMismatch", f"{where}.digest: found {found} at {wanted.uri}; expected "
                        f"{wanted.digest}. Name the digest of the model that you mean, or leave it out")
    names = {entry.key for entry in made.manifest.objects} if made else set(sizes)
    damaged = [entry.key for entry in made.manifest.objects if sizes.get(entry.key) != entry.size] if made else []
    names = {name.removeprefix("model/") for name in names}
    missing = [what for what, there in (
        ("config.json", "config.json" in names),
        (f"a tokenizer ({', '.join(TOKENIZERS)})", any(name in names for name in TOKENIZERS)),
        ("*.safetensors", any(name.endswith(".safetensors") for name in names)),
        (", ".join(damaged[:3]) + f" as {MANIFEST} has it", not damaged)) if not there]
    if missing:
        found = f"{len(sizes)} objects without {' and without '.join(missing)}" if sizes else "no objects"
        raise UserFault("BaseModelNotFound", f"{where}.uri: found {found} under {wanted.uri}; expected a Hugging Face "
                        "directory with config, tokenizer and safetensors. Upload the model, or name another prefix")
    return made


def inputs(config: StageConfig) -> Iterator[Input]:
    """Every file of rows that the spec names."""
    spec = config.spec
    for index, prompts in enumerate(spec.rl.prompts if spec.rl else ()):
        yield Input(f"spec.rl.prompts[{index}].uri", prompts.uri, "Prompts", _problems(prompts.format))
    for ref in spec.evaluation.suites:
        suite = resolve(ref, config.storage.bucket)
        yield Input(f"spec.evaluation.suites[{ref.name}].uri", suite.uri, "Suite", _problems(suite.format))
    if spec.curation and spec.curation.general_instruction:
        yield Input("spec.curation.generalInstruction.uri", spec.curation.general_instruction.uri, "GeneralData",
                    lambda at, key, reason: parsed(at, key, GeneralRow, reason))


def _problems(data_format: DataFormat) -> Callable[[ObjectStore, str, str], Iterator[object]]:
    return lambda at, key, reason: converted(at, key, data_format, reason)


def prefixes(config: StageConfig) -> Iterator[Prefix]:
    """Every prefix that the spec names. What a run of this cluster leaves is the operator's to wait for."""
    spec = config.spec
    if spec.curation and spec.curation.teacher and spec.curation.teacher.uri:
        yield Prefix("spec.curation.teacher", spec.curation.teacher.uri, "Traces", "the rollout ledger of an RL run")
    for index, generation in enumerate(spec.curation.generations if spec.curation else ()):
        if generation.uri:
            yield Prefix(f"spec.curation.generations[{index}]", generation.uri, "Traces",
                         "the graded answers of an Evaluate run")
    for index, prompts in enumerate(spec.rl.prompts if spec.rl else ()):
        if prompts.difficulty and prompts.difficulty.graded_by.uri:
            yield Prefix(f"spec.rl.prompts[{index}].difficulty.gradedBy", prompts.difficulty.graded_by.uri, "Answers",
                         "the graded answers of an Evaluate run")


def _readable(store: ObjectStore, run_name: str, wanted: Input) -> None:
    """The first row says whether the file is what the spec takes it for; the stage that uses it reads the rest."""
    where = f"MagistralRun/{run_name} {wanted.field}"
    at, key = store.locate(wanted.uri)
    try:
        first = next(wanted.rows(at, key, wanted.reason), None)
    except UserFault as fault:
        raise UserFault(fault.reason, f"{where}: {fault.message}") from None
    if first is None:
        raise UserFault(f"{wanted.reason}NotFound", f"{where}: found an empty object {wanted.uri}; expected at least one "
                        "row. Upload it, or name another")


def _filled(store: ObjectStore, run_name: str, wanted: Prefix) -> None:
    at, prefix = store.locate(wanted.uri)
    if not any(name.endswith(".jsonl") for name in _below(at, prefix)):
        raise UserFault(f"{wanted.reason}NotFound", f"MagistralRun/{run_name} {wanted.field}.uri: found no "
                        f"*.jsonl under {wanted.uri}; expected {wanted.expected}. Name its prefix, or use runRef")


def _below(at: ObjectStore, prefix: str) -> dict[str, int]:
    """Relative key to size of all below a prefix; empty when the bucket is not there either."""
    try:
        return {info.key.removeprefix(f"{prefix}/"): info.size for info in at.list(f"{prefix}/")}
    except StorageError as error:
        # The run's own bucket was tried before: this is another one, and so the input that is not there.
        if error.reason == BUCKET_NOT_FOUND:
            return {}
        raise


if __name__ == "__main__":
    run_stage(run)
