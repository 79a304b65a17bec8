"""Prepare: the prompts of RL as the paper filters them (sections 4.1 and 4.2), to `prepare/prompts.jsonl` and a report.

Each file of spec.rl.prompts goes through what it asks for, in the paper's order: format, difficulty, tests of code,
languages. A file that asks for nothing is copied. Only the running of solutions takes long; its results are kept by what
they were made from, so that a restarted Job runs no solution again.
"""

import asyncio
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from magistral_api.config import SCRATCH_PATH, TOKEN_PATH, StageConfig
from magistral_api.names import preparation_report_key, prompts_key
from magistral_api.problems import Problem
from magistral_api.progress import OUTPUT_PROMPTS_URI
from magistral_api.run import Prompts
from magistral_workloads.algorithm.code_tests import in_languages
from magistral_workloads.algorithm.curation import Step
from magistral_workloads.algorithm.decontamination import prompt_key
from magistral_workloads.algorithm.difficulty import Tally, by_difficulty, tallied
from magistral_workloads.algorithm.problem_format import WHY, well_formed
from magistral_workloads.conductor.faults import run_to_end
from magistral_workloads.conductor.setting import each_once, settings
from magistral_workloads.conductor.verifier import Verifier, verifier
from magistral_workloads.datasets.reader import Problems
from magistral_workloads.evaluation.answers import read_answers
from magistral_workloads.progress import Reporter, UserFault, run_stage
from magistral_workloads.recipe.named_runs import prefix_of
from magistral_workloads.recipe.solutions import Judge, line_of, untouched
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore

PROBLEMS_AT_ONCE: Final = 64
"""Problems whose solutions run at a time, and whose results are kept together."""


@dataclass
class Source:
    """One file of prompts on its way. `ids`: of the problems that are left; their lines are in `file`. `read`: rows."""

    prompts: Prompts
    file: Path
    ids: list[str]
    read: int
    funnel: list[Step]
    tests: Counter[str] = field(default_factory=Counter)
    written: int = 0


@dataclass(frozen=True)
class Prepared:
    """The prompts in the store, and how they came to be."""

    uri: str
    sha256: str
    sources: list[Source]

    @property
    def read(self) -> int:
        return sum(source.read for source in self.sources)

    @property
    def problems(self) -> int:
        return sum(source.written for source in self.sources)

    @property
    def tests(self) -> Counter[str]:
        return sum((source.tests for source in self.sources), Counter())


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point."""
    run_to_end(prepare(config, reporter))


async def prepare(config: StageConfig, reporter: Reporter) -> None:
    """Prepare, with the run's own verifiers."""
    def tell(done: int, of: int) -> None:
        reporter.update(step=done, total_steps=of)

    with tempfile.TemporaryDirectory(dir=SCRATCH_PATH if SCRATCH_PATH.is_dir() else None) as scratch:
        async with verifier(bearer(TOKEN_PATH.read_text().strip()), config.services.verifier) as grader:
            made = await make(config, ObjectStore.of(config), Path(scratch), grader, tell)
    reporter.update(
        outputs={OUTPUT_PROMPTS_URI: made.uri},
        metrics={"problems": float(made.problems), "problemsRead": float(made.read),
                 "testsCorrected": float(made.tests["corrected"]), "testsDropped": float(made.tests["dropped"])},
        message=f"{made.problems} problems of {made.read}")


async def make(config: StageConfig, store: ObjectStore, scratch: Path, grader: Verifier,
               tell: Callable[[int, int], None]) -> Prepared:
    """Write prompts and report. `tell(done, of)` hears how many problems have gone through the last steps.

    Raises UserFault (NoPrompts, <input>NotFound, <input>Invalid) and StorageError, and as the grader does.
    """
    known: set[str] = set()
    sources = [await asyncio.to_thread(select, config, number, store, scratch / f"{number}.jsonl", known)
               for number in range(len(settings(config).prompts))]
    judge = Judge(store, config.run_uid, grader)
    total, done = sum(len(source.ids) for source in sources), 0
    with (scratch / "prompts.jsonl").open("wb") as file:
        for source in sources:
            async for problems in finished(source, judge):
                file.writelines(map(line_of, problems))
                done += 1
                tell(done, total)
    if not any(source.written for source in sources):
        raise UserFault("NoPrompts", no_prompts(config, sources))
    key = prompts_key(config.run_uid)
    stored = await asyncio.to_thread(store.put_file, key, scratch / "prompts.jsonl")
    made = Prepared(store.uri(key), stored.sha256, sources)
    await asyncio.to_thread(store.put, preparation_report_key(config.run_uid),
                            json.dumps(report(config, made), indent=2).encode())
    return made


