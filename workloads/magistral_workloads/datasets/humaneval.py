"""HumanEval: Python functions to complete, each with its own check.

Source: repository openai/human-eval (data/HumanEval.jsonl.gz; task_id, prompt, entry_point, canonical_solution, test).
Read: task_id, prompt, entry_point, test.
"""

from magistral_api.problems import Problem
from magistral_workloads.datasets.row import Id, PublishedRow, Text


class HumanEval(PublishedRow):
    """A row. `test` defines `check(candidate)`."""

    task_id: Id
    prompt: Text
    entry_point: Text
    test: Text


def problem(row: HumanEval) -> Problem:
    return Problem(
        id=row.task_id, kind="code", language="python", source="human-eval", check=row.test, entry_point=row.entry_point,
        prefix=row.prompt, prompt=f"Complete this Python function.\n\n```python\n{row.prompt.rstrip()}\n```")
