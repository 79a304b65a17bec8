"""MagistralRun: what a researcher writes. Defaults come from the paper (section 5.3) where it prints a value."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from magistral_api.base import ApiModel, Cel, Digest, Duration, Fraction, Name, ObjectUri
from magistral_api.problems import DataFormat, Language
from magistral_api.status import RunStatus

Paradigm = Literal["SFT", "RL", "SFTThenRL", "Evaluate"]
ZeroStage = Literal[0, 1, 2, 3]

IMMUTABLE = "is immutable once the run exists; delete the run and apply it under another name"


class RuntimeRef(ApiModel):
    """The MagistralRuntime (cluster-scoped) that says where and with which images the run executes."""

    name: Name


class BaseModelSource(ApiModel):
    """A Hugging Face model directory (config, tokenizer, safetensors) under a prefix of the object store."""

    uri: ObjectUri
    digest: Digest | None = Field(None, description="SHA-256 of the prefix's manifest.json; checked before use.")


class RunRef(ApiModel):
    """A MagistralRun in the same namespace."""

    name: Name


class RunOutput(ApiModel):
    """What a run has left in the object store: of a run that is waited for, or whatever lies under a prefix."""

    run_ref: RunRef | None = None
    uri: ObjectUri | None = None

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.runRef) != has(self.uri)",
            "set exactly one of runRef and uri: a MagistralRun in this namespace, or a prefix of what one has left"),
    )


class Teacher(RunOutput):
    """The teacher's scored rollouts: of a run with an RL stage, or a prefix of ledger files."""


class Generation(RunOutput):
    """Graded answers of the teacher to further prompts: of a run of paradigm Evaluate, or a prefix of such answers."""


class ExcludeSteps(ApiModel):
    """Early steps of the teacher's RL run have short chains of thought and are left out (section 5.3). Not of `generations`."""

    before: int = Field(0, ge=0, description="Rollouts of policy steps below this one are left out.")
    min_completion_tokens: int = Field(0, ge=0, description="Completions shorter than this are left out.")


class GeneralInstruction(ApiModel):
    """General instruction data mixed in to keep non-reasoning capabilities (section 5.3: 10%)."""

    uri: ObjectUri
    fraction: Fraction = Field(0.1, description="Share of the final data set's rows.")


class Decontamination(ApiModel):
    """Which prompts are too close to the evaluation suites to be learnt from. Equal ones always are."""

    ngram: int = Field(13, ge=5, le=1000, description=(
        "A prompt goes that has so many words in a row in common with a prompt of a suite. 13 as in GPT-3's appendix C. Not "
        "printed in the paper."))


class Curation(ApiModel):
    """Teacher traces to SFT data (section 5.3): correct only, early steps out, capped, upsampled, mixed."""

    teacher: Teacher | None = None
    generations: list[Generation] = Field(default_factory=list, max_length=64, description=(
        "The teacher's answers to further prompt sets (section 5.3: OpenThoughts, the code subset of OpenR1)."))
    exclude_steps: ExcludeSteps = ExcludeSteps()
    decontamination: Decontamination = Decontamination()
    max_generations_per_problem: int = Field(4, ge=1, le=1024)
    upsample_low_pass_rates: bool = Field(
        True, description="Repeat problems with a lower pass rate: weight = 1 + (1 - pass rate)."
    )
    general_instruction: GeneralInstruction | None = None

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.teacher) || (has(self.generations) && size(self.generations) > 0)",
            "curation: set teacher, generations or both, or there are no traces to curate"),
    )


class Selection(ApiModel):
    """The SFT checkpoint with the best metric on this suite starts RL (section 5.3: AIME'24)."""

    suite: Name = "aime24"
    metric: Literal["pass@1", "maj@k"] = "pass@1"


class Optimizer(ApiModel):
    """AdamW with linear warm-up, then constant. The paper prints no values."""

    learning_rate: float = Field(1e-5, gt=0, le=1)
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0)


class RLOptimizer(Optimizer):
    """The same with smaller steps, also where only another field is given."""

    learning_rate: float = Field(1e-6, gt=0, le=1)


