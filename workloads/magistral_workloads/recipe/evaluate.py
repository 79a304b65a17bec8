"""Evaluate: base model, SFT, RL and SFT + RL on the same suites, one table over all runs of a study (Table 3)."""

import asyncio

from pydantic import TypeAdapter

from magistral_api.base import ApiModel
from magistral_api.config import StageConfig
from magistral_api.names import report_key, results_key, study_key
from magistral_api.progress import OUTPUT_REPORT_URI
from magistral_api.status import SuiteResult
from magistral_api.suites import resolve
from magistral_workloads.conductor.faults import run_to_end
from magistral_workloads.conductor.ledger import Ledger
from magistral_workloads.evaluation.runner import runner
from magistral_workloads.progress import Reporter, run_stage
from magistral_workloads.recipe.report import Report, html
from magistral_workloads.storage import ObjectStore

RESULTS: TypeAdapter[list[SuiteResult]] = TypeAdapter(list[SuiteResult])


class StudyEntry(ApiModel):
    """One run's share of a study's table."""

    run: str
    results: list[SuiteResult]


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point."""
    run_to_end(evaluate(config, reporter))


async def evaluate(config: StageConfig, reporter: Reporter) -> None:
    """Grade every candidate on every suite, then write results, study entry and report."""
    suites = [resolve(ref, config.storage.bucket) for ref in config.spec.evaluation.suites]
    async with runner(config, reporter) as running:
        graded = await running.evaluate(config.candidates, suites)
    results = [found.result() for found in graded]
    store = running.store
    await asyncio.to_thread(publish, config, store, results)
    reporter.update(results=results, outputs={OUTPUT_REPORT_URI: store.uri(report_key(config.run_uid))},
                    message=f"{len(results)} results")


def publish(config: StageConfig, store: ObjectStore, results: list[SuiteResult]) -> None:
    """Results, the study's entry, and the report with the study's other runs in it."""
    store.put(results_key(config.run_uid), RESULTS.dump_json(results, by_alias=True))
    others: list[StudyEntry] = []
    if config.spec.study:
        entry = StudyEntry(run=config.run_name, results=results)
        key = study_key(config.run_namespace, config.spec.study, config.run_name)
        store.put(key, entry.model_dump_json(by_alias=True, exclude_none=True).encode())
        others = [StudyEntry.model_validate_json(store.get(found.key))
                  for found in store.list(key.rpartition("/")[0] + "/") if found.key != key]
    summaries = Ledger(store, config.run_uid).summaries() if config.spec.rl else []
    report = Report(run=config.run_name, namespace=config.run_namespace, paradigm=config.spec.paradigm,
                    study=config.spec.study, results=joined(results, others), steps=summaries)
    store.put(report_key(config.run_uid), html(report).encode())


def joined(own: list[SuiteResult], others: list[StudyEntry]) -> list[SuiteResult]:
    """This run's rows, and of other runs those columns and suites that it lacks."""
    rows = {result.name: result for entry in others for result in entry.results} | {r.name: r for r in own}
    return list(rows.values())


if __name__ == "__main__":
    run_stage(run)
