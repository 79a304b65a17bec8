"""The code subset of OpenR1: problems of Codeforces with the official tests.

Source: data set open-r1/codeforces, subsets `default` and `verifiable` (parquet; its card tells the fields). Read: id,
title, description, input_format, output_format, note, examples, official_tests, official_tests_complete, input_mode,
interaction_format, generated_checker, executable. Not for the subset `verifiable-prompts`, which has each id twice.
"""

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.datasets.checks import fitting
from magistral_workloads.datasets.row import Id, LeftOut, PublishedRow, Text

PROGRAM = "Write a program in Python or C++ that reads standard input and writes standard output."


class Example(PublishedRow):
    """Of the statement, or an official test."""

    input: str
    output: str


class OpenR1Code(PublishedRow):
    """A row. `executable`: known solutions were seen to pass the tests."""

    id: Id
    title: str | None
    description: str | None
    input_format: str | None
    output_format: str | None
    note: str | None
    examples: list[Example] | None
    official_tests: list[Example] | None
    official_tests_complete: bool
    input_mode: Text
    interaction_format: str | None
    generated_checker: str | None
    executable: bool


def problem(row: OpenR1Code) -> Problem | LeftOut:
    if reason := _left_out(row):
        return LeftOut(reason)
    name = f"openr1-code/{row.id}"
    tests = fitting([CodeTest(stdin=test.input, stdout=test.output) for test in row.official_tests or []], name)
    if not tests:
        return LeftOut("it has no official test")
    return Problem(id=name, kind="code", source="openr1-code", prompt=statement(row), tests=tests)


def statement(row: OpenR1Code) -> str:
    """The parts that the row has, under headings."""
    examples = "\n\n".join(f"Input\n```\n{example.input.strip()}\n```\nOutput\n```\n{example.output.strip()}\n```"
                           for example in row.examples or [])
    parts = [("", row.description), ("## Input\n\n", row.input_format), ("## Output\n\n", row.output_format),
             ("## Examples\n\n", examples), ("## Note\n\n", row.note), ("", PROGRAM)]
    return "\n\n".join([f"# {row.title or row.id}", *(heading + text.strip() for heading, text in parts if text)])


def _left_out(row: OpenR1Code) -> str | None:
    """Why our grader, which compares outputs, cannot verify it."""
    reasons = {
        "it has no statement": not row.description,
        "it is interactive": row.interaction_format,
        "it reads and writes files": row.input_mode != "stdio",
        "several outputs are right, only its checker knows which": row.generated_checker,
        "official tests are missing, so wrong programs may pass": not row.official_tests_complete,
        "no solution is known to pass its tests": not row.executable,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