class SFT(ApiModel):
    """Supervised fine-tuning on the curated traces (section 5.3: 4 epochs, best checkpoint kept)."""

    epochs: int = Field(4, ge=1, le=1000)
    batch_size: int = Field(64, ge=1, le=1048576, description="Sequences per optimiser step, all workers together.")
    max_tokens: int = Field(32768, ge=16, description="Longer rows are left out, and counted.")
    microbatch_tokens: int = Field(32768, ge=16, description="Tokens per forward pass of one process.")
    optimizer: Optimizer = Optimizer()
    zero_stage: ZeroStage = 2
    workers: int = Field(1, ge=1, le=1024, description="Pods of the SFT Job.")
    selection: Selection = Selection()

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.batchSize % self.workers == 0",
            "sft.batchSize must be a multiple of sft.workers; change one of them", ".batchSize"),
        Cel("self.maxTokens <= self.microbatchTokens",
            "sft.maxTokens must not exceed sft.microbatchTokens, or the longest row fits no microbatch",
            ".maxTokens"),
    )


class FormatFilter(ApiModel):
    """Keep complete maths problems with one answer that rules can verify (section 4.1): no proofs, no parts (a), (b)."""

    multiple_choice: Literal["Reword", "Keep"] = Field("Reword", description=(
        "Reword: the options go and the right one's text becomes the answer, or the problem goes where that is not "
        "possible (section 4.1: reworded). Keep: the answer stays a letter, which a guess finds."))


class GradedBy(RunOutput):
    """Graded answers to the prompt set: of a run of paradigm Evaluate with the set as a suite, or a prefix of such answers."""


class Difficulty(ApiModel):
    """Keep problems that are neither too easy nor too hard for the model that answered them (section 4.1: 16 answers each).

    A problem without answers goes. The paper's second stage is another run, with the answers of the first one's model.
    """

    graded_by: GradedBy
    min_pass_rate: Fraction = Field(0.0, description=(
        "The share of correct answers must be above this (section 4.1: problems never solved go)."))
    max_pass_rate: Fraction = Field(0.9, description=(
        "The share of correct answers may not be above this. Not printed in the paper."))
    majority_disagrees: Fraction = Field(0.5, description=(
        "A problem is taken for wrong, and goes, when more than this share of its answers agree on one final answer that "
        "differs from its own (section 4.1: a majority). 1: never."))

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.minPassRate < self.maxPassRate",
            "difficulty.minPassRate must be below difficulty.maxPassRate, or no problem is left", ".minPassRate"),
    )


class CodeTests(ApiModel):
    """Clean the tests of code problems by running the problems' own solutions on them (section 4.2).

    Tests on which solutions disagree go; one on which they agree while none passes gets their output. The paper prints
    none of these values. Problems with a `check` instead of tests stay as they are.
    """

    min_agreement: Fraction = Field(0.8, description="Share of solutions that must have the same output for a test to stay.")
    min_solutions: int = Field(3, ge=1, le=1024, description="Problems with fewer solutions that run go.")
    min_tests: int = Field(5, ge=1, le=100000, description="Problems with fewer tests, given or left, go.")


class Prompts(ApiModel):
    """A file of problems, one a row. The end of its name says how rows are written: .jsonl or .csv, and .gz after it.

    `formatFilter`, `difficulty`, `codeTests` and `languages` are what stage prepare does to it before RL, in this order.
    Without any of them on any file the run has no such stage.
    """

    uri: ObjectUri
    format: DataFormat = Field("problems", description="Whose rows these are (docs/data.md): ours, or a published set's.")
    format_filter: FormatFilter | None = Field(None, description="Unset: no maths problem is looked at. {}: the defaults.")
    difficulty: Difficulty | None = None
    code_tests: CodeTests | None = Field(None, description="Unset: no solution is run. {}: the defaults.")
    languages: list[Language] | None = Field(
        None, min_length=1, max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"}, description=(
            "Code problems with tests that allow any language become one problem for each of these (section 4.2: both)."))

    @property
    def prepared(self) -> bool:
        """Whether stage prepare has something to do to it, other than copying."""
        return any(rule is not None for rule in (self.format_filter, self.difficulty, self.code_tests, self.languages))


