"""Deterministic names: labels, children, ports and object keys. Every process derives the same ones."""

from typing import get_args

from magistral_api import GROUP
from magistral_api.run import MagistralRunSpec
from magistral_api.status import StageName

LABEL_RUN = f"{GROUP}/run"
"""Name of the MagistralRun that owns the object."""
LABEL_RUN_UID = f"{GROUP}/run-uid"
"""UID of that run: tells its objects from those of an earlier run with the same name."""
LABEL_ROLE = f"{GROUP}/role"
"""worker, trainer, generator, verifier, conductor."""
LABEL_STAGE = f"{GROUP}/stage"
"""preflight, prepare, curate, sft, select, rl, evaluate."""
LABEL_ATTEMPT = f"{GROUP}/attempt"
"""The attempt of the stage, minted by the operator."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "magistral-operator"
"""Value of managed-by, and the field manager of server-side apply."""

STAGES: tuple[StageName, ...] = get_args(StageName)
PARADIGM_STAGES: dict[str, tuple[StageName, ...]] = {
    "SFT": ("preflight", "curate", "sft", "select", "evaluate"),
    "RL": ("preflight", "rl", "evaluate"),
    "SFTThenRL": ("preflight", "curate", "sft", "select", "rl", "evaluate"),
    "Evaluate": ("preflight", "evaluate"),
}
"""The stages of a paradigm, in order, without prepare."""

CONDUCTOR_PORT = 8000
GENERATOR_PORT = 8000
VERIFIER_PORT = 8000
RENDEZVOUS_PORT = 29500
METRICS_PORT = 9090


def stages_of(spec: MagistralRunSpec) -> tuple[StageName, ...]:
    """The stages of a run, in order: those of its paradigm, and prepare after preflight where its prompts ask for it."""
    first, *rest = PARADIGM_STAGES[spec.paradigm]
    prepares = spec.rl is not None and any(prompts.prepared for prompts in spec.rl.prompts)
    return (first, *(("prepare",) if prepares else ()), *rest)


def child(run: str, part: str) -> str:
    """Name of a child object: `<run>-<part>`. Run names are limited so that it stays a DNS label."""
    return f"{run}-{part}"


def progress_config_map(run: str) -> str:
    return child(run, "progress")


def checkpoint_name(run: str, stage: str, step: int) -> str:
    return f"{run}-{stage}-{step:06d}"


def run_prefix(uid: str) -> str:
    """Everything that a run writes lives under this key prefix of its bucket."""
    return f"runs/{uid}"


def checkpoint_prefix(uid: str, stage: str, step: int, attempt: str) -> str:
    return f"{run_prefix(uid)}/{stage}/steps/{step:06d}/attempts/{attempt}"


def weights_prefix(uid: str, version: int) -> str:
    """A published policy version: safetensors and manifest, kept for the last few versions only."""
    return f"{run_prefix(uid)}/rl/weights/{version:06d}"


def metrics_prefix(uid: str, stage: str) -> str:
    """The loss curve of a stage, one object a step."""
    return f"{run_prefix(uid)}/{stage}/metrics"


def metrics_key(uid: str, stage: str, step: int) -> str:
    return f"{metrics_prefix(uid, stage)}/{step:06d}.json"


def ledger_prefix(uid: str) -> str:
    """The rollout ledger: every scored completion of RL."""
    return f"{run_prefix(uid)}/rl/rollouts"


def ledger_key(uid: str, step: int) -> str:
    """The batch of one optimiser step, and the groups dropped while it formed. JSONL of RolloutRecord."""
    return f"{ledger_prefix(uid)}/{step:06d}.jsonl"


def number_of(key: str) -> int:
    """The number that an object is named by: the step of a ledger file, its summary or metrics, a part of answers."""
    return int(key.rpartition("/")[2].partition(".")[0])


def prompts_key(uid: str) -> str:
    """The prepared prompts of RL. JSONL of Problem."""
    return f"{run_prefix(uid)}/prepare/prompts.jsonl"


def preparation_report_key(uid: str) -> str:
    return f"{run_prefix(uid)}/prepare/report.json"


def tested_key(uid: str, digest: str) -> str:
    """Code problems whose tests were cleaned, by the SHA-256 of what they were before and of the rules."""
    return f"{run_prefix(uid)}/prepare/tested/{digest}.jsonl"


def graded_prefix(uid: str, stage: StageName = "evaluate") -> str:
    """Every graded answer of a stage, below it by model and suite. JSONL of GradedAnswer, in parts."""
    return f"{run_prefix(uid)}/{stage}/graded"


def dataset_key(uid: str) -> str:
    return f"{run_prefix(uid)}/curate/dataset.jsonl"


def curation_report_key(uid: str) -> str:
    return f"{run_prefix(uid)}/curate/report.json"


def results_key(uid: str) -> str:
    return f"{run_prefix(uid)}/evaluate/results.json"


def report_key(uid: str) -> str:
    return f"{run_prefix(uid)}/evaluate/report.html"


def study_key(namespace: str, study: str, run: str) -> str:
    """Results of one run, where the other runs of its study find them."""
    return f"studies/{namespace}/{study}/{run}.json"


def suite_key(name: str) -> str:
    return f"suites/{name}.jsonl"
