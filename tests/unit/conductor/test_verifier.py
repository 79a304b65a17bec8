"""The client of verifiers."""

import asyncio

import pytest

from magistral_api.problems import Problem
from magistral_workloads.conductor.verifier import NoOutputsError, UngradableError, VerifierError, verifier
from magistral_workloads.contracts import ProgramRequest, RewardConfig, VerifyRequest
from tests.unit.conductor.standins import HEADERS, VerifierStandIn, at


def request(answer: str | None = "4") -> VerifyRequest:
    return VerifyRequest(problem=Problem(id="p", kind="maths", prompt="2+2?", answer=answer), completion="4",
                         completion_tokens=2, reward=RewardConfig(max_unpenalized_tokens=8, cache_tokens=2))


async def test_an_infrastructure_error_is_asked_again_and_counted() -> None:
    standin = VerifierStandIn(faults=2)
    async with at(standin) as url, verifier(HEADERS, url) as client:
        verdict = await client.verify(request())
        assert (verdict.outcome, client.infrastructure_errors, standin.asked) == ("pass", 2, 3)


async def test_an_infrastructure_error_that_stays_is_told_as_one() -> None:
    standin = VerifierStandIn(faults=99)
    async with at(standin) as url, verifier(HEADERS, url) as client:
        assert (await client.verify(request())).outcome == "infrastructure_error"


async def test_a_busy_verifier_is_asked_again() -> None:
    standin = VerifierStandIn(busy=2)
    async with at(standin) as url, verifier(HEADERS, url) as client:
        assert (await client.verify(request())).outcome == "pass"


async def test_a_problem_that_cannot_be_graded_is_not_tried_again() -> None:
    standin = VerifierStandIn()
    async with at(standin) as url, verifier(HEADERS, url) as client:
        with pytest.raises(UngradableError, match="has no answer"):
            await client.verify(request(answer=None))
    assert standin.asked == 1


async def test_patience_with_absent_verifiers_ends() -> None:
    async with at(VerifierStandIn()) as url:
        pass
    async with verifier(HEADERS, url) as client:
        client._patience = 0.1
        with pytest.raises(VerifierError, match="no answer within"):
            async with asyncio.timeout(20):
                await client.verify(request())


ECHO = ProgramRequest(language="python", source="echo", inputs=["1", "2", "x" * 300_000])


async def test_outputs_of_a_program_come_in_the_order_of_its_inputs_however_long_they_are() -> None:
    async with at(VerifierStandIn(prints=lambda source, text: None if text == "1" else text)) as url, \
            verifier(HEADERS, url) as client:
        given = await client.run(ECHO)
    assert [(one.outcome, one.output) for one in given] == [("failure", ""), ("output", "2"), ("output", "x" * 300_000)]


async def test_a_program_that_could_not_be_run_is_given_to_another_verifier() -> None:
    standin = VerifierStandIn(faults=2, prints=lambda source, text: text)
    async with at(standin) as url, verifier(HEADERS, url) as client:
        assert [one.output for one in await client.run(ECHO)] == ECHO.inputs
    assert (standin.asked, client.infrastructure_errors) == (3, 2)


async def test_a_program_that_no_verifier_can_run_is_no_failure_of_the_program() -> None:
    async with at(VerifierStandIn(faults=99)) as url, verifier(HEADERS, url) as client:
        with pytest.raises(NoOutputsError, match="no room"):
            await client.run(ECHO)
