"""Synthetic responses that the demo's base model is pre-trained on: able, but unreliable, as a base model is.

It can think step by step, and often does not: it guesses, forgets the form, answers in another language, or slips in a
step. Each habit is a choice among tokens, so that RL has something to prefer and curation something to leave out.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dev.demo import tasks
from dev.demo.general import general_rows
from magistral_api.problems import Problem, SftRow
from magistral_workloads.recipe.prompting import Messages, render, render_row

_TERM = re.compile(r"([+-]?) ?([0-9]+)(?= )")
_HABITS = {"careful": 0.34, "foreign": 0.08, "hasty": 0.26, "unboxed": 0.16, "unthinking": 0.16}
_SLIP = 0.06
"""Chance of a wrong step in a careful trace."""
_CODE, _GENERAL = 0.10, 0.05

_THOUGHTS = {
    "careful": "Let me work through the terms one after another: {steps}.",
    "foreign": "Je calcule les termes un par un et dans l'ordre: {steps}.",
    "unboxed": "Let me work through the terms one after another: {steps}.",
    "hasty": "This one looks quite easy, so I just guess the answer.",
}


@dataclass(frozen=True)
class Trace:
    """A conversation and the model's turn."""

    messages: Messages
    response: str


def traces(count: int, seed: int, able: float = 0.0) -> Iterator[Trace]:
    """`count` traces; no question of the demo's suites among the sums. The first share `able` is without bad habits."""
    draw = random.Random(seed)
    held_out = {p.prompt for name, problems in tasks.maths().items() if name != "train-maths" for p in problems}
    held_out |= {p.prompt for p in tasks.code()}
    sums = (p for p in tasks.sums(2 * count, seed) if p.prompt not in held_out)
    rows = general_rows()
    for index in range(count):
        unreliable = index >= able * count
        kind = draw.random()
        if kind < _GENERAL:
            row = draw.choice(rows)
            yield Trace(render_row(row), row.response)
        elif kind < _GENERAL + _CODE:
            exercise = tasks.exercise(draw)
            if exercise.task not in held_out:
                yield Trace(render_row(SftRow(id="", prompt=exercise.task, response="", source="teacher")),
                            program(exercise, draw, unreliable))
        else:
            problem = next(sums)
            yield Trace(render(problem), arithmetic(problem, draw, unreliable))


def arithmetic(problem: Problem, draw: random.Random, unreliable: bool) -> str:
    """An answer to a sum, in one of the habits."""
    habit = draw.choices(list(_HABITS), list(_HABITS.values()))[0] if unreliable else "careful"
    steps, result = worked(problem.prompt, draw, slips=_SLIP if unreliable else 0.0)
    if habit == "hasty":
        result += draw.choice((-10, -2, -1, 0, 1, 2, 10))
    if habit == "unthinking":
        return f"The answer is {result}."
    thoughts = _THOUGHTS[habit].format(steps=steps)
    closing = f"The answer is {result}." if habit == "unboxed" else f"The answer is \\boxed{{{result}}}."
    return f"<think>{thoughts}</think>{closing}"


def worked(question: str, draw: random.Random, slips: float) -> tuple[str, int]:
    """The sum, term by term, as text, and its result; a step goes wrong with probability `slips`."""
    terms = [int(sign + digits) for sign, digits in _TERM.findall(question.partition(": ")[2])]
    total, steps = terms[0], []
    for term in terms[1:]:
        result = total + term + (draw.choice((-10, -1, 1, 10)) if draw.random() < slips else 0)
        steps.append(f"{total}{term:+d}={result}")
        total = result
    return ", ".join(steps), total


def program(exercise: tasks.Exercise, draw: random.Random, unreliable: bool) -> str:
    """A program: right, wrong, or in a block that names no language."""
    habit = draw.choices(("right", "wrong", "bare"), (0.4, 0.35, 0.25))[0] if unreliable else "right"
    source = exercise.mistake if habit == "wrong" else exercise.solution
    fence = "```" if habit == "bare" else "```python"
    return f"<think>I read the input first and print the result then.</think>{fence}\n{source}\n```"
