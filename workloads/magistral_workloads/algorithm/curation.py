"""A teacher's traces to the rows of an SFT data set (section 5.3 of the paper). Pure: the same input, the same rows.

Texts stay with the caller: a `Trace` is what the rules look at, `ref` is where its text lies.
"""

import hashlib
import math
import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from magistral_api.base import ApiModel
from magistral_api.problems import Outcome
from magistral_api.run import Curation

PROMPT_KEY_BYTES: Final = 16


class GeneralRow(ApiModel):
    """A line of general instruction data. Other fields that such data has are not looked at."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    prompt: str
    response: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One completion of the teacher. `step`: the policy version that began it. `tokens`: completion length."""

    problem_id: str
    group: int
    index: int
    step: int
    tokens: int
    outcome: Outcome
    prompt: bytes
    """`prompt_key` of the problem's text; empty when the ledger has no text."""
    ref: int


@dataclass(frozen=True)
class Step:
    """One rule of the funnel: what it left, what it took out, and why."""

    name: str
    kept: int
    dropped: int
    why: str


@dataclass(frozen=True)
class Chosen:
    """A row to write: a trace (`copy` counts from 0) or the general row at `ref`."""

    source: str
    ref: int
    copy: int = 0


@dataclass(frozen=True)
class Selection:
    """The data set in its final order, and how it came to be."""

    rows: list[Chosen]
    funnel: list[Step]
    pass_rates: dict[str, float]
    general: int


def prompt_key(text: str) -> bytes:
    """Equal for prompts that differ in Unicode form, case or white space only. 16 bytes; empty for an empty text."""
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(normal.encode()).digest()[:PROMPT_KEY_BYTES] if normal else b""


def curate(traces: Iterable[Trace], general: Sequence[tuple[int, bytes]], evaluation: frozenset[bytes],
           rules: Curation, seed: int) -> Selection:
    """Correct only, early steps out, short ones out, not in an evaluation suite, capped, upsampled, mixed, shuffled.

    general: (ref, prompt_key) of the general rows. evaluation: prompt_key of every prompt of every suite.
    Which traces of a problem are taken hangs on the seed and that problem alone, not on what else is in the ledger.
    """
    kept = sorted(traces, key=lambda trace: (trace.problem_id, trace.group, trace.index, trace.ref))
    funnel = [Step("read", len(kept), 0, "completions in the teacher's ledger")]

    def keep(name: str, why: str, left: list[Trace]) -> list[Trace]:
        funnel.append(Step(name, len(left), len(kept) - len(left), why))
        return left

    before, shortest = rules.exclude_steps.before, rules.exclude_steps.min_completion_tokens
    kept = keep("excludeSteps.before", f"begun by a policy below step {before}",
                [trace for trace in kept if trace.step >= before])
    kept = keep("graded", "the grader failed, so nothing is known",
                [trace for trace in kept if trace.outcome != "infrastructure_error"])
    rates = pass_rates(kept)
    kept = keep("correct", "the answer is wrong", [trace for trace in kept if trace.outcome == "pass"])
    kept = keep("excludeSteps.minCompletionTokens", f"shorter than {shortest} tokens",
                [trace for trace in kept if trace.tokens >= shortest])
    kept = keep("prompt", "the ledger has no text of the problem", [trace for trace in kept if trace.prompt])
    kept = keep("decontamination", "the same prompt is in an evaluation suite",
                [trace for trace in kept if trace.prompt not in evaluation])
    kept = keep("maxGenerationsPerProblem", f"more than {rules.max_generations_per_problem} for one problem",
                cap(kept, rules.max_generations_per_problem, seed))
    rows = upsample(kept, rates, seed) if rules.upsample_low_pass_rates else [_row(trace) for trace in kept]
    funnel.append(Step("upsampleLowPassRates", len(rows), 0, "repeated by 1 + (1 - pass rate)"))

    mixed: list[Chosen] = []
    if rules.general_instruction and rows:
        clean = [ref for ref, prompt in general if prompt not in evaluation]
        wanted = general_rows(len(rows), rules.general_instruction.fraction)
        picked = _random(seed, "general").sample(clean, min(wanted, len(clean)))
        mixed = [Chosen("general", ref) for ref in picked]
        funnel.append(Step("generalInstruction", len(rows) + len(mixed), 0, (
            f"{len(mixed)} general rows added; {wanted} wanted for a share of {rules.general_instruction.fraction:g}, "
            f"{len(clean)} there, {len(general) - len(clean)} left out as their prompts are in an evaluation suite")))
    order = [*rows, *mixed]
    _random(seed, "order").shuffle(order)
    return Selection(order, funnel, rates, len(mixed))


def pass_rates(traces: Iterable[Trace]) -> dict[str, float]:
    """Share of graded completions that are correct, by problem."""
    passed: dict[str, int] = defaultdict(int)
    graded: dict[str, int] = defaultdict(int)
    for trace in traces:
        graded[trace.problem_id] += 1
        passed[trace.problem_id] += trace.outcome == "pass"
    return {problem: passed[problem] / graded[problem] for problem in graded}


def cap(traces: list[Trace], most: int, seed: int) -> list[Trace]:
    """At most `most` traces a problem, chosen at random; the order stays."""
    chosen: list[Trace] = []
    for problem, those in _by_problem(traces).items():
        if len(those) > most:
            picked = sorted(_random(seed, "cap", problem).sample(range(len(those)), most))
            chosen.extend(those[place] for place in picked)
        else:
            chosen.extend(those)
    return chosen


def upsample(traces: list[Trace], rates: dict[str, float], seed: int) -> list[Chosen]:
    """Each problem gets its number of traces x (1 + (1 - pass rate)) rows; a fraction of a row is drawn."""
    rows: list[Chosen] = []
    for problem, those in _by_problem(traces).items():
        draw = _random(seed, "upsample", problem)
        extra = len(those) * (1 - rates[problem])
        whole = math.floor(extra) + (draw.random() < extra - math.floor(extra))
        again = set(draw.sample(range(len(those)), min(whole, len(those))))
        for place, trace in enumerate(those):
            rows.extend(_row(trace, copy) for copy in range(2 if place in again else 1))
    return rows


def general_rows(teacher_rows: int, fraction: float) -> int:
    """How many general rows make up `fraction` of the whole. Raises ValueError for a fraction of 1: no end of rows."""
    if fraction >= 1:
        raise ValueError("a fraction of 1 leaves no room for traces")
    return round(teacher_rows * fraction / (1 - fraction))


def _by_problem(traces: list[Trace]) -> dict[str, list[Trace]]:
    grouped: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        grouped[trace.problem_id].append(trace)
    return grouped


def _row(trace: Trace, copy: int = 0) -> Chosen:
    return Chosen("teacher", trace.ref, copy)


def _random(seed: int, *purpose: str) -> random.Random:
    # A text seeds through SHA-512: the same numbers on every machine and in every process.
    return random.Random("/".join((str(seed), *purpose)))
