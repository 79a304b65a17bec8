"""OpenThoughts-114k: problems of maths and code with what is needed to verify an answer, and much that cannot be verified.

Source: data set open-thoughts/OpenThoughts-114k, subset `metadata` (parquet; problem, deepseek_reasoning,
deepseek_solution, ground_truth_solution, domain, source, test_cases, starter_code). Read: problem, ground_truth_solution
(a solution in prose, its answer in the last \\boxed{}), domain, test_cases (JSON text of inputs, outputs and perhaps
fn_name, as APPS and TACO have them; open_thoughts/code/judge.py of the repository open-thoughts/open-thoughts runs them),
starter_code. Rows have no id.
"""

from typing import Any

from pydantic import Json

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.datasets.checks import Call, checked, fitting
from magistral_workloads.datasets.row import PYTHON_PROGRAM, LeftOut, PublishedRow, Text, text_id
from magistral_workloads.rewards.format import last_boxed

NO_ANSWER = "its solution has no final answer in \\boxed{}"
NO_TEST = "it has no test that we can run"


class Cases(PublishedRow):
    """`inputs[i]` belongs to `outputs[i]`: texts or lists of lines for a program, lists of arguments for a function."""

    inputs: list[Any]
    outputs: list[Any]
    fn_name: str | None = None


class OpenThoughts(PublishedRow):
    """A row of the subset `metadata`."""

    problem: Text
    domain: Text
    ground_truth_solution: str | None
    test_cases: Json[Cases] | None
    starter_code: str | None


def problem(row: OpenThoughts) -> Problem | LeftOut:
    if row.domain == "math":
        answer = last_boxed(row.ground_truth_solution or "")
        if not answer or not answer.strip():
            return LeftOut(NO_ANSWER)
        return Problem(id=f"openthoughts/{text_id(row.problem)}", kind="maths", prompt=row.problem, answer=answer,
                       source="openthoughts")
    if row.domain == "code":
        return _code(row)
    return LeftOut(f"domain {row.domain}: no rule verifies its answers")


def _code(row: OpenThoughts) -> Problem | LeftOut:
    cases, starter = row.test_cases, (row.starter_code or "").rstrip()
    if cases is None or len(cases.inputs) != len(cases.outputs):
        return LeftOut(NO_TEST)
    name = f"openthoughts/{text_id(row.problem + starter)}"
    asked = f"{row.problem.strip()}\n\n"
    if cases.fn_name:
        found = checked(cases.fn_name, calls(cases), name)
        if found is None:
            return LeftOut(NO_TEST)
        asked += f"Complete this Python code.\n\n```python\n{starter}\n```" if starter else (
            f"Write a Python function {cases.fn_name}.")
        return Problem(id=name, kind="code", language="python", source="openthoughts", prompt=asked, check=found.check,
                       entry_point=found.entry_point, prefix=found.prefix)
    tests = fitting(programs(cases), name)
    if not tests:
        return LeftOut(NO_TEST)
    return Problem(id=name, kind="code", language="python", source="openthoughts", prompt=asked + PYTHON_PROGRAM, tests=tests)


def programs(cases: Cases) -> list[CodeTest]:
    """Tests of a program; those that are neither a text nor lines of text are passed over."""
    found = [(_text(stdin), _text(stdout)) for stdin, stdout in zip(cases.inputs, cases.outputs, strict=True)]
    return [CodeTest(stdin=stdin, stdout=stdout) for stdin, stdout in found if stdin is not None and stdout is not None]


def calls(cases: Cases) -> list[Call]:
    """Tests of a function. A result may stand in a list of its own.

    A test with a dict among its arguments is passed over: JSON has made texts of its keys.
    """
    found = []
    for arguments, output in zip(cases.inputs, cases.outputs, strict=True):
        if isinstance(arguments, list) and not any(isinstance(argument, dict) for argument in arguments):
            alone = isinstance(output, list) and len(output) == 1
            found.append(Call(arguments, [output, output[0]] if alone else [output]))
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "\n".join(value) if lines else None
