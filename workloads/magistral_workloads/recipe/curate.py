"""From the teacher's traces to `curate/dataset.jsonl`, and a report of what was kept and dropped, and why."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from magistral_api.config import SCRATCH_PATH, StageConfig
from magistral_api.names import curation_report_key, dataset_key
from magistral_api.problems import SftRow
from magistral_api.progress import OUTPUT_DATASET_URI
from magistral_api.run import Curation
from magistral_api.suites import resolve
from magistral_workloads.algorithm.curation import GENERAL, Chosen, GeneralRow, Selection, curate
from magistral_workloads.algorithm.decontamination import EvaluationPrompts, Leak
from magistral_workloads.datasets.reader import Problems, parsed
from magistral_workloads.progress import Reporter, UserFault, run_stage
from magistral_workloads.recipe.traces import Reader, Source, Spool, Tell, sources
from magistral_workloads.storage import ObjectStore


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


def make(config: StageConfig, store: ObjectStore, scratch: Path, tell: Tell) -> Made:
    """Curate, write data set and report. `tell(files, of, completions)` hears how far the traces are read.

    Raises UserFault (NoTeacher, NoTraces, and <input>NotFound or <input>Invalid) and StorageError.
    """
    rules = config.spec.curation
    if rules is None:
        raise UserFault("NoTeacher", f"MagistralRun/{config.run_name} spec.curation: found none; expected a teacher or "
                        "generations. Set one of them")
    if rules.general_instruction and rules.general_instruction.fraction >= 1:
        raise UserFault("GeneralDataInvalid", f"MagistralRun/{config.run_name} spec.curation.generalInstruction."
                        "fraction: found 1; expected less, or no row is left for the teacher's traces. Lower it")
    found = sources(config, rules)
    evaluation = EvaluationPrompts(prompts_of_suites(config, store), rules.decontamination.ngram)
    with (scratch / "spool").open("w+b") as file:
        spool = Spool(file)
        traces = Reader(store, evaluation, spool).read(found, tell)
        chosen = curate(traces, read_general(store, rules, evaluation, spool), rules, config.spec.seed)
        if len(chosen.rows) == chosen.general:
            raise UserFault("NoTraces", no_traces(config, found, chosen))
        dataset = scratch / "dataset.jsonl"
        with dataset.open("wb") as rows:
            for row in written(chosen.rows, spool):
                rows.write(row.model_dump_json(by_alias=True).encode() + b"\n")
    key = dataset_key(config.run_uid)
    made = Made(store.uri(key), store.put_file(key, dataset).sha256, chosen)
    store.put(curation_report_key(config.run_uid), json.dumps(report(config, found, made), indent=2).encode())
    return made


def read_general(store: ObjectStore, rules: Curation, evaluation: EvaluationPrompts, spool: Spool
                 ) -> list[tuple[int, Leak | None]]:
    """Spool number of each general row, and why it may not be trained on, if so."""
    if rules.general_instruction is None:
        return []
    at, key = store.locate(rules.general_instruction.uri)
    return [(spool.add(SftRow(id=row.id or f"general/{number}", prompt=row.prompt, response=row.response,
                              source=GENERAL)), evaluation.leak(row.prompt))
            for number, row in enumerate(parsed(at, key, GeneralRow, "GeneralData"))]


def prompts_of_suites(config: StageConfig, store: ObjectStore) -> Iterator[str]:
    """The prompt of every problem that the run is evaluated on."""
    for ref in config.spec.evaluation.suites:
        suite = resolve(ref, config.storage.bucket)
        for problem in Problems(store, suite.uri, suite.format, "Suite"):
            yield problem.prompt


def written(rows: Iterable[Chosen], spool: Spool) -> Iterator[SftRow]:
    """Chosen rows with their texts; a repeated row has `#<copy>` at the end of its id."""
    for chosen in rows:
        row = spool.get(chosen.ref)
        yield row.model_copy(update={"id": f"{row.id}#{chosen.copy}"}) if chosen.copy else row


def no_traces(config: StageConfig, found: list[Source], chosen: Selection) -> str:
    """The funnel as one sentence: which rule took the last ones."""
    steps = "; ".join(f"{step.name}: {step.kept} left" for step in chosen.funnel)
    uris = ", ".join(source.uri for source in found)
    return (f"MagistralRun/{config.run_name} spec.curation: found no trace at {uris} that passes the rules ({steps}); "
            "expected at least one. Relax the rule that drops the last ones, or name another teacher")


def report(config: StageConfig, found: list[Source], made: Made) -> dict[str, object]:
    """For people, and for comparing two data sets. Each step of the funnel has what it left of each source."""
    chosen, rates = made.chosen, made.chosen.pass_rates.values()
    tenths = [sum(rate == 1 if low == 10 else low / 10 <= rate < (low + 1) / 10 for rate in rates) for low in range(11)]
    return {
        "run": config.run_name, "seed": config.spec.seed, "sources": {source.name: source.uri for source in found},
        "dataset": made.uri, "sha256": made.sha256, "rows": len(chosen.rows), "generalRows": chosen.general,
        "generalShare": chosen.general / len(chosen.rows),
        "funnel": [asdict(step) for step in chosen.funnel],
        "problemsByPassRate": {("1.0" if low == 10 else f"{low / 10:.1f}-{(low + 1) / 10:.1f}"): count
                               for low, count in enumerate(tenths)},
    }


if __name__ == "__main__":
    run_stage(run)