class CurriculumStage(ApiModel):
    """What changes from an optimiser step on (section 5.2: longer answers in smaller batches as training goes on)."""

    from_step: int = Field(ge=2, description="First optimiser step of the stage.")
    max_unpenalized_tokens: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=2, le=1048576)
    async_ratio: float | None = Field(None, gt=0, le=16)

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.maxUnpenalizedTokens) || has(self.batchSize) || has(self.asyncRatio)",
            "rl.curriculum: a stage without maxUnpenalizedTokens, batchSize and asyncRatio changes nothing; "
            "set one of them or remove the stage"),
    )


class RL(ApiModel):
    """Asynchronous GRPO on verifiable rewards (sections 2, 3 and 5.3 of the paper)."""

    prompts: list[Prompts] = Field(min_length=1, max_length=64)
    steps: int = Field(1000, ge=1, description="Optimiser steps; one batch each.")
    batch_size: int = Field(2048, ge=2, le=1048576, description="Completions per step (section 5.3: 2048).")
    group_size: int = Field(16, ge=2, le=1024, description="Completions per prompt. Not printed in the paper.")
    max_unpenalized_tokens: int = Field(32768, ge=1, description="l_max - l_cache (section 5.3: 32k).")
    cache_tokens: int = Field(4096, ge=1, description="l_cache: the zone of growing length penalty.")
    temperature: float = Field(1.0, gt=0, le=2, description="Sampling temperature (section 5.3: 1.0).")
    epsilon_low: float = Field(0.2, gt=0, lt=1, description="Lower clip of the ratio. Not printed in the paper.")
    epsilon_high: float = Field(0.3, gt=0, le=10, description="Upper clip of the ratio (section 5.3: 0.3).")
    async_ratio: float = Field(2.0, gt=0, le=16, description="Sequences in flight / batchSize (paper: at most 2).")
    curriculum: list[CurriculumStage] = Field(
        [], max_length=16, description=(
            "Stages after the first, which is the fields above: each replaces what it names, until a later one does. "
            "A group keeps the limits that it began with. May change while suspended."),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["fromStep"]})
    max_staleness: int = Field(4, ge=0, le=64, description=(
        "Finished batches waiting before admission stops. 0: synchronous, each batch sampled with the weights that it "
        "trains; expect generators and trainers to wait for each other."))
    microbatch_tokens: int = Field(40960, ge=16, description="Tokens per forward pass of one trainer process.")
    optimizer: RLOptimizer = RLOptimizer()
    zero_stage: ZeroStage = 2
    checkpoint_every: int = Field(20, ge=1, description="Steps between committed checkpoints.")
    trainers: int = Field(1, ge=1, le=1024, description="Pods of the trainer StatefulSet. May change while suspended.")
    generators: int = Field(1, ge=1, le=4096, description="Pods of the vLLM generator Deployment.")
    verifiers: int = Field(1, ge=1, le=4096, description="Pods of the verifier Deployment.")
    weight_transport: Literal["store"] = "store"
    language_consistency: bool = Field(True, description="Add 0.1 when problem, thoughts and answer share a language.")
    translated_fraction: Fraction = Field(
        0.1, description="Share of groups that are asked a translation, of the problems that have one (section 3: 10%).")

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.batchSize % self.groupSize == 0",
            "rl.batchSize must be a multiple of rl.groupSize: a batch is made of whole groups", ".batchSize"),
        Cel("self.batchSize % self.trainers == 0",
            "rl.batchSize must be a multiple of rl.trainers: the world size does not fit", ".batchSize"),
        Cel("self.epsilonLow <= self.epsilonHigh",
            "rl.epsilonLow must not exceed rl.epsilonHigh; the paper raises only the upper clip", ".epsilonLow"),
        Cel("self.checkpointEvery <= self.steps",
            "rl.checkpointEvery must not exceed rl.steps, or no checkpoint is made before the end",
            ".checkpointEvery"),
        Cel("self.maxUnpenalizedTokens + self.cacheTokens <= self.microbatchTokens",
            "rl.microbatchTokens must hold the longest completion: maxUnpenalizedTokens + cacheTokens, and its prompt",
            ".microbatchTokens"),
        Cel("self.curriculum.map(s, s.fromStep).isSorted()",
            "rl.curriculum must be in ascending order of fromStep", ".curriculum"),
        Cel("self.curriculum.all(s, !has(s.batchSize) || s.batchSize % self.groupSize == 0)",
            "rl.curriculum: every batchSize must be a multiple of rl.groupSize: a batch is made of whole groups",
            ".curriculum"),
        Cel("self.curriculum.all(s, !has(s.batchSize) || s.batchSize % self.trainers == 0)",
            "rl.curriculum: every batchSize must be a multiple of rl.trainers: the world size does not fit",
            ".curriculum"),
        Cel("self.curriculum.all(s, !has(s.maxUnpenalizedTokens)"
            " || s.maxUnpenalizedTokens + self.cacheTokens <= self.microbatchTokens)",
            "rl.curriculum: rl.microbatchTokens must hold the longest completion of every stage: its "
            "maxUnpenalizedTokens + cacheTokens, and the prompt", ".microbatchTokens"),
    )

    def at(self, step: int) -> "RL":
        """The settings of optimiser step `step` (from 1): these, with what the curriculum's stages up to it replace."""
        replaced: dict[str, Any] = {}
        for stage in self.curriculum:
            if stage.from_step <= step:
                replaced |= stage.model_dump(exclude={"from_step"}, exclude_none=True)
        return self.model_copy(update=replaced) if replaced else self

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Every batch size that a step may have, by the field that says so."""
        stages = {f"curriculum[{place}].batchSize": stage.batch_size for place, stage in enumerate(self.curriculum)}
        return {"batchSize": self.batch_size} | {field: size for field, size in stages.items() if size is not None}


class SuiteRef(ApiModel):
    """An evaluation suite. What is left out comes from the paper's table (magistral_api.suites)."""

    name: Name
    uri: ObjectUri | None = Field(None, description="Problems, .jsonl or .csv (.gz). Default: s3://<bucket>/suites/<name>.jsonl")
    format: DataFormat = Field("problems", description="Whose rows these are (docs/data.md): ours, or a published set's.")
    runs: int | None = Field(None, ge=1, le=1024, description="Answers per problem; pass@1 is their mean.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1048576)
    limit: int | None = Field(None, ge=1, description="Only the first problems, for a quick look.")


class Evaluation(ApiModel):
    """Which suites compare the base model, SFT, RL and SFT + RL."""

    suites: list[SuiteRef] = Field(
        min_length=1, max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class HostExclusion(ApiModel):
    """A node that failed this often within this time gets no new pod of the run for a while."""

    failures: int = Field(2, ge=1, le=16, description="Incidents of one node; pods lost together are one.")
    within: Duration = "1h"
    duration: Duration = Field("6h", description="How long the node is avoided; at least as long as `within`.")


class FailurePolicy(ApiModel):
    """How much is retried before a run is called failed. Bad input (exit code 64) is never retried."""

    max_restarts: int = Field(
        3, ge=0, le=100, description="Restarts of one stage after faults of its own processes that do not fail the run.")
    max_infrastructure_restarts: int = Field(
        100, ge=0, le=10000, description="As maxRestarts, after faults of nodes, evictions and lost pods.")
    host_exclusion: HostExclusion | None = Field(None, description="Unset: no node is avoided. {}: the defaults.")
    on_failure: Literal["Delete", "KeepPods"] = Field(
        "Delete", description="KeepPods: a run that a fault ended leaves its pods for debugging, until it is deleted. "
                              "A run that exceeded activeDeadline never does.")


class MagistralRunSpec(ApiModel):
    """One training run, from data to an evaluated checkpoint."""

    paradigm: Paradigm
    runtime_ref: RuntimeRef
    base_model: BaseModelSource
    study: Name | None = Field(None, description="Runs of one study share one comparison table.")
    seed: int = Field(0, ge=0, le=2147483647)
    curation: Curation | None = None
    sft: SFT | None = None
    rl: RL | None = None
    evaluation: Evaluation
    suspend: bool = Field(False, description="Release every pod after a checkpoint; resume goes on from it.")
    failure_policy: FailurePolicy = FailurePolicy()
    active_deadline: Duration | None = Field(None, description="The run fails when it takes longer than this.")
    ttl_after_finished: Duration | None = Field(None, description="The run is deleted this long after its end.")

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("!(self.paradigm in ['SFT', 'SFTThenRL']) || has(self.curation)",
            "spec.curation is required for paradigms SFT and SFTThenRL: say where the teacher's traces are",
            ".curation"),
        Cel("!(self.paradigm in ['SFT', 'SFTThenRL']) || has(self.sft)",
            "spec.sft is required for paradigms SFT and SFTThenRL; 'sft: {}' takes the paper's values", ".sft"),
        Cel("!(self.paradigm in ['RL', 'SFTThenRL']) || has(self.rl)",
            "spec.rl is required for paradigms RL and SFTThenRL: name at least its prompts", ".rl"),
        Cel("!(self.paradigm in ['RL', 'Evaluate']) || (!has(self.curation) && !has(self.sft))",
            "spec.curation and spec.sft have no meaning for paradigms RL and Evaluate; remove them"),
        Cel("!(self.paradigm in ['SFT', 'Evaluate']) || !has(self.rl)",
            "spec.rl has no meaning for paradigms SFT and Evaluate; remove it, or choose SFTThenRL"),
        Cel("!has(self.sft) || self.evaluation.suites.exists(s, s.name == self.sft.selection.suite)",
            "sft.selection.suite must be one of evaluation.suites", ".sft.selection.suite"),
        Cel("self.paradigm == oldSelf.paradigm", f"spec.paradigm {IMMUTABLE}", ".paradigm"),
        Cel("self.baseModel == oldSelf.baseModel", f"spec.baseModel {IMMUTABLE}", ".baseModel"),
        Cel("self.runtimeRef == oldSelf.runtimeRef", f"spec.runtimeRef {IMMUTABLE}", ".runtimeRef"),
        Cel("self.seed == oldSelf.seed", f"spec.seed {IMMUTABLE}", ".seed"),
        Cel("has(self.curation) == has(oldSelf.curation) && (!has(self.curation) || self.curation == oldSelf.curation)",
            f"spec.curation {IMMUTABLE}", ".curation"),
        Cel("has(self.sft) == has(oldSelf.sft) && (!has(self.sft) || self.sft == oldSelf.sft)",
            f"spec.sft {IMMUTABLE}", ".sft"),
        Cel("has(self.rl) == has(oldSelf.rl) && (!has(self.rl) || (self.rl.batchSize == oldSelf.rl.batchSize"
            " && self.rl.groupSize == oldSelf.rl.groupSize && self.rl.prompts == oldSelf.rl.prompts))",
            "spec.rl.batchSize, groupSize and prompts are immutable once the run exists; "
            "generators, verifiers and steps may change, trainers while the run is suspended", ".rl"),
        Cel("!has(self.rl) || !has(oldSelf.rl) || self.rl.trainers == oldSelf.rl.trainers"
            " || (self.suspend && oldSelf.suspend)",
            "spec.rl.trainers may change only while the run is suspended: set spec.suspend to true, wait for phase "
            "Suspended, change trainers, then set suspend to false", ".rl.trainers"),
        Cel("!has(self.rl) || !has(oldSelf.rl) || self.rl.curriculum == oldSelf.rl.curriculum"
            " || (self.suspend && oldSelf.suspend)",
            "spec.rl.curriculum may change only while the run is suspended: set spec.suspend to true, wait for phase "
            "Suspended, change curriculum, then set suspend to false", ".rl.curriculum"),
    )


class ObjectMeta(ApiModel):
    """The part of metadata that the operator reads."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class MagistralRun(ApiModel):
    """A training run as one resource."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    metadata: ObjectMeta
    spec: MagistralRunSpec
    status: RunStatus = Field(default_factory=RunStatus)

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> "MagistralRun":
        """From the API server's object. Raises pydantic.ValidationError."""
        return cls.model_validate(obj)
