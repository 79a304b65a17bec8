"""From the teacher's ledger to `curate/dataset.jsonl`, and a report of what was kept and dropped, and why.

Ledger lines are large (tokens and log-probabilities), texts of correct completions are not: one pass over the ledger
keeps what the rules look at in memory and those texts in a spool file on scratch.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import ValidationError

from magistral_api.base import ApiModel
from magistral_api.config import SCRATCH_PATH, StageConfig
from magistral_api.names import curation_report_key, dataset_key
from magistral_api.problems import Problem, RolloutRecord, SftRow
from magistral_api.progress import OUTPUT_DATASET_URI
from magistral_api.run import Curation
from magistral_api.suites import resolve
from magistral_workloads.algorithm.curation import Chosen, GeneralRow, Selection, Trace, curate, prompt_key
from magistral_workloads.progress import Reporter, UserFault, run_stage
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import OBJECT_NOT_FOUND

M = TypeVar("M", bound=ApiModel)


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
class Made:
    """The data set in the store, and how it came to be."""

    uri: str
    sha256: str
    chosen: Selection


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point."""
    def tell(files: int, of: int, completions: int) -> None:
        reporter.update(step=files, total_steps=of, message=f"{completions} completions of the teacher read")

    with tempfile.TemporaryDirectory(dir=SCRATCH_PATH if SCRATCH_PATH.is_dir() else None) as scratch:
        made = make(config, ObjectStore.of(config), Path(scratch), tell)
    reporter.update(
        outputs={OUTPUT_DATASET_URI: made.uri},
        metrics={"rows": float(len(made.chosen.rows)), "generalRows": float(made.chosen.general),
                 "problems": float(len(made.chosen.pass_rates))},
        message=f"{len(made.chosen.rows)} rows, {made.chosen.general} of them general instruction data")


def make(config: StageConfig, store: ObjectStore, scratch: Path, tell: Callable[[int, int, int], None]) -> Made:
    """Curate, write data set and report. `tell(files, of, completions)` hears how far the ledger is read.

    Raises UserFault (NoTeacher, NoTraces, and <input>NotFound or <input>Invalid) and StorageError.
    """
    rules = config.spec.curation
    if rules is None or config.teacher_uri is None:
        raise UserFault("NoTeacher", f"MagistralRun/{config.run_name} spec.curation.teacher: found none; expected the "
                        "rollouts of an RL run. Set runRef or uri")
    if rules.general_instruction and rules.general_instruction.fraction >= 1:
        raise UserFault("GeneralDataInvalid", f"MagistralRun/{config.run_name} spec.curation.generalInstruction."
                        "fraction: found 1; expected less, or no row is left for the teacher's traces. Lower it")
    evaluation = frozenset(prompts_of_suites(config, store))
    with (scratch / "spool").open("w+b") as file:
        spool = Spool(file)
        traces = read_traces(store, config.teacher_uri, spool, tell)
        general = read_general(store, rules, spool)
        chosen = curate(traces, general, evaluation, rules, config.spec.seed)
        if not any(row.source == "teacher" for row in chosen.rows):
            raise UserFault("NoTraces", no_traces(config, chosen))
        dataset = scratch / "dataset.jsonl"
        with dataset.open("wb") as rows:
            for row in written(chosen.rows, spool):
                rows.write(row.model_dump_json(by_alias=True).encode() + b"\n")
    key = dataset_key(config.run_uid)
    made = Made(store.uri(key), store.put_file(key, dataset).sha256, chosen)
    store.put(curation_report_key(config.run_uid), json.dumps(report(config, made), indent=2).encode())
    return made


