"""A teacher's traces to the rows of an SFT data set (section 5.3 of the paper). Pure: the same input, the same rows.

Texts stay with the caller: a `Trace` is what the rules look at, `ref` is where its text lies.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from magistral_api.base import ApiModel
from magistral_api.problems import Outcome
from magistral_api.run import Curation
from magistral_workloads.algorithm.decontamination import Leak

GENERAL: Final = "general"
"""Source of rows that are no traces."""


class GeneralRow(ApiModel):
    """A line of general instruction data. Other fields that such data has are not looked at."""

    model_config = ApiModel.model_config | {"extra": "ignore"}

    prompt: str
    response: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One completion of the teacher, of its RL run or of a generation. `tokens`: completion length.

    Completions of one prompt are of one problem, whatever its name is in the `source` that they are from.
    """

    source: str
    problem_id: str
    group: int
    index: int
    step: int | None
    """The policy version that began it; None outside of RL."""
    tokens: int
    outcome: Outcome
    truncated: bool
    """Cut by the token limit."""
    well_formed: bool
    """Thoughts, then an answer, as rewards.format has it. Only looked at when correct."""
    prompt: bytes
    """`prompt_key` of the problem's text; empty when the source has no text."""
    leak: Leak | None
    ref: int


@dataclass(frozen=True)
class Step:
    """One rule of the funnel: what it left, what it took out, and why. `sources`: what is left of each."""

    name: str
    kept: int
    dropped: int
    why: str
    sources: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """A row to write: a trace (`copy` counts from 0) or the general row at `ref`."""

    source: str
    ref: int
    copy: int = 0


@dataclass(frozen=True)
class Selection:
    """The data set in its final order, and how it came to be. `pass_rates`: by prompt."""

    rows: list[Chosen]
    funnel: list[Step]
    pass_rates: dict[bytes, float]
    general: int


def curate(traces: Iterable[Trace], general: Sequence[tuple[int, Leak | None]], rules: Curation, seed: int) -> Selection:
    """Correct only, early steps out, whole and well-formed, not in an evaluation suite, capped, upsampled, mixed, shuffled.

    general: ref of each general row, and why it may not be trained on, if so.
    Which traces of a problem are taken hangs on the seed and that problem alone, not on what else there is.
    """
    kept = sorted(traces, key=lambda trace: (trace.source, trace.problem_id, trace.group, trace.index, trace.ref))
    funnel = [Step("read", len(kept), 0, "completions of the teacher", _sources(kept))]

    def left(name: str, why: str, those: list[Trace]) -> list[Trace]:
        funnel.append(Step(name, len(those), len(kept) - len(those), why, _sources(those)))
        return those

    def keep(name: str, why: str, rule: Callable[[Trace], bool]) -> list[Trace]:
        return left(name, why, [trace for trace in kept if rule(trace)])

    before, shortest, ngram = rules.exclude_steps.before, rules.exclude_steps.min_completion_tokens, rules.decontamination.ngram
    kept = keep("prompt", "there is no text of the problem", lambda trace: bool(trace.prompt))
    kept = keep("excludeSteps.before", f"of RL, begun by a policy below step {before}",
                lambda trace: trace.step is None or trace.step >= before)
    kept = keep("graded", "the grader failed, so nothing is known", lambda trace: trace.outcome != "infrastructure_error")
    rates = pass_rates(kept)
    kept = keep("correct", "the answer is wrong", lambda trace: trace.outcome == "pass")
    kept = keep("truncated", "cut by the token limit", lambda trace: not trace.truncated)
    kept = keep("format", "not thoughts and then an answer in the form that RL asks for", lambda trace: trace.well_formed)
    kept = keep("excludeSteps.minCompletionTokens", f"of RL, shorter than {shortest} tokens",
                lambda trace: trace.step is None or trace.tokens >= shortest)
    kept = keep("decontamination", "the same prompt is in an evaluation suite", lambda trace: trace.leak != "same")
    kept = keep("decontamination.ngram", f"{ngram} words in a row are in a prompt of an evaluation suite",
                lambda trace: trace.leak is None)
    kept = left("maxGenerationsPerProblem", f"more than {rules.max_generations_per_problem} for one problem",
                cap(kept, rules.max_generations_per_problem, seed))
    rows = upsample(kept, rates, seed) if rules.upsample_low_pass_rates else [_row(trace) for trace in kept]
    funnel.append(Step("upsampleLowPassRates", len(rows), 0, "repeated by 1 + (1 - pass rate)", _sources(rows)))

    mixed: list[Chosen] = []
    if rules.general_instruction and rows:
        clean = [ref for ref, leak in general if leak is None]
        wanted = general_rows(len(rows), rules.general_instruction.fraction)
        picked = _random(seed, "general").sample(clean, min(wanted, len(clean)))
        mixed = [Chosen(GENERAL, ref) for ref in picked]
        funnel.append(Step("generalInstruction", len(rows) + len(mixed), 0, (
            f"{len(mixed)} general rows added; {wanted} wanted for a share of {rules.general_instruction.fraction:g}, "
            f"{len(clean)} there, {len(general) - len(clean)} left out as their prompts are in an evaluation suite"),
            _sources([*rows, *mixed])))
    order = [*rows, *mixed]
    _random(seed, "order").shuffle(order)
    return Selection(order, funnel, rates, len(mixed))


def pass_rates(traces: Iterable[Trace]) -> dict[bytes, float]:
    """Share of graded completions that are correct, by prompt."""
    passed: dict[bytes, int] = defaultdict(int)
    graded: dict[bytes, int] = defaultdict(int)
    for trace in traces:
        graded[trace.prompt] += 1
        passed[trace.prompt] += trace.outcome == "pass"
    return {prompt: passed[prompt] / graded[prompt] for prompt in graded}


def cap(traces: list[Trace], most: int, seed: int) -> list[Trace]:
    """At most `most` traces a problem, chosen at random; the order stays."""
    chosen: list[Trace] = []
    for prompt, those in _by_problem(traces).items():
        if len(those) > most:
            picked = sorted(_random(seed, "cap", prompt.hex()).sample(range(len(those)), most))
            chosen.extend(those[place] for place in picked)
        else:
            chosen.extend(those)
    return chosen


def upsample(traces: list[Trace], rates: dict[bytes, float], seed: int) -> list[Chosen]:
    """Each problem gets its number of traces x (1 + (1 - pass rate)) rows; a fraction of a row is drawn."""
    rows: list[Chosen] = []
    for prompt, those in _by_problem(traces).items():
        draw = _random(seed, "upsample", prompt.hex())
        extra = len(those) * (1 - rates[prompt])
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


def _by_problem(traces: list[Trace]) -> dict[bytes, list[Trace]]:
    grouped: dict[bytes, list[Trace]] = defaultdict(list)
    for trace in traces:
        grouped[trace.prompt].append(trace)
    return grouped


def _sources(those: Iterable[Trace] | Iterable[Chosen]) -> dict[str, int]:
    return dict(sorted(Counter(one.source for one in those).items()))


def _row(trace: Trace, copy: int = 0) -> Chosen:
    return Chosen(trace.source, trace.ref, copy)


def _random(seed: int, *purpose: str) -> random.Random:
    # A text seeds through SHA-512: the same numbers on every machine and in every process.
    return random.Random("/".join((str(seed), *purpose)))
