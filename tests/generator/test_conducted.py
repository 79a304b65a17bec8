"""The real conductor over a real vLLM: what the ledger says of tokens is what the weights say of them."""

import asyncio
from pathlib import Path

import pytest

from dev.cluster.control_plane import LOOPBACK, free_ports
from magistral_api.names import ledger_key
from magistral_api.problems import Problem, RolloutRecord
from magistral_workloads.roles.conductor import Place, conduct
from magistral_workloads.transport.weights.store import publish
from tests.generator.conftest import Pod
from tests.generator.forward import forward
from tests.unit.conductor.standins import TOKEN, VerifierStandIn, at, reporter
from tests.unit.conductor.trainers import Trainers
from tests.unit.config import stage_config

pytestmark = pytest.mark.asyncio(loop_scope="session")

STEPS, BATCH, GROUP, UID = 3, 8, 4, "conducted"


async def test_updates_abort_nothing_and_the_ledgers_logprobs_are_those_of_the_weights_that_sampled(
        pod: Pod, tmp_path: Path) -> None:
    problems = [Problem(id=f"p{number}", kind="maths", prompt=f"{number}+1?", answer="1") for number in range(6)]
    pod.store.put("conducted/prompts.jsonl", "\n".join(p.model_dump_json(by_alias=True) for p in problems).encode())
    (port,) = free_ports(1)
    async with at(VerifierStandIn()) as verifier_url:
        config = stage_config("rl", pod.store._storage, run_uid=UID, spec={"rl": {
            "prompts": [{"uri": pod.store.uri("conducted/prompts.jsonl")}], "steps": STEPS, "batchSize": BATCH,
            "groupSize": GROUP, "trainers": 1, "checkpointEvery": STEPS, "maxUnpenalizedTokens": 120, "cacheTokens": 30,
            "asyncRatio": 2, "microbatchTokens": 1024}})
        config = config.model_copy(update={"services": config.services.model_copy(update={"verifier": verifier_url})})

        async def resolve() -> set[str]:
            return {pod.url}

        said = reporter(config)
        trainers = Trainers(config, pod.store, f"http://{LOOPBACK}:{port}", tmp_path,
                            lambda step: publish(pod.store, UID, step, pod.models[step], nonce="0"))

        async def train() -> None:
            while not await listening(port):  # noqa: ASYNC110 - what is waited for happens in a server
                await asyncio.sleep(0.05)
            await trainers.train(STEPS)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(conduct(config, said, pod.store, Place(TOKEN, resolve, tmp_path, port)))
            tasks.create_task(train())

    metrics = said.progress.metrics
    assert metrics["updates"] == metrics["minUpdatesPerGenerator"] == STEPS
    assert (metrics["aborted"], metrics["moved"]) == (0, 0)
    # Whether requests were running when an update came depends on the machine; test_generator.py makes it so.
    records = [RolloutRecord.model_validate_json(line) for step in range(1, STEPS + 1)
               for line in pod.store.get(ledger_key(UID, step)).splitlines()]
    # The first batch is complete before there is a second version, so that nothing can be said of it but version 0.
    first = [record for record in records if record.trained_step == 1]
    assert len(first) == BATCH
    for record in first:
        assert record.versions == [(0, len(record.completion_tokens))]
        expected = forward(pod.models[0], list(record.prompt_tokens), list(record.completion_tokens))
        assert list(record.logprobs) == pytest.approx(expected, abs=1e-4)
    # Later ones may name any version published by then, and account for every token.
    for record in records:
        assert sum(count for _, count in record.versions) == len(record.completion_tokens) == len(record.logprobs)
        assert all(0 <= version < STEPS for version, _ in record.versions)


async def listening(port: int) -> bool:
    """Whether the conductor has opened its port."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