def read_traces(store: ObjectStore, uri: str, spool: Spool, tell: Callable[[int, int, int], None]) -> list[Trace]:
    """The ledger's completions; texts of the correct ones go to the spool. `ref` is -1 where none is kept."""
    at, prefix = store.locate(uri)
    keys = [info.key for info in at.list(f"{prefix}/") if info.key.endswith(".jsonl")]
    traces: list[Trace] = []
    for number, key in enumerate(keys):
        tell(number, len(keys), len(traces))
        for record in parsed(at, key, RolloutRecord, "Traces"):
            ref = spool.add(SftRow(id=f"{record.problem_id}/{record.group}.{record.index}", prompt=record.prompt,
                                   response=record.text, source="teacher")) if record.outcome == "pass" else -1
            traces.append(Trace(
                problem_id=record.problem_id, group=record.group, index=record.index,
                step=record.versions[0][0] if record.versions else record.trained_step or 0,
                tokens=len(record.completion_tokens), outcome=record.outcome, prompt=prompt_key(record.prompt),
                ref=ref))
    tell(len(keys), len(keys), len(traces))
    return traces


def read_general(store: ObjectStore, rules: Curation, spool: Spool) -> list[tuple[int, bytes]]:
    """Spool number and prompt key of each general row."""
    if rules.general_instruction is None:
        return []
    at, key = store.locate(rules.general_instruction.uri)
    return [(spool.add(SftRow(id=row.id or f"general/{number}", prompt=row.prompt, response=row.response,
                              source="general")), prompt_key(row.prompt))
            for number, row in enumerate(parsed(at, key, GeneralRow, "GeneralData"))]


def prompts_of_suites(config: StageConfig, store: ObjectStore) -> Iterator[bytes]:
    """Prompt keys of every problem that the run is evaluated on."""
    for ref in config.spec.evaluation.suites:
        at, key = store.locate(resolve(ref, config.storage.bucket).uri)
        for problem in parsed(at, key, Problem, "Suite"):
            yield prompt_key(problem.prompt)


def parsed(at: ObjectStore, key: str, row: type[M], reason: str) -> Iterator[M]:
    """The object's lines. Raises UserFault <reason>NotFound or <reason>Invalid, which names object, line and field."""
    number = 0
    try:
        for line in _lines(at.stream(key)):
            number += 1
            if line.strip():
                yield row.model_validate_json(line)
    except StorageError as error:
        if error.reason != OBJECT_NOT_FOUND:
            raise
        raise UserFault(f"{reason}NotFound", f"{error.message}; expected JSONL of {row.__name__}. Upload it") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise UserFault(f"{reason}Invalid", f"{at.uri(key)} line {number}: field "
                        f"{'.'.join(map(str, first['loc'])) or '(whole line)'}: {first['msg']}; expected "
                        f"{row.__name__}. Correct the line, or take it out") from None


def written(rows: Iterable[Chosen], spool: Spool) -> Iterator[SftRow]:
    """Chosen rows with their texts; a repeated row has `#<copy>` at the end of its id."""
    for chosen in rows:
        row = spool.get(chosen.ref)
        yield row.model_copy(update={"id": f"{row.id}#{chosen.copy}"}) if chosen.copy else row


def no_traces(config: StageConfig, chosen: Selection) -> str:
    """The funnel as one sentence: which rule took the last ones."""
    steps = "; ".join(f"{step.name}: {step.kept} left" for step in chosen.funnel)
    return (f"MagistralRun/{config.run_name} spec.curation: found no trace at {config.teacher_uri} that passes the "
            f"rules ({steps}); expected at least one. Relax the rule that drops the last ones, or name another teacher")


def report(config: StageConfig, made: Made) -> dict[str, object]:
    """For people, and for comparing two data sets."""
    chosen, rates = made.chosen, made.chosen.pass_rates.values()
    tenths = [sum(rate == 1 if low == 10 else low / 10 <= rate < (low + 1) / 10 for rate in rates) for low in range(11)]
    return {
        "run": config.run_name, "seed": config.spec.seed, "teacher": config.teacher_uri,
        "dataset": made.uri, "sha256": made.sha256, "rows": len(chosen.rows), "generalRows": chosen.general,
        "generalShare": chosen.general / len(chosen.rows),
        "funnel": [asdict(step) for step in chosen.funnel],
        "problemsByPassRate": {("1.0" if low == 10 else f"{low / 10:.1f}-{(low + 1) / 10:.1f}"): count
                               for low, count in enumerate(tenths)},
    }


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


if __name__ == "__main__":
    run_stage(run)
