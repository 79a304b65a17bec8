"""A generator pod's process with a real vLLM, a real object store and a random Mistral model of 100,000 parameters."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from minio import Minio

from dev.cluster import minio as servers
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.conductor.completion import Completion
from magistral_workloads.contracts import GenerateChunk, GenerateRequest, GeneratorStatus, WeightsRequest
from magistral_workloads.roles import generator
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore
from magistral_workloads.transport.weights.probe import TOLERANCE, Probe, fixed_tokens, write
from magistral_workloads.transport.weights.store import publish
from tests.generator import tiny
from tests.generator.forward import forward
from tests.unit.conductor.standins import TOKEN
from tests.unit.config import UID, stage_config

ARGUMENTS = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "32"]
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
START_SECONDS = 280


@dataclass
class Pod:
    """A running generator and the store that it fetches from."""

    url: str
    session: aiohttp.ClientSession
    store: ObjectStore
    models: dict[int, Path]
    served: "asyncio.Task[int]"
    first_answer: int = 0
    published: dict[int, WeightsRequest] = field(default_factory=dict)

    async def publish(self, version: int) -> WeightsRequest:
        if version not in self.published:
            tokens = fixed_tokens(257)
            write(self.models[version], Probe(tokens=tokens, tolerance=TOLERANCE["float32"],
                                              logprobs=forward(self.models[version], tokens[:1], tokens[1:])))
            uri, digest = await asyncio.to_thread(publish, self.store, UID, version, self.models[version], nonce="0")
            self.published[version] = WeightsRequest(version=version, uri=uri, digest=digest)
        return self.published[version]

    async def give(self, request: WeightsRequest) -> tuple[int, str]:
        async with self.session.post("/v1/weights", json=request.wire()) as answer:
            return answer.status, await answer.text()

    async def generate(self, request: GenerateRequest) -> tuple[int, str]:
        async with self.session.post("/v1/generate", json=request.wire()) as answer:
            return answer.status, await answer.text()

    async def complete(self, request: GenerateRequest) -> Completion:
        """A whole completion, as the conductor puts it together."""
        made = Completion()
        status, text = await self.generate(made.rest(request))
        assert status == 200, text
        for line in text.splitlines():
            made.add(GenerateChunk.model_validate_json(line))
        assert made.finish_reason
        return made

    async def status(self) -> GeneratorStatus:
        async with self.session.get("/v1/status") as answer:
            return GeneratorStatus.model_validate_json(await answer.read())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
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
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(url, headers=bearer(TOKEN)) as session:
            async with asyncio.timeout(START_SECONDS):
                await until_ready(session, served)
            found = Pod(url, session, store, models, served)
            found.first_answer, _ = await found.generate(GenerateRequest(
                request_id="early", prompt_tokens=[5], max_tokens=1, temperature=1, seed=0, cache_salt="early"))
            yield found
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
