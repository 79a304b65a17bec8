"""Models on suites: real store, real clients; generators and verifiers are stand-ins that speak the contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dev.byte_tokenizer import END, tokenizer
from magistral_api.config import ModelAt
from magistral_api.names import graded_prefix
from magistral_api.problems import Problem
from magistral_api.suites import Suite
from magistral_workloads.conductor.fleet import fleet
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import verifier
from magistral_workloads.evaluation.answers import PART_ANSWERS, GradedAnswer, read_answers
from magistral_workloads.evaluation.runner import Runner
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import ObjectStore
from tests.unit.conductor.standins import HEADERS, GeneratorStandIn, VerifierStandIn, at, reporter
from tests.unit.config import UID, stage_config

MODELS = {"base": ModelAt(uri="s3://b/models/base"), "RL": ModelAt(uri="s3://b/models/rl", digest="sha256:" + "1" * 64)}


class Place:
    """Where an evaluation runs: `suite(…)` puts one into the store."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.store = store
        self.generators = [GeneratorStandIn("a"), GeneratorStandIn("b")]
        self.verifier = VerifierStandIn()
        tokenizer().save_pretrained(folder)
        self.tokens = Tokens(folder)

    def suite(self, name: str, problems: int, runs: int, limit: int | None = None) -> Suite:
        lines = [Problem(id=f"{name}-{number}", kind="maths", prompt=f"{number}?", answer="1").model_dump_json(by_alias=True)
                 for number in range(problems)]
        self.store.put(f"suites/{name}.jsonl", "\n".join(lines).encode())
        return Suite(name, self.store.uri(f"suites/{name}.jsonl"), runs, 0.7, 0.95, 8, limit)

    @asynccontextmanager
    async def runner(self) -> AsyncIterator[Runner]:
        async with AsyncExitStack() as stack:
            urls = {await stack.enter_async_context(at(generator)) for generator in self.generators}
            verifier_url = await stack.enter_async_context(at(self.verifier))

            async def resolve() -> set[str]:
                return urls

            config = stage_config("evaluate", self.store._storage)
            generators = await stack.enter_async_context(fleet(HEADERS, resolve))
            grader = await stack.enter_async_context(verifier(HEADERS, verifier_url))
            yield Runner(config, reporter(config), self.store, generators, grader, self.tokens)

    @property
    def asked(self) -> int:
        return sum(len(generator.requests) for generator in self.generators)


@pytest.fixture
def place(s3: ObjectStore, tmp_path: Path) -> Place:
    return Place(s3, tmp_path)


async def test_every_model_answers_every_problem_of_every_suite_as_often_as_the_suite_says(place: Place) -> None:
    suites = [place.suite("one", 3, 4), place.suite("two", 5, 1, limit=2)]
    async with place.runner() as runner:
        graded = await runner.evaluate(MODELS, suites)
    assert [(found.model, found.suite, len(found.answers)) for found in graded] == [
        ("base", "one", 12), ("base", "two", 2), ("RL", "one", 12), ("RL", "two", 2)]
    results = [found.result() for found in graded]
    assert [(result.problems, result.k, result.maj_at_k is None) for result in results[:2]] == [(3, 4, False), (2, 1, True)]
    assert all(result.low <= result.pass_at_1 <= result.high for result in results)


async def test_the_suites_settings_and_the_tokenizers_stop_token_reach_the_generators(place: Place) -> None:
    async with place.runner() as runner:
        await runner.evaluate({"base": MODELS["base"]}, [place.suite("one", 2, 3)])
    requests = [request for generator in place.generators for request in generator.requests]
    assert {(request.temperature, request.top_p, request.max_tokens) for request in requests} == {(0.7, 0.95, 8)}
    assert all(request.stop_token_ids == [END] for request in requests)
    assert len({request.seed for request in requests}) == 6


async def test_each_model_is_given_to_all_generators_and_answers_under_a_salt_of_its_own(place: Place) -> None:
    async with place.runner() as runner:
        await runner.evaluate(MODELS, [place.suite("one", 4, 2)])
    salts = {request.cache_salt for generator in place.generators for request in generator.requests}
    assert len(salts) == len(MODELS)
    assert {generator.held.uri for generator in place.generators if generator.held} == {MODELS["RL"].uri}


async def test_an_evaluation_that_was_killed_does_not_ask_again_what_it_has_finished(place: Place) -> None:
    one, two = place.suite("one", 3, 2), place.suite("two", 2, 2)
    async with place.runner() as runner:
        first = await runner.evaluate({"base": MODELS["base"]}, [one])
    before = place.asked
    async with place.runner() as runner:
        again = await runner.evaluate(MODELS, [one, two])
    assert again[0] == first[0]
    assert place.asked - before == 2 * 2 + (3 + 2) * 2


