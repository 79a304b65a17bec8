"""LiveCodeBench, code generation: programs tested by standard input, and methods of LeetCode tested by calls.

Source: data set livecodebench/code_generation_lite (test.jsonl to test6.jsonl; question_title, question_content, platform,
question_id, contest_id, contest_date, starter_code, difficulty, public_test_cases, private_test_cases, metadata) and
lcb_runner/benchmarks/code_generation.py of the repository LiveCodeBench/LiveCodeBench, which reads it. Release v5 is
the first five files, v6 all six. Read: question_id, question_content, starter_code, both kinds of tests (JSON text;
private ones packed, see `pickled`), metadata.func_name. Officially all tests run, with 6 s each; our grader draws 20.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Json
from pydantic_core import from_json

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.datasets.checks import Call, checked, fitting
from magistral_workloads.datasets.pickled import TooLargeError, packed_text
from magistral_workloads.datasets.row import PYTHON_PROGRAM, Id, LeftOut, PublishedRow, Text

NO_TEST = "it has no test that we can run"
TOO_LARGE = "its tests are too large"


class PublishedTest(PublishedRow):
    """Of a program: standard input and output. Of a function: an argument in JSON a line, and the result in JSON."""

    input: str
    output: str
    testtype: Literal["stdin", "functional"]


class Metadata(PublishedRow):
    """`func_name`: the function that functional tests call."""

    func_name: str | None = None


def unpacked(value: Any) -> Any:
    """Private tests as data; None when there are more than we unpack. Raises ValueError when they are anything else."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value if value.lstrip().startswith("[") else packed_text(value))
    except TooLargeError:
        return None


class LiveCodeBench(PublishedRow):
    """A row. `private_test_cases` None: they were too large to unpack."""

    question_id: Id
    question_content: Text
    starter_code: str
    public_test_cases: Json[list[PublishedTest]]
    private_test_cases: Annotated[list[PublishedTest] | None, BeforeValidator(unpacked)]
    metadata: Json[Metadata]


def problem(row: LiveCodeBench) -> Problem | LeftOut:
    if row.private_test_cases is None:
        return LeftOut(TOO_LARGE)
    tests = [*row.public_test_cases, *row.private_test_cases]
    name = f"livecodebench/{row.question_id}"
    if tests and all(test.testtype == "functional" for test in tests):
        return _function(row, tests, name)
    programs = fitting([CodeTest(stdin=test.input, stdout=test.output) for test in tests if test.testtype == "stdin"], name)
    if not programs:
        return LeftOut(NO_TEST)
    return Problem(id=name, kind="code", language="python", source="livecodebench", tests=programs,
                   prompt=f"{row.question_content.strip()}\n\n{PYTHON_PROGRAM}")


def _function(row: LiveCodeBench, tests: Sequence[PublishedTest], name: str) -> Problem | LeftOut:
    try:
        calls = [Call([from_json(line) for line in test.input.split("\n")], [from_json(test.output)]) for test in tests]
    except ValueError:
        return LeftOut(NO_TEST)
    found = checked(row.metadata.func_name or "", calls, name)
    if found is None:
        return LeftOut(NO_TEST)
    return Problem(
        id=name, kind="code", language="python", source="livecodebench", check=found.check, entry_point=found.entry_point,
        prefix=found.prefix, prompt=f"{row.question_content.strip()}\n\nComplete this Python code.\n\n"
                                    f"```python\n{row.starter_code.rstrip()}\n```")
