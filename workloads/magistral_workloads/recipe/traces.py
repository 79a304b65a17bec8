"""The teacher's completions as curation looks at them: of the ledger of an RL run, and of generations (Evaluate runs).

Lines are large (tokens and log-probabilities, thoughts of 32k tokens): one pass keeps what the rules look at in memory, and the
texts of correct completions in a spool file on scratch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, get_args

from magistral_api.config import StageConfig
from magistral_api.problems import Kind, RolloutRecord, SftRow
from magistral_api.run import Curation, RunOutput
from magistral_workloads.algorithm.curation import Trace
from magistral_workloads.algorithm.decontamination import EvaluationPrompts, prompt_key
from magistral_workloads.datasets.reader import parsed
from magistral_workloads.evaluation.answers import GradedAnswer
from magistral_workloads.recipe.named_runs import prefix_of
from magistral_workloads.rewards.format import parse
from magistral_workloads.storage import ObjectStore

TEACHER = "teacher"
"""Source of the traces that come from the teacher's RL run."""

Tell = Callable[[int, int, int], None]
"""Files read, of how many, completions so far."""


class Spool:
    """Rows on disk by number: what the rules do not look at need not be in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: list[int] = []

    def add(self, row: SftRow) -> int:
        """Returns the row's number."""
        self._offsets.append(self._file.seek(0, 2))
        self._file.write(row.model_dump_json(by_alias=True).encode() + b"\n")
        return len(self._offsets) - 1

    def get(self, number: int) -> SftRow:
        self._file.seek(self._offsets[number])
        return SftRow.model_validate_json(self._file.readline())

    def __len__(self) -> int:
        return len(self._offsets)


@dataclass(frozen=True)
class Source:
    """Where traces are. `name`: the field of spec.curation. `uri`: prefix of a ledger, or of graded answers."""

    name: str
    uri: str


def sources(config: StageConfig, rules: Curation) -> list[Source]:
    """In the order of the spec. Raises UserFault (NoTeacher) when a run that was there is gone."""
    outputs: list[tuple[str, RunOutput]] = [(TEACHER, rules.teacher)] if rules.teacher else []
    outputs += [(f"generations[{index}]", one) for index, one in enumerate(rules.generations)]
    return [Source(name, prefix_of(config, output, f"spec.curation.{name}", "NoTeacher")) for name, output in outputs]


@dataclass(frozen=True)
class Reader:
    """Completions to traces. `ref` of a trace is the row's number in the spool, -1 where none is kept."""

    store: ObjectStore
    evaluation: EvaluationPrompts
    spool: Spool

    def read(self, sources: list[Source], tell: Tell) -> list[Trace]:
        """All of them. Raises UserFault (TracesInvalid, AnswersInvalid) and StorageError."""
        files = [(source, *found) for source in sources for found in self._files(source)]
        traces: list[Trace] = []
        for number, (source, at, key) in enumerate(files):
            tell(number, len(files), len(traces))
            traces.extend(self._ledger(source, at, key) if source.name == TEACHER else self._answers(source, at, key))
        tell(len(files), len(files), len(traces))
        return traces

    def _files(self, source: Source) -> Iterator[tuple[ObjectStore, str]]:
        at, prefix = self.store.locate(source.uri)
        return ((at, info.key) for info in at.list(f"{prefix}/") if info.key.endswith(".jsonl"))

    def _ledger(self, source: Source, at: ObjectStore, key: str) -> Iterator[Trace]:
        for record in parsed(at, key, RolloutRecord, "Traces"):
            passed = record.outcome == "pass"
            yield Trace(
                source=source.name, problem_id=record.problem_id, group=record.group, index=record.index,
                step=record.versions[0][0] if record.versions else record.trained_step or 0,
                tokens=len(record.completion_tokens), outcome=record.outcome,
                truncated=record.finish_reason == "length",
                # The ledger does not say which: the grader did, when it passed.
                well_formed=passed and any(_well_formed(record.text, kind) for kind in get_args(Kind)),
                prompt=prompt_key(record.prompt), leak=self.evaluation.leak(record.prompt),
                ref=self._keep(f"{record.problem_id}/{record.group}.{record.index}", record.prompt, record.text)
                if passed else -1)

    def _answers(self, source: Source, at: ObjectStore, key: str) -> Iterator[Trace]:
        for answer in parsed(at, key, GradedAnswer, "Answers"):
            name = f"{source.name}/{answer.model}/{answer.suite}/{answer.problem_id}/{answer.run}"
            yield Trace(
                source=source.name, problem_id=answer.problem_id, group=0, index=answer.run, step=None, tokens=answer.tokens,
                outcome="pass" if answer.passed else "fail", truncated=answer.truncated,
                well_formed=answer.passed and _well_formed(answer.completion, answer.kind),
                prompt=prompt_key(answer.prompt), leak=self.evaluation.leak(answer.prompt),
                ref=self._keep(name, answer.prompt, answer.completion) if answer.passed else -1)

    def _keep(self, name: str, prompt: str, response: str) -> int:
        return self.spool.add(SftRow(id=name, prompt=prompt, response=response, source="teacher"))


def _well_formed(text: str, kind: Kind) -> bool:
    return not isinstance(parse(text, kind), str)
