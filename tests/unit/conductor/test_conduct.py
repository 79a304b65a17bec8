"""The conductor as a whole: real store, real ledger, its real routes; generators, verifiers and trainers are stand-ins."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from dev.byte_tokenizer import tokenizer
from dev.cluster.control_plane import LOOPBACK, free_ports
from magistral_api.config import StageConfig
from magistral_api.names import ledger_key
from magistral_api.problems import Problem, RolloutRecord
from magistral_workloads.conductor.order import PromptOrder, asked
from magistral_workloads.contracts import VerifyRequest
from magistral_workloads.progress import Reporter, UserFault
from magistral_workloads.roles.conductor import Place, conduct
from magistral_workloads.storage import ObjectStore
from tests.unit.conductor.standins import HEADERS, TOKEN, GeneratorStandIn, VerifierStandIn, at, reporter
from tests.unit.conductor.trainers import Trainers
from tests.unit.config import UID, stage_config

PROBLEMS = [Problem(id=f"p{number}", kind="maths", prompt=f"{number}+{number}?", answer=str(2 * number))
            for number in range(9)]
STEPS, BATCH, GROUP = 6, 8, 4


@dataclass
class World:
    """A run's surroundings. `conducted()` is one life of its conductor; several may follow each other."""

    store: ObjectStore
    scratch: Path
    rl: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=lambda: PROBLEMS)
    generators: list[GeneratorStandIn] = field(default_factory=lambda: [GeneratorStandIn("a"), GeneratorStandIn("b")])
    verifier: VerifierStandIn = field(default_factory=VerifierStandIn)
    said: Reporter | None = None

    def __post_init__(self) -> None:
        folder = self.scratch / "base"
        tokenizer().save_pretrained(folder)
        for file in folder.iterdir():
            self.store.put_file(f"models/base/{file.name}", file)
        lines = "\n".join(problem.model_dump_json(by_alias=True) for problem in self.problems)
        self.store.put("prompts/maths.jsonl", lines.encode())

    def config(self, verifier_url: str = "http://verifier") -> StageConfig:
        prompts = [{"uri": self.store.uri("prompts/maths.jsonl")}]
        config = stage_config("rl", self.store._storage, spec={"rl": {
            "prompts": prompts, "steps": STEPS, "batchSize": BATCH, "groupSize": GROUP, "trainers": 2, "checkpointEvery": 2,
            "maxUnpenalizedTokens": 6, "cacheTokens": 2, "microbatchTokens": 512} | self.rl})
        return config.model_copy(update={"services": config.services.model_copy(update={"verifier": verifier_url})})

    @asynccontextmanager
    async def conducted(self) -> AsyncIterator[tuple["asyncio.Task[None]", Trainers]]:
        """A conductor that is killed when the block is left before it is done."""
        (port,) = free_ports(1)
        async with at(self.generators[0]) as first, at(self.generators[1]) as second, at(self.verifier) as verifier_url:
            config = self.config(verifier_url)

            async def resolve() -> set[str]:
                return {first, second}

            self.said = reporter(config)
            task = asyncio.create_task(conduct(config, self.said, self.store, Place(TOKEN, resolve, self.scratch, port)))
            url = f"http://{LOOPBACK}:{port}"
            await until(lambda: task.done() or answers(port))
            try:
                yield task, Trainers(config, self.store, url, self.scratch)
            finally:
                if task.cancel():
                    with suppress(asyncio.CancelledError):
                        await task

    def ledger(self) -> list[list[RolloutRecord]]:
        """Records by step, from 1."""
        steps = sum(found.key.endswith(".jsonl") for found in self.store.list(f"runs/{UID}/rl/rollouts/"))
        return [[RolloutRecord.model_validate_json(line) for line in self.store.get(ledger_key(UID, step)).splitlines()]
                for step in range(1, steps + 1)]


def answers(port: int) -> bool:
    """Whether somebody listens."""
    import socket
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in servers
            await asyncio.sleep(0.01)


@pytest.fixture
def world(s3: ObjectStore, tmp_path: Path) -> World:
    return World(s3, tmp_path)


async def test_every_completion_that_was_sampled_is_in_the_ledger_none_is_left_over_at_the_end(world: World) -> None:
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    sampled = Counter(request.request_id.rpartition(".")[0] for generator in world.generators for request in generator.requests)
    kept = Counter(f"{record.group}.{record.index}" for batch in world.ledger() for record in batch)
    assert sampled == kept
    assert set(kept.values()) == {1}


