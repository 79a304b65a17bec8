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


async def test_updates_in_flight_abort_nothing_and_the_ledgers_logprobs_are_those_of_the_version_it_names(
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
    assert (metrics["aborted"], metrics["regenerated"]) == (0, 0)
    assert metrics["updatesWhileRunning"] > 0
    records = [RolloutRecord.model_validate_json(line) for step in range(1, STEPS + 1)
               for line in pod.store.get(ledger_key(UID, step)).splitlines()]
    pure = [record for record in records if len(record.versions) == 1]
    assert pure
    for record in pure:
        ((version, count),) = record.versions
        assert count == len(record.completion_tokens)
        expected = forward(pod.models[version], record.prompt_tokens, record.completion_tokens)
        assert record.logprobs == pytest.approx(expected, abs=1e-4)


async def listening(port: int) -> bool:
    """Whether the conductor has opened its port."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
