"""A generator pod's process with a real vLLM, a real object store and a random Mistral model of 100,000 parameters."""

import asyncio
import itertools
from pathlib import Path

import aiohttp
import pytest

from dev.byte_tokenizer import END
from magistral_workloads.conductor.completion import Completion
from magistral_workloads.contracts import (
    GenerateChunk,
    GenerateRequest,
    WeightsRequest,
    WeightsResponse,
)
from magistral_workloads.routes import bearer
from magistral_workloads.transport.weights.store import publish
from tests.generator import tiny
from tests.generator.conftest import Pod
from tests.generator.forward import forward
from tests.unit.config import UID

pytestmark = pytest.mark.asyncio(loop_scope="session")

def request(seed: int, tokens: int, **fields: object) -> GenerateRequest:
    return GenerateRequest.model_validate({
        "request_id": f"r{seed}", "prompt_tokens": [5, 6, 7], "max_tokens": tokens, "temperature": 1.0, "seed": seed,
        "cache_salt": "v1"} | fields)


async def test_a_generator_without_given_weights_answers_503(pod: Pod) -> None:
    assert pod.first_answer == 503


async def test_every_route_but_healthz_wants_the_runs_token(pod: Pod) -> None:
    async with aiohttp.ClientSession(pod.url) as stranger:
        for method, path in (("POST", "/v1/generate"), ("POST", "/v1/weights"), ("GET", "/v1/status")):
            for headers in ({}, bearer("another token")):
                async with stranger.request(method, path, headers=headers) as answer:
                    assert answer.status == 401, path
        async with stranger.get("/healthz") as answer:
            assert answer.status == 200


async def test_logprobs_after_an_update_are_those_of_the_new_weights(pod: Pod) -> None:
    """The proof that a version is live: the trainer's own forward pass gives the same numbers."""
    for version in (1, 2):
        status, text = await pod.give(await pod.publish(version))
        assert status == 200, text
        error = WeightsResponse.model_validate_json(text).probe_error
        assert error is not None
        assert error < 1e-4
        answer = await pod.complete(request(7, 40, cache_salt=f"v{version}", stop_token_ids=[END]))
        assert answer.versions == [(version, len(answer.tokens))]
        assert list(answer.logprobs) == pytest.approx(forward(pod.models[version], [5, 6, 7], list(answer.tokens)), abs=1e-4)


async def test_updates_while_requests_run_abort_none_and_are_seen_in_their_version_spans(pod: Pod) -> None:
    published = [await pod.publish(1), await pod.publish(3)]
    assert (await pod.give(published[0]))[0] == 200
    seeds, updated = itertools.count(), asyncio.Event()

    async def one_after_the_other(tokens: int) -> list[tuple[int, Completion]]:
        answers = [(tokens, await pod.complete(request(next(seeds), tokens)))]
        while not updated.is_set():
            answers.append((tokens, await pod.complete(request(next(seeds), tokens))))
        return answers

    # Of different lengths: all of one length end in the same step, and for a moment none is running.
    running = asyncio.gather(*(one_after_the_other(tokens) for tokens in range(440, 920, 20)))
    while not (await pod.status()).running:
        pass
    gives = [await pod.give(published[turn % 2]) for turn in range(1, 9)]
    updated.set()
    assert [status for status, _ in gives] == [200] * 8
    answers = [answer for lane in await running for answer in lane]
    told = [WeightsResponse.model_validate_json(text) for _, text in gives]
    # Where this process gets no core for a while, all completions may have ended when it does.
    assert [one.running > 0 for one in told].count(True) > len(told) / 2, told
    assert sum(one.aborted for one in told) == 0
    assert len(answers) == next(seeds) >= 24
    assert (await pod.status()).aborted == 0
    for tokens, answer in answers:
        assert sum(count for _, count in answer.versions) == len(answer.tokens) == len(answer.logprobs)
        assert answer.finish_reason == ("length" if len(answer.tokens) == tokens else "stop")
    assert any({version for version, _ in answer.versions} == {1, 3} for _, answer in answers)


async def test_the_same_weights_twice_are_loaded_once(pod: Pod) -> None:
    published = await pod.publish(2)
    before = (await pod.status()).updates
    assert [(await pod.give(published))[0] for _ in range(2)] == [200, 200]
    assert (await pod.status()).updates == before + 1


async def test_damaged_weights_leave_the_version_that_serves(pod: Pod) -> None:
    held = await pod.publish(1)
    assert (await pod.give(held))[0] == 200
    damaged = WeightsRequest(version=9, uri=held.uri, digest="sha256:" + "0" * 64)
    status, text = await pod.give(damaged)
    assert status == 502, text
    assert "DigestMismatch" in text
    assert (await pod.status()).version == 1
    assert (await pod.generate(request(1, 4)))[0] == 200


async def test_weights_of_another_size_are_refused_before_they_reach_vllm(pod: Pod, tmp_path: Path) -> None:
    assert (await pod.give(await pod.publish(1)))[0] == 200
    other = tiny.model(tmp_path / "wide", 0, hidden_size=128)
    uri, digest = publish(pod.store, UID, 50, other, nonce="0")
    status, text = await pod.give(WeightsRequest(version=50, uri=uri, digest=digest))
    assert status == 409, text
    assert "found (257, 128); expected (257, 64)" in text
    assert (await pod.status()).version == 1


async def test_superseded_weights_leave_the_disk(pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> None:
    for version in (1, 2, 3):
        assert (await pod.give(await pod.publish(version)))[0] == 200
    weights = pod.models[0].parent / "weights"
    assert sorted(folder.name.split("-")[0] for folder in weights.iterdir()) == ["000003", "base"]


async def test_a_prompt_longer_than_the_model_takes_is_the_callers_fault(pod: Pod) -> None:
    assert (await pod.give(await pod.publish(1)))[0] == 200
    status, text = await pod.generate(request(1, 4, prompt_tokens=[5] * 2000))
    assert status == 400
    assert "maximum model length" in text


async def test_a_completion_goes_on_from_its_prefix(pod: Pod) -> None:
    assert (await pod.give(await pod.publish(1)))[0] == 200
    whole = await pod.complete(request(3, 20, temperature=0.0))
    rest = await pod.complete(request(3, 20, temperature=0.0, prefix_tokens=list(whole.tokens[:8])))
    assert rest.tokens == whole.tokens[8:]


async def test_a_completion_comes_in_pieces_and_its_parts_are_the_whole(pod: Pod) -> None:
    assert (await pod.give(await pod.publish(1)))[0] == 200
    _, text = await pod.generate(request(3, 20, temperature=0.0, stream_tokens=4))
    pieces = [GenerateChunk.model_validate_json(line) for line in text.splitlines()]
    assert len(pieces) > 2
    assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert pieces[-1].versions == [(1, 20)]
    whole = await pod.complete(request(3, 20, temperature=0.0, stream_tokens=100))
    assert [token for piece in pieces for token in piece.tokens] == list(whole.tokens)


async def test_more_prompts_at_once_than_one_step_takes_are_all_answered(pod: Pod) -> None:
    assert (await pod.give(await pod.publish(1)))[0] == 200
    # 2,048 tokens a step by vLLM's own choice: two of these and a part of a third.
    answers = await asyncio.gather(*(pod.complete(request(seed, 4, prompt_tokens=[seed] * 900)) for seed in range(1, 13)))
    assert all(answer.tokens for answer in answers)
