"""The verifier as its callers see it: real HTTP, real boxes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from magistral_api.problems import CodeTest, Language, Problem
from magistral_workloads.contracts import (
    RUNS_AT_ONCE,
    ProgramOutput,
    ProgramRequest,
    RewardConfig,
    VerifyRequest,
    VerifyResponse,
)
from magistral_workloads.roles import verifier

TOKEN = {"Authorization": "Bearer secret"}
SUM = Problem(id="sum", kind="code", prompt="Print the sum.", language="python",
              tests=[CodeTest(stdin="1 2\n", stdout="3\n")])
Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TestClient(TestServer(verifier.application("secret", "landlock", 2))) as opened:
        yield opened


def request(answer: str, problem: Problem) -> VerifyRequest:
    return VerifyRequest(problem=problem, completion=f"<think>a</think>{answer}", completion_tokens=9,
                         reward=RewardConfig(max_unpenalized_tokens=80, cache_tokens=16))


async def verify(client: Client, answer: str, problem: Problem = SUM) -> VerifyResponse:
    answered = await client.post("/v1/verify", json=request(answer, problem).wire(), headers=TOKEN)
    assert answered.status == 200, await answered.text()
    return VerifyResponse.model_validate_json(await answered.read())


async def test_health_says_the_level_without_a_token(client: Client) -> None:
    answered = await client.get("/healthz")
    assert (answered.status, (await answered.json())["isolation"]) == (200, "landlock")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}])
async def test_a_caller_without_the_runs_token_is_refused(client: Client, headers: dict[str, str]) -> None:
    assert (await client.post("/v1/verify", json={}, headers=headers)).status == 401


async def test_a_body_of_another_form_is_refused_with_its_field(client: Client) -> None:
    body = request("x", SUM).wire() | {"colour": "red"}
    answered = await client.post("/v1/verify", json=body, headers=TOKEN)
    assert (answered.status, "colour" in await answered.text()) == (422, True)


async def test_a_problem_that_cannot_be_graded_is_refused_by_name(client: Client) -> None:
    problem = SUM.model_copy(update={"tests": []})
    answered = await client.post(
        "/v1/verify", json=request("```python\nprint(3)\n```", problem).wire(), headers=TOKEN)
    assert (answered.status, "problem sum" in await answered.text()) == (422, True)


async def test_programs_and_sums_are_graded_at_the_same_time(client: Client) -> None:
    sum_of = Problem(id="m", kind="maths", prompt="2+3?", answer=r"\sqrt{25}")
    right = "```python\nprint(sum(map(int, input().split())))\n```"
    given = await asyncio.gather(*[
        verify(client, right), verify(client, "```python\nprint(4)\n```"), verify(client, right),
        verify(client, r"\boxed{5}", sum_of), verify(client, r"\boxed{6}", sum_of)])
    assert [one.outcome for one in given] == ["pass", "fail", "pass", "pass", "fail"]


async def run(client: Client, source: str, *inputs: str, language: Language = "python") -> list[ProgramOutput]:
    body = ProgramRequest(language=language, source=source, inputs=list(inputs))
    answered = await client.post("/v1/run", json=body.wire(), headers=TOKEN)
    assert answered.status == 200, await answered.text()
    return [ProgramOutput.model_validate_json(line) for line in (await answered.read()).splitlines()]


async def test_a_program_is_run_on_each_input_and_what_it_prints_comes_back(client: Client) -> None:
    given = await run(client, "print(6 // int(input()))", "2\n", "0\n", "3\n")
    assert [(one.outcome, one.output, one.detail) for one in given] == [
        ("output", "3\n", ""), ("failure", "", "exit code 1"), ("output", "2\n", "")]


async def test_a_program_is_compiled_once_for_all_its_inputs(client: Client) -> None:
    doubled = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }"
    assert [one.output for one in await run(client, doubled, "1", "2", language="cpp")] == ["2", "4"]
    given = await run(client, "int main() { return wrong; }", "1", "2", language="cpp")
    assert [one.outcome for one in given] == ["failure"] * 2
    assert given[0].detail.startswith("compiler: ")


@pytest.mark.parametrize(("source", "detail"), [
    ("while True: pass", "timeout"), ("while True: print('x' * 65536)", "output"), ("x = bytearray(8 << 30)", "exit code 1"),
    ("import os; os.write(1, b'\\xff')", "the output is no UTF-8"), ("import socket; socket.socket()", "exit code 1")])
async def test_a_program_is_run_under_the_limits_of_grading(client: Client, source: str, detail: str) -> None:
    (given,) = await run(client, source, "")
    assert (given.outcome, given.detail.startswith(detail)) == ("failure", True), given


async def test_outputs_as_long_as_grading_takes_them_are_given_back_whole(client: Client) -> None:
    given = await run(client, "print('x' * (15 << 20))", *["" for _ in range(3)])
    assert [len(one.output) for one in given] == [(15 << 20) + 1] * 3


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}])
async def test_a_caller_without_the_runs_token_runs_nothing(client: Client, headers: dict[str, str]) -> None:
    assert (await client.post("/v1/run", json={}, headers=headers)).status == 401


@pytest.mark.parametrize("inputs", [[], [""] * (RUNS_AT_ONCE + 1)])
async def test_a_request_is_for_one_input_at_least_and_no_more_than_a_completion_is_graded_on(
        client: Client, inputs: list[str]) -> None:
    body = {"language": "python", "source": "print(1)", "inputs": inputs}
    answered = await client.post("/v1/run", json=body, headers=TOKEN)
    assert (answered.status, "inputs" in await answered.text()) == (422, True)


async def test_a_verifier_below_the_minimum_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "self_test", _nothing_held)
    with pytest.raises(verifier.IsolationError, match="expected at least landlock"):
        async with TestClient(TestServer(verifier.application("secret", "landlock", 1))):
            pass


async def _nothing_held(_: object) -> verifier.SelfTest:
    return verifier.SelfTest("none", 0, ("open a socket",))
