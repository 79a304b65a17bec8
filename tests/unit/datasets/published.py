"""Small rows in the schemas of the published sets, with all their fields; the content is ours."""

import base64
import json
import pickle
import zlib
from typing import Any

from magistral_api.problems import DataFormat, Problem
from magistral_workloads.datasets.formats import FORMATS
from magistral_workloads.datasets.row import LeftOut

STDIN_TESTS = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
               {"input": "4 5\n", "output": "9\n", "testtype": "stdin"}]
CALL_TESTS = [{"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"},
              {"input": "[]\n7", "output": "[]", "testtype": "functional"}]


def packed(value: Any) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


ROWS: dict[DataFormat, dict[str, Any]] = {
    "problems": {"id": "own-1", "kind": "maths", "prompt": "1+1?", "answer": "2"},
    "aime24": {"id": 60, "problem": "Find $x$.", "solution": "It is \\boxed{033}.", "answer": "033", "url": "https://e.org/1",
               "year": "2024"},
    "aime25": {"problem": "Find $y$.", "answer": "70", "id": "0"},
    "math500": {"problem": "Halve it.", "solution": "\\boxed{\\frac12}", "answer": "\\frac{1}{2}", "subject": "Algebra",
                "level": 2, "unique_id": "test/algebra/1.json"},
    "gpqa": {"Record ID": "rec1", "Question": "Which metal melts\nfirst? ", "Correct Answer": "mercury ",
             "Incorrect Answer 1": "iron", "Incorrect Answer 2": "gold", "Incorrect Answer 3": "tin", "Subdomain": "Chemistry",
             "Explanation": "It is liquid, as is known."},
    "livecodebench": {
        "question_title": "Sum", "question_content": "Add two numbers.", "platform": "atcoder", "question_id": "abc001_a",
        "contest_id": "abc001", "contest_date": "2024-01-01T00:00:00", "starter_code": "", "difficulty": "easy",
        "public_test_cases": json.dumps(STDIN_TESTS[:1]), "private_test_cases": packed(json.dumps(STDIN_TESTS[1:])),
        "metadata": "{}"},
    "hle": {"id": "66e8", "question": "Name the capital of the moon.", "image": "", "image_preview": None, "answer": "none",
            "answer_type": "exactMatch", "author_name": "us", "rationale": "", "rationale_image": None,
            "raw_subject": "Geography", "category": "Other", "canary": "c"},
    "humaneval": {"task_id": "HumanEval/900", "prompt": "def one():\n    \"\"\"Return 1.\"\"\"\n", "entry_point": "one",
                  "canonical_solution": "    return 1\n", "test": "def check(candidate):\n    assert candidate() == 1\n"},
    "openthoughts": {
        "problem": "Solve $x+1=3$.", "deepseek_reasoning": "Hm.", "deepseek_solution": "2",
        "ground_truth_solution": "First \\boxed{1}, so \\boxed{\\frac{4}{2}}.", "domain": "math", "source": "numina_math",
        "test_cases": None, "starter_code": None},
    "openr1-code": {
        "id": "1/A", "aliases": None, "contest_id": "1", "contest_name": "Round 1", "contest_type": "CF", "contest_start": 0,
        "contest_start_year": 2010, "index": "A", "time_limit": 1.0, "memory_limit": 256.0, "title": "Sum",
        "description": "Add two numbers.", "input_format": "Two numbers.", "output_format": "Their sum.",
        "interaction_format": None, "note": "Mind the sign.", "examples": [{"input": "1 2\n", "output": "3\n"}],
        "editorial": None, "rating": 800, "tags": ["math"], "testset_size": 2,
        "official_tests": [{"input": "1 2\n", "output": "3\n"}, {"input": "4 5\n", "output": "9\n"}],
        "official_tests_complete": True, "input_mode": "stdio", "generated_checker": None, "executable": True,
        "generated_tests": 0},
}
FUNCTION_ROWS: dict[DataFormat, dict[str, Any]] = {
    "livecodebench": ROWS["livecodebench"] | {
        "question_content": "Add k to each.", "platform": "leetcode",
        "starter_code": "class Solution:\n    def check(self, numbers: List[int], k: int) -> List[int]:\n        ",
        "public_test_cases": json.dumps(CALL_TESTS[:1]), "private_test_cases": packed(json.dumps(CALL_TESTS[1:])),
        "metadata": json.dumps({"func_name": "check"})},
    "openthoughts": ROWS["openthoughts"] | {
        "problem": "Add k to each.", "domain": "code", "source": "taco", "ground_truth_solution": None,
        "starter_code": "def check(numbers, k):\n\t",
        "test_cases": json.dumps({"fn_name": "check", "inputs": [[[1, 2], 3], [[], 7]], "outputs": [[[4, 5]], []]})},
}
"""Of the sets that test functions. The function's name is one that a careless check would trip over."""


def convert(data_format: DataFormat, row: dict[str, Any]) -> Problem | LeftOut:
    """The row through JSON and the format's converter. Raises pydantic.ValidationError."""
    found = FORMATS[data_format]
    return found.problem(found.row.model_validate_json(json.dumps(row)))


def made(data_format: DataFormat, **changed: Any) -> Problem:
    """The problem of the format's row with fields changed."""
    problem = convert(data_format, ROWS[data_format] | changed)
    assert isinstance(problem, Problem)
    return problem


def reason(data_format: DataFormat, **changed: Any) -> str:
    """Why the row with fields changed is left out."""
    left_out = convert(data_format, ROWS[data_format] | changed)
    assert isinstance(left_out, LeftOut)
    return left_out.reason
