"""Tests of code problems, judged by what the problems' own solutions print (section 4.2 of the paper). Pure."""

from collections.abc import Sequence
from typing import Literal

from magistral_api.base import ApiModel
from magistral_api.problems import CodeTest, Language, Problem
from magistral_api.run import CodeTests
from magistral_workloads.rewards.output import same

Output = str | None
"""What a solution printed; None when it failed: did not compile, crashed, or went beyond a limit of grading."""

Shortage = Literal["minSolutions", "minTests"]

_NAMES: dict[Language, str] = {"python": "Python", "cpp": "C++"}
_ASKED = {
    "en": "Write the program in {}.", "fr": "Écris le programme en {}.", "es": "Escribe el programa en {}.",
    "it": "Scrivi il programma in {}.", "de": "Schreibe das Programm in {}.", "zh": "请用 {} 编写程序。",
    "ru": "Напиши программу на {}."}
"""By ISO 639 code, those of section 3. A prompt in another language is asked in English."""


class Cleaned(ApiModel):
    """A problem after its tests were judged: None when it has too little of something.

    `kept`, `corrected`, `dropped`: its tests, where they were judged.
    """

    problem: Problem | None = None
    short_of: Shortage | None = None
    kept: int = 0
    corrected: int = 0
    dropped: int = 0


def has_tests(problem: Problem) -> bool:
    """Whether the problem is one of programs with inputs and outputs. A `check` is none: it has no expected outputs."""
    return problem.kind == "code" and problem.check is None


def short_of(problem: Problem, rules: CodeTests) -> Shortage | None:
    """What the problem has too little of, before anything is run."""
    if len(problem.solutions) < rules.min_solutions:
        return "minSolutions"
    return "minTests" if len(problem.tests) < rules.min_tests else None


def clean(problem: Problem, outputs: Sequence[Sequence[Output]], rules: CodeTests) -> Cleaned:
    """The problem with the tests that its solutions bear out. `outputs`: of each solution, on each test.

    A solution that fails on every test says nothing of the tests and does not count.
    """
    running = [row for row in outputs if any(output is not None for output in row)]
    if len(running) < rules.min_solutions:
        return Cleaned(short_of="minSolutions")
    tests: list[CodeTest] = []
    corrected = 0
    for test, column in zip(problem.tests, zip(*running, strict=True), strict=True):
        stdout = borne_out(test.stdout, column, rules.min_agreement)
        if stdout is not None:
            tests.append(CodeTest(stdin=test.stdin, stdout=stdout))
            corrected += stdout != test.stdout
    counts = {"kept": len(tests) - corrected, "corrected": corrected, "dropped": len(problem.tests) - len(tests)}
    if len(tests) < rules.min_tests:
        return Cleaned(short_of="minTests", **counts)
    return Cleaned(problem=problem.model_copy(update={"tests": tests}), **counts)


def borne_out(expected: str, outputs: Sequence[Output], least: float) -> str | None:
    """The output that a test should have, or None when less than a share of `least` of the solutions agree.

    Its own, if some solution prints it; else the most frequent one, the first of equals.
    """
    groups: list[list[str]] = []
    for output in outputs:
        if output is not None:
            group = next((group for group in groups if same(group[0], output)), None)
            if group is None:
                groups.append([output])
            else:
                group.append(output)
    largest = max(groups, key=len, default=[])
    if not largest or len(largest) / len(outputs) < least:
        return None
    return expected if any(same(expected, group[0]) for group in groups) else largest[0]


def in_languages(problem: Problem, languages: Sequence[Language]) -> list[Problem]:
    """One problem a language, with its name in the text and in the id; the problem as it is where it allows only one."""
    if not has_tests(problem) or problem.language is not None:
        return [problem]
    return [problem.model_copy(update={
        "id": f"{problem.id}/{language}", "language": language, "prompt": _asked(problem.prompt, "en", language),
        "translations": {code: _asked(text, code, language) for code, text in problem.translations.items()}})
        for language in languages]


def _asked(prompt: str, code: str, language: Language) -> str:
    return f"{prompt.rstrip()}\n\n{_ASKED.get(code, _ASKED['en']).format(_NAMES[language])}"
