"""A generator pod's process with a real vLLM, a real object store and a random Mistral model of 100,000 parameters."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import torch
from minio import Minio
from transformers import MistralForCausalLM

from dev.cluster import minio as servers
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.contracts import (
    GenerateRequest,
    GenerateResponse,
    GeneratorStatus,
    WeightsRequest,
    WeightsResponse,
)
from magistral_workloads.roles import generator
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore
from magistral_workloads.transport.weights.store import publish
from tests.byte_tokenizer import END
from tests.generator import tiny
from tests.unit.config import UID, stage_config

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "a token of this test"
ARGUMENTS = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "32"]
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
START_SECONDS = 280


@dataclass
class Pod:
    """A running generator and the store that it fetches from."""

    session: aiohttp.ClientSession
    store: ObjectStore
    models: dict[int, Path]
    served: "asyncio.Task[int]"
    published: dict[int, WeightsRequest] = field(default_factory=dict)

    async def publish(self, version: int) -> WeightsRequest:
        if version not in self.published:
            uri, digest = await asyncio.to_thread(publish, self.store, UID, version, self.models[version], nonce="0")
            self.published[version] = WeightsRequest(version=version, uri=uri, digest=digest)
        return self.published[version]

    async def give(self, request: WeightsRequest) -> tuple[int, str]:
        async with self.session.post("/v1/weights", json=request.wire()) as answer:
            return answer.status, await answer.text()

    async def generate(self, request: GenerateRequest) -> tuple[int, str]:
        async with self.session.post("/v1/generate", json=request.wire()) as answer:
            return answer.status, await answer.text()

    async def status(self) -> GeneratorStatus:
        async with self.session.get("/v1/status") as answer:
            return GeneratorStatus.model_validate_json(await answer.read())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod(s3_server: servers.Store, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pod]:
    """Ready, and given no weights yet."""
    scratch = tmp_path_factory.mktemp("scratch")
    storage = Storage(endpoint=s3_server.url, bucket="generator", credentials_secret_ref=SecretRef(name="store"))
    Minio(s3_server.address, s3_server.access_key, s3_server.secret_key, secure=False).make_bucket(storage.bucket)
    store = ObjectStore(storage, s3_server.access_key, s3_server.secret_key)
    models = {seed: tiny.model(scratch / f"model-{seed}", seed) for seed in range(4)}
    for file in models[0].iterdir():
        store.put_file(f"models/base/{file.name}", file)
    with socket.socket() as probe, pytest.MonkeyPatch.context() as environment:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        for name, value in ENVIRONMENT.items():
            environment.setenv(name, value)
        stop = asyncio.Event()
        served = asyncio.create_task(generator.run(
            stage_config("rl", storage, device="cpu"), store, TOKEN, ARGUMENTS, scratch=scratch, port=port, stop=stop))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=bearer(TOKEN)) as session:
            async with asyncio.timeout(START_SECONDS):
                await until_ready(session, served)
            yield Pod(session, store, models, served)
        stop.set()
        assert await served == 0


async def until_ready(session: aiohttp.ClientSession, served: "asyncio.Task[int]") -> None:
    while not served.done():
        try:
            async with session.get("/healthz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.2)
    raise AssertionError(f"the generator ended before it was ready: {served.result()}")


def request(seed: int, tokens: int, **fields: object) -> GenerateRequest:
    return GenerateRequest.model_validate({
        "request_id": f"r{seed}", "prompt_tokens": [5, 6, 7], "max_tokens": tokens, "temperature": 1.0, "seed": seed,
        "cache_salt": "v1"} | fields)


async def test_a_generator_without_given_weights_answers_503(pod: Pod) -> None:
    status, text = await pod.generate(request(0, 4))
    assert (status, (await pod.status()).version) == (503, None), text


async def test_every_route_but_healthz_wants_the_runs_token(pod: Pod) -> None:
    async with aiohttp.ClientSession(pod.session._base_url) as stranger:
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
        status, text = await pod.generate(request(7, 40, cache_salt=f"v{version}", stop_token_ids=[END]))
        assert status == 200, text
        answer = GenerateResponse.model_validate_json(text)
        assert answer.versions == [(version, len(answer.tokens))]
        assert answer.logprobs == pytest.approx(forward(pod.models[version], [5, 6, 7], answer.tokens), abs=1e-4)


async def test_updates_while_requests_run_abort_none_and_are_seen_in_their_version_spans(pod: Pod) -> None:
    published = [await pod.publish(1), await pod.publish(3)]
    assert (await pod.give(published[0]))[0] == 200
    running = asyncio.gather(*(pod.generate(request(seed, 900)) for seed in range(24)))
    gives = [await pod.give(published[turn % 2]) for turn in range(1, 9)]
    assert [status for status, _ in gives] == [200] * 8
    assert WeightsResponse.model_validate_json(gives[0][1]).running > 0
    assert sum(WeightsResponse.model_validate_json(text).aborted for _, text in gives) == 0
    answers = [GenerateResponse.model_validate_json(text) for status, text in await running if status == 200]
    assert len(answers) == 24
    assert (await pod.status()).aborted == 0
    for answer in answers:
        assert sum(count for _, count in answer.versions) == len(answer.tokens) == len(answer.logprobs)
        assert answer.finish_reason == ("length" if len(answer.tokens) == 900 else "stop")
    assert any({version for version, _ in answer.versions} == {1, 3} for answer in answers)


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
    whole = GenerateResponse.model_validate_json((await pod.generate(request(3, 20, temperature=0.0)))[1])
    rest = GenerateResponse.model_validate_json(
        (await pod.generate(request(3, 20, temperature=0.0, prefix_tokens=whole.tokens[:8])))[1])
    assert rest.tokens == whole.tokens[8:]


def forward(folder: Path, prompt: list[int], completion: list[int]) -> list[float]:
    """Log-probabilities of the completion by transformers."""
    model = MistralForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1:-1]
    chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(completion)[:, None])
    return [float(value) for value in chosen[:, 0]]