def answers(place: Place, suite: str) -> list[GradedAnswer]:
    return list(read_answers(place.store, place.store.uri(f"{graded_prefix(UID)}/base/{suite}")))


async def test_answers_are_kept_whole(place: Place) -> None:
    place.verifier.passes = lambda request: request.problem.id == "one-1"
    async with place.runner() as runner:
        await runner.evaluate({"base": MODELS["base"]}, [place.suite("one", 3, 2)])
    found = answers(place, "one")
    assert sorted((one.problem_id, one.run, one.passed) for one in found) == [
        (f"one-{number}", run, number == 1) for number in range(3) for run in range(2)]
    assert {(one.model, one.suite, one.kind, one.prompt) for one in found} == {
        ("base", "one", "maths", f"{number}?") for number in range(3)}
    for one in found:
        assert one.completion
        assert len(place.tokens._tokenizer(one.completion)["input_ids"]) == one.tokens
        assert one.answer == str(one.tokens)
        assert not one.truncated


async def test_an_answer_that_the_token_limit_cut_says_so(place: Place) -> None:
    for generator in place.generators:
        generator.finish_reason = "length"
    async with place.runner() as runner:
        await runner.evaluate({"base": MODELS["base"]}, [place.suite("one", 2, 1)])
    assert [one.truncated for one in answers(place, "one")] == [True, True]


async def test_an_evaluation_that_was_told_to_end_goes_on_from_the_answers_that_it_has(place: Place) -> None:
    suite = place.suite("one", 50, 4)
    async with place.runner() as runner:
        task = asyncio.ensure_future(runner.evaluate({"base": MODELS["base"]}, [suite]))
        place.verifier.passes = lambda _: place.verifier.asked != 180 or task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    kept, before = {(one.problem_id, one.run) for one in answers(place, "one")}, place.asked
    assert PART_ANSWERS < len(kept) < 200
    place.verifier.passes = lambda _: True
    async with place.runner() as runner:
        (graded,) = await runner.evaluate({"base": MODELS["base"]}, [suite])
    assert place.asked - before == 200 - len(kept)
    assert len(answers(place, "one")) == len({(one.problem_id, one.run) for one in answers(place, "one")}) == 200
    assert list(graded.answers) == [(f"one-{number}", run) for number in range(50) for run in range(4)]


async def test_the_same_suite_with_other_problems_or_settings_is_evaluated_anew(place: Place) -> None:
    first = place.suite("one", 3, 2)
    async with place.runner() as runner:
        await runner.evaluate({"base": MODELS["base"]}, [first])
        before = place.asked
        await runner.evaluate({"base": MODELS["base"]}, [replace(first, temperature=1.0)])
        assert place.asked - before == 6
        await runner.evaluate({"base": MODELS["base"]}, [place.suite("one", 4, 2)])
    assert place.asked - before == 6 + 8
    assert len(answers(place, "one")) == 8


async def test_two_problems_of_one_name_are_the_users_fault(place: Place) -> None:
    suite = place.suite("one", 2, 1)
    place.store.put("suites/one.jsonl", place.store.get("suites/one.jsonl").replace(b"one-1", b"one-0"))
    async with place.runner() as runner:
        with pytest.raises(UserFault, match="found id 'one-0' twice"):
            await runner.evaluate(MODELS, [suite])


async def test_another_model_under_the_same_name_is_evaluated_anew(place: Place) -> None:
    suite = place.suite("one", 3, 2)
    async with place.runner() as runner:
        await runner.evaluate({"RL": MODELS["RL"]}, [suite])
        before = place.asked
        await runner.evaluate({"RL": ModelAt(uri="s3://b/models/rl", digest="sha256:" + "2" * 64)}, [suite])
    assert place.asked - before == 6


async def test_an_infrastructure_error_is_no_wrong_answer(place: Place) -> None:
    place.verifier.faults, place.verifier.passes = 5, lambda _: True
    async with place.runner() as runner:
        (graded,) = await runner.evaluate({"base": MODELS["base"]}, [place.suite("one", 4, 2)])
    assert graded.result().pass_at_1 == 1.0


async def test_an_empty_suite_is_the_users_fault(place: Place) -> None:
    suite = place.suite("none", 0, 1)
    async with place.runner() as runner:
        with pytest.raises(UserFault, match="found no problem in s3://"):
            await runner.evaluate(MODELS, [suite])
