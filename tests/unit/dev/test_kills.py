"""What `make bench-kills` calls a fault, and whom its conductor finds."""

from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from dev.bench.kills.intact import Faults, faults
from dev.roles import services
from magistral_api.problems import Problem, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.conductor.batches import Forming
from magistral_workloads.conductor.order import PromptOrder
from tests.unit.conductor.records import group

SEED, STEPS = 7, 3
SETTINGS = RL.model_validate({"prompts": [{"uri": "s3://bucket/p"}], "steps": STEPS, "checkpointEvery": 1, "batchSize": 8,
                              "groupSize": 4, "trainers": 2})
PROBLEMS = [Problem(id=f"p{number}", kind="maths", prompt="?", answer="1") for number in range(4)]


def whole() -> list[list[RolloutRecord]]:
    """A ledger as the conductor writes it; the group in the middle teaches nothing."""
    forming, order, batches = Forming(SETTINGS, 2, SEED, 1), PromptOrder(len(PROBLEMS), SEED), []
    for number in range(STEPS * 2 + 1):
        records = [record.model_copy(update={"problem_id": PROBLEMS[order.problem(number)].id})
                   for record in group(number, [1, 0, 0, 0] if number != 3 else [0, 0, 0, 0])]
        batch = forming.add(records)
        if batch:
            batches.append([*batch.trained, *batch.dropped])
    return batches


def found(batches: list[list[RolloutRecord]]) -> Faults:
    return faults(batches, SETTINGS, PROBLEMS, SEED)


def test_a_conductors_ledger_has_no_faults() -> None:
    assert found(whole()) == Faults(groups=7, completions=28, lost=0, doubled=0, misasked=0, broken_groups=0,
                                    broken_batches=0)


def test_a_group_that_is_missing_is_lost_and_its_batch_is_not_whole() -> None:
    batches = [[record for record in batch if record.group != 1] for batch in whole()]
    assert (found(batches).lost, found(batches).broken_batches) == (1, 1)


def test_a_group_that_is_there_twice_is_doubled() -> None:
    batches = whole()
    batches[2] += [record for record in batches[1] if record.trained_step is None]
    assert (found(batches).doubled, found(batches).broken_batches) == (4, 0)


def test_a_group_without_one_of_its_completions_is_not_whole() -> None:
    batches = whole()
    batches[1] = [record for record in batches[1] if (record.group, record.index) != (3, 2)]
    assert (found(batches).broken_groups, found(batches).broken_batches) == (1, 0)


def test_a_group_that_asks_another_problem_is_out_of_order() -> None:
    batches = whole()
    batches[0] = [record.model_copy(update={"problem_id": "p9"}) if record.group == 0 else record for record in batches[0]]
    assert found(batches).misasked == 1


def test_a_missing_step_is_a_batch_that_is_not_whole() -> None:
    assert found(whole()[:2]).broken_batches == 1


async def test_the_conductor_finds_those_of_the_generators_that_are_ready(tmp_path: Path) -> None:
    def pod(status: int) -> TestServer:
        async def healthz(_: web.Request) -> web.Response:
            return web.Response(status=status)

        app = web.Application()
        app.router.add_get("/healthz", healthz)
        return TestServer(app)

    async with pod(200) as ready, pod(503) as starting, pod(200) as gone:
        urls = [str(server.make_url("")).rstrip("/") for server in (ready, starting, gone)]
        await gone.close()
        services.publish(tmp_path / "generators", urls)
        assert await services.headless(tmp_path / "generators")() == {urls[0]}