async def test_a_run_goes_from_prompts_to_its_last_step(world: World) -> None:
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    ledger = world.ledger()
    assert [Counter(record.trained_step is None for record in batch)[False] for batch in ledger] == [BATCH] * STEPS
    assert {key: len(share.lengths) for key, share in trainers.shares.items()} == {
        (step, rank): BATCH // 2 for step in range(1, STEPS + 1) for rank in range(2)}
    assert world.said is not None
    progress = world.said.progress
    assert progress.step == STEPS
    assert progress.outputs["modelUri"].startswith(world.store.uri(f"runs/{UID}/rl/steps/{STEPS:06d}"))
    assert progress.outputs["modelDigest"] == progress.checkpoints[-1].digest
    assert [record.step for record in progress.checkpoints] == [2, 4, 6]
    assert progress.metrics["updates"] == progress.metrics["minUpdatesPerGenerator"] == STEPS
    assert progress.metrics["aborted"] == 0
    assert all(generator.given == list(range(STEPS + 1)) for generator in world.generators)


async def test_a_batch_has_whole_groups_with_normalised_advantages(world: World) -> None:
    async with world.conducted() as (_, trainers):
        await trainers.train(2)
    shares = [trainers.shares[1, rank] for rank in range(2)]
    groups = np.concatenate([share.groups for share in shares])
    assert set(Counter(groups.tolist()).values()) == {GROUP}
    advantages = np.concatenate([share.advantages for share in shares])
    assert advantages.mean() == pytest.approx(0, abs=1e-6)
    assert advantages.std() == pytest.approx(1, abs=1e-5)


async def test_a_conductor_killed_and_started_again_loses_and_doubles_no_group(world: World) -> None:
    async with world.conducted() as (_, trainers):
        await trainers.train(3)
        before = dict(trainers.shares)
    async with world.conducted() as (task, trainers):
        # Step 2 is the newest checkpoint: step 3 is served again, from the ledger.
        await trainers.train(STEPS)
        await task
    for rank in range(2):
        assert np.array_equal(before[3, rank].tokens, trainers.shares[3, rank].tokens)
    records = [record for batch in world.ledger() for record in batch]
    assert max(Counter((record.group, record.index) for record in records).values()) == 1
    order = PromptOrder(len(PROBLEMS), seed=0)
    assert all(record.problem_id == f"p{order.problem(record.group)}" for record in records)
    used = {record.group for record in records}
    never = set(range(max(used) + 1)) - used
    # What is missing was in flight when the last batch was full: nothing from before the restart.
    assert len(never) <= 2 * BATCH // GROUP
    assert min(never, default=max(used)) > min(used) + len(never)


STAGES = [{"fromStep": 3, "batchSize": 4, "maxUnpenalizedTokens": 9}, {"fromStep": 5, "batchSize": 12, "asyncRatio": 0.5}]
SIZES = [BATCH, BATCH, 4, 4, 12, 12]
LIMITS = [6, 6, 9, 9, 9, 9]


async def test_every_step_of_a_curriculum_has_its_batch_also_when_the_conductor_is_killed_in_the_middle(world: World) -> None:
    world.rl = {"curriculum": STAGES}
    async with world.conducted() as (_, trainers):
        await trainers.train(3)
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    records = [[record for record in batch if record.trained_step] for batch in world.ledger()]
    assert [len(batch) for batch in records] == SIZES
    assert [sum(len(trainers.shares[step, rank].lengths) for rank in range(2)) for step in range(3, 7)] == SIZES[2:]
    asked_for: dict[str, set[int]] = {}
    for generator in world.generators:
        for request in generator.requests:
            asked_for.setdefault(request.request_id.split(".")[0], set()).add(request.max_tokens)
    # Group 0 began with the first stage's limits; the group that began last with the second's.
    assert asked_for["0"] == {6 + 2}
    assert asked_for[max(asked_for, key=int)] == {9 + 2}


async def test_without_staleness_every_completion_has_the_limits_of_the_step_that_it_trains(world: World) -> None:
    graded: dict[int, set[int]] = {}

    def passes(request: VerifyRequest) -> bool:
        graded.setdefault(request.draw, set()).add(request.reward.max_unpenalized_tokens)
        return request.completion_tokens % 2 == 0

    world.rl = {"maxStaleness": 0, "curriculum": STAGES}
    world.verifier.passes = passes
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    sampled: dict[int, set[int]] = {}
    for generator in world.generators:
        for request in generator.requests:
            sampled.setdefault(int(request.request_id.split(".")[0]), set()).add(request.max_tokens - 2)
    limits = [{limit for record in batch for limit in graded[record.group]} for batch in world.ledger()]
    assert limits == [{limit} for limit in LIMITS]
    assert sampled == graded


async def test_a_translation_is_what_is_sampled_graded_and_written_and_the_same_after_a_restart(
        s3: ObjectStore, tmp_path: Path) -> None:
    problems = [problem.model_copy(update={"translations": {"fr": f"fr {problem.prompt}", "de": f"de {problem.prompt}"}})
                if number else problem for number, problem in enumerate(PROBLEMS)]
    graded: dict[int, set[str]] = {}

    def passes(request: VerifyRequest) -> bool:
        graded.setdefault(request.draw, set()).add(request.problem.prompt)
        return request.completion_tokens % 2 == 0

    world = World(s3, tmp_path, rl={"translatedFraction": 0.5}, problems=problems, verifier=VerifierStandIn(passes))
    async with world.conducted() as (_, trainers):
        await trainers.train(3)
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    words, order = tokenizer(), PromptOrder(len(problems), seed=0)
    records = [record for batch in world.ledger() for record in batch]
    assert {record.prompt[:2] for record in records} > {"fr", "de"}
    for record in records:
        expected = asked(problems[order.problem(record.group)], 0.5, 0, record.group).prompt
        assert record.prompt == expected
        assert graded[record.group] == {expected}
        assert expected in words.decode(list(record.prompt_tokens))


async def test_a_run_that_was_done_needs_no_generator_to_say_so(world: World) -> None:
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    world.generators[0].failing = world.generators[1].failing = True
    async with world.conducted() as (task, _):
        await task
    assert world.said is not None
    assert world.said.progress.outputs.keys() == {"modelUri", "modelDigest"}


async def test_no_group_begins_while_too_many_batches_wait_and_all_goes_on_when_trainers_catch_up(world: World) -> None:
    world.rl = {"steps": 20, "maxStaleness": 2}
    async with world.conducted() as (_, trainers):
        assert world.said is not None
        said = world.said
        await until(lambda: said.progress.metrics.get("batchesWaiting", 0) >= 2
                    and said.progress.metrics["inFlight"] == 0)
        stopped = len(world.ledger())
        # What was in flight (twice a batch) and half formed when it stopped is kept: nothing is dropped for being late.
        assert 2 <= stopped <= 2 + 2 + 1
        await trainers.train(4)
        await until(lambda: len(world.ledger()) > stopped)


async def test_without_staleness_every_token_is_sampled_with_the_weights_that_it_trains(world: World) -> None:
    world.rl = {"maxStaleness": 0}
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    batches = world.ledger()
    assert len(batches) == STEPS
    for step, batch in enumerate(batches, 1):
        assert {version for record in batch for version, _ in record.versions} == {step - 1}


async def test_generators_keep_generating_while_trainers_do_not_come(world: World) -> None:
    async with world.conducted():
        await until(lambda: len(world.ledger()) >= 2)
    assert all(version == 0 for batch in world.ledger() for record in batch for version, _ in record.versions)


async def test_an_infrastructure_error_never_becomes_a_reward(world: World) -> None:
    world.verifier.faults = 40
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    records = [record for batch in world.ledger() for record in batch]
    assert {record.outcome for record in records} == {"pass", "fail"}
    assert world.said is not None
    assert world.said.progress.metrics["infrastructureErrors"] > 0


async def test_all_completions_of_a_group_are_salted_with_the_version_that_it_began_with(world: World) -> None:
    async with world.conducted() as (task, trainers):
        await trainers.train(STEPS)
        await task
    salts: dict[str, set[str]] = {}
    for generator in world.generators:
        for request in generator.requests:
            salts.setdefault(request.request_id.split(".")[0], set()).add(request.cache_salt)
    assert all(len(found) == 1 for found in salts.values())
    assert len(set.union(*salts.values())) > 1


async def test_routes_want_a_token_and_a_rank_and_a_step_that_exist(world: World) -> None:
    async with world.conducted() as (_, trainers), aiohttp.ClientSession(trainers.url) as session:
        found = []
        for path, headers in (("/v1/resume", {}), ("/v1/batches/1?rank=2", HEADERS), ("/v1/batches/1?rank=x", HEADERS),
                              ("/v1/batches/99?rank=0", HEADERS), ("/healthz", {})):
            async with session.get(path, headers=headers) as answer:
                found.append(answer.status)
    assert found == [401, 400, 400, 404, 200]


async def test_a_problem_with_a_misspelt_field_is_the_users_fault(world: World) -> None:
    world.store.put("prompts/maths.jsonl", b'{"id": "a", "kind": "maths", "prompt": "1+1?", "anwser": "2"}\n')
    async with world.conducted() as (task, _):
        with pytest.raises(UserFault, match=r"prompts/maths\.jsonl line 1: field anwser"):
            await task


async def test_a_world_that_does_not_fit_the_batch_is_the_users_fault(world: World) -> None:
    config = world.config().model_copy(update={"processes_per_pod": 3})
    with pytest.raises(UserFault, match=r"spec\.rl\.batchSize: found 8 for 6 trainer processes"):
        await conduct(config, reporter(config), world.store, Place(TOKEN, lambda: asyncio.sleep(0, set()), world.scratch))


async def test_a_stage_of_the_curriculum_whose_batch_does_not_fit_the_world_is_the_users_fault(world: World) -> None:
    world.rl = {"curriculum": [{"fromStep": 2, "asyncRatio": 1}, {"fromStep": 4, "batchSize": 12}]}
    config = world.config().model_copy(update={"processes_per_pod": 4})
    with pytest.raises(UserFault, match=r"spec\.rl\.curriculum\[1\]\.batchSize: found 12 for 8 trainer processes"):
        await conduct(config, reporter(config), world.store, Place(TOKEN, lambda: asyncio.sleep(0, set()), world.scratch))
