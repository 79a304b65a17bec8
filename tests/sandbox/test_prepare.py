"""Preparation with a real verifier: solutions in two languages judge the tests of their problem."""

from pathlib import Path

from aiohttp.test_utils import TestServer

from magistral_api.names import prompts_key
from magistral_api.problems import CodeTest, Problem, Solution
from magistral_api.runtime import Storage
from magistral_workloads.conductor.verifier import verifier as client
from magistral_workloads.recipe.prepare import make
from magistral_workloads.roles import verifier
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore
from tests.unit.config import UID, stage_config

DOUBLE = Solution(language="python", source="print(2 * int(input()))")
DOUBLE_CPP = Solution(language="cpp", source="#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }")
OLD = Solution(language="python", source="print 2 * input()")
SLOW = Solution(language="python", source="n = int(input())\nwhile n == 3: pass\nprint(2 * n)")
DOUBLED = Problem(id="doubled", kind="code", prompt="Double it.", solutions=[DOUBLE, DOUBLE_CPP, OLD, SLOW], tests=[
    CodeTest(stdin="1\n", stdout="2\n"), CodeTest(stdin="2\n", stdout="5\n"), CodeTest(stdin="3\n", stdout="6\n"),
    CodeTest(stdin="many\n", stdout="x")])


async def test_tests_are_kept_corrected_and_dropped_by_programs_that_really_ran(
        s3: ObjectStore, s3_storage: Storage, tmp_path: Path) -> None:
    s3.put("prompts.jsonl", DOUBLED.model_dump_json(by_alias=True).encode())
    rules = {"minAgreement": 0.6, "minSolutions": 3, "minTests": 3}
    config = stage_config("prepare", s3_storage, spec={"rl": {"prompts": [
        {"uri": s3.uri("prompts.jsonl"), "codeTests": rules, "languages": ["python", "cpp"]}]}})
    async with (TestServer(verifier.application("secret", "landlock", 2)) as server,
                client(bearer("secret"), str(server.make_url("")).rstrip("/")) as grader):
        made = await make(config, s3, tmp_path, grader, lambda done, of: None)
    assert made.tests == {"kept": 2, "corrected": 1, "dropped": 1}
    python, cpp = (Problem.model_validate_json(line) for line in s3.get(prompts_key(UID)).splitlines())
    assert [(test.stdin, test.stdout.strip()) for test in python.tests] == [("1\n", "2"), ("2\n", "4"), ("3\n", "6")]
    assert (python.language, cpp.language, cpp.tests) == ("python", "cpp", python.tests)