def select(config: StageConfig, number: int, store: ObjectStore, file: Path, known: set[str]) -> Source:
    """Read one file of prompts and apply what needs no program to run: format and difficulty."""
    prompts = settings(config).prompts[number]
    texts: dict[str, tuple[bytes, bytes]] = {}
    faults: Counter[str] = Counter()
    rows = Problems(store, prompts.uri, prompts.format, "Prompts")
    with file.open("wb") as lines:
        for problem in each_once(rows, prompts.uri, known):
            found = problem if prompts.format_filter is None else well_formed(problem, prompts.format_filter)
            if isinstance(found, str):
                faults[found] += 1
            else:
                texts[found.id] = prompt_key(problem.prompt), prompt_key(found.prompt)
                lines.write(line_of(found))
    ids, problems = list(texts), len(texts) + faults.total()
    funnel = [Step("format", problems, rows.left_out.total(), rows.describe())] if rows.left_out else []
    if prompts.format_filter:
        funnel += steps("formatFilter", problems, [(fault, faults[fault], why) for fault, why in WHY.items()])
    if prompts.difficulty:
        by_text = tallies(store, prefix_of(
            config, prompts.difficulty.graded_by, f"spec.rl.prompts[{number}].difficulty.gradedBy", "NoAnswers"))
        # The set may have been graded before or after its multiple choice was reworded.
        graded = {name: by_text[text] for name, both in texts.items() for text in both if text in by_text}
        ids, rules = by_difficulty(ids, graded, prompts.difficulty)
        funnel += rules
    return Source(prompts, file, ids, problems + rows.left_out.total(), funnel)


def tallies(store: ObjectStore, uri: str) -> dict[bytes, Tally]:
    """The graded answers below a prefix, by the key of the problem's text: names are only unique within a suite.

    Raises UserFault (AnswersInvalid).
    """
    return tallied((prompt_key(answer.prompt), answer.passed, answer.answer) for answer in read_answers(store, uri))


async def finished(source: Source, judge: Judge) -> AsyncIterator[list[Problem]]:
    """What becomes of each problem that is left, in order: none, one, or one a language. Completes the source's counts."""
    rules, languages = source.prompts.code_tests, source.prompts.languages
    short: Counter[str] = Counter()
    problems = left(source)
    while batch := list(itertools.islice(problems, PROBLEMS_AT_ONCE)):
        for cleaned in await judge.judged(batch, rules) if rules else map(untouched, batch):
            source.tests.update(kept=cleaned.kept, corrected=cleaned.corrected, dropped=cleaned.dropped)
            if cleaned.problem is None:
                short[str(cleaned.short_of)] += 1
                yield []
                continue
            becomes = in_languages(cleaned.problem, languages) if languages else [cleaned.problem]
            source.written += len(becomes)
            # They have done their work, and a verifier gets the whole problem with each completion.
            yield [problem.model_copy(update={"solutions": []}) for problem in becomes]
    if rules:
        source.funnel += steps("codeTests", len(source.ids), [
            ("minSolutions", short["minSolutions"], f"fewer than {rules.min_solutions} solutions, given or running"),
            ("minTests", short["minTests"], f"fewer than {rules.min_tests} tests, given or borne out by solutions")])
    if languages:
        source.funnel.append(Step("languages", source.written, 0, f"one problem for each of {', '.join(languages)}"))


def left(source: Source) -> Iterator[Problem]:
    """The problems that format and difficulty leave, in order."""
    wanted = set(source.ids)
    with source.file.open("rb") as lines:
        for line in lines:
            problem = Problem.model_validate_json(line)
            if problem.id in wanted:
                yield problem


def steps(name: str, problems: int, rules: Iterable[tuple[str, int, str]]) -> list[Step]:
    """The funnel of rules that were looked at together: (rule, problems that it took out, why)."""
    funnel = []
    for rule, dropped, why in rules:
        problems -= dropped
        funnel.append(Step(f"{name}.{rule}", problems, dropped, why))
    return funnel


def report(config: StageConfig, made: Prepared) -> dict[str, object]:
    """For people, and for comparing two sets of prompts."""
    return {
        "run": config.run_name, "prompts": made.uri, "sha256": made.sha256, "problems": made.problems,
        "sources": [{
            "uri": source.prompts.uri, "read": source.read, "problems": source.written,
            "funnel": [asdict(step) for step in source.funnel],
            **({"tests": source.tests} if source.prompts.code_tests else {}),
        } for source in made.sources],
    }


def no_prompts(config: StageConfig, sources: Iterable[Source]) -> str:
    """The funnels as one sentence: which rules took the last ones."""
    told = "; ".join(f"{source.prompts.uri}: {source.read} read, " + ", ".join(
        f"{step.dropped} out by {step.name}" for step in source.funnel if step.dropped) for source in sources)
    return (f"MagistralRun/{config.run_name} spec.rl.prompts: found no problem that passes the rules ({told}); expected at "
            "least one. Relax the rule that drops the last ones, or name other prompts")


if __name__ == "__main__":
    run_stage(run)
