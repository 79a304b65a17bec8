"""Groups to batches."""

from collections import Counter

from magistral_api.run import RL
from magistral_workloads.conductor.batches import Batch, Forming, dealt
from tests.unit.conductor.records import group

SETTINGS = {"prompts": [{"uri": "s3://bucket/p.jsonl"}], "batchSize": 8, "groupSize": 4}
MIXED, EQUAL = [1.0, 0.0, 0.0, 1.0], [1.0] * 4


def formed(groups: list[list[float]], step: int = 1, **settings: object) -> list[Batch]:
    forming = Forming(RL.model_validate(SETTINGS | settings), world_size=2, seed=0, step=step)
    return [batch for number, rewards in enumerate(groups) if (batch := forming.add(group(number, rewards)))]


def test_groups_whose_rewards_are_all_equal_are_not_trained_on_but_kept_with_the_next_batch() -> None:
    (batch,) = formed([EQUAL, MIXED, EQUAL, MIXED])
    assert {record.group for record in batch.trained} == {1, 3}
    assert {record.group for record in batch.dropped} == {0, 2}
    assert all(record.trained_step is None and record.rank is None for record in batch.dropped)


def test_every_group_is_in_exactly_one_batch_in_the_order_of_completion() -> None:
    batches = formed([MIXED if number % 3 else EQUAL for number in range(20)])
    assert [batch.step for batch in batches] == list(range(1, len(batches) + 1))
    trained = [record.group for batch in batches for record in batch.trained][::4]
    assert trained == [number for number in range(20) if number % 3][:len(trained)]
    everything = [number for batch in batches for number in batch.groups]
    assert len(everything) == len(set(everything))


def test_a_batch_has_the_size_of_its_step_also_when_forming_begins_there() -> None:
    stages = [{"fromStep": 3, "batchSize": 4}, {"fromStep": 5, "batchSize": 16}]
    sizes = [len(batch.trained) for batch in formed([MIXED] * 16, curriculum=stages)]
    assert sizes == [8, 8, 4, 4, 16, 16]
    assert [len(batch.trained) for batch in formed([MIXED] * 5, step=4, curriculum=stages)] == [4, 16]


def test_every_rank_gets_the_same_number_of_completions() -> None:
    for batch in formed([MIXED] * 12):
        assert Counter(record.rank for record in batch.trained) == {0: 4, 1: 4}


def test_the_rank_of_a_completion_is_set_before_it_is_known() -> None:
    ranks = [[record.rank for record in batch.trained] for batch in formed([MIXED] * 12)]
    again = [[record.rank for record in batch.trained] for batch in formed([[0.0, 1.0, 0.0, 0.0]] * 12)]
    assert ranks == again
    assert len({tuple(found) for found in ranks}) > 1


def test_a_batch_for_another_number_of_ranks_is_dealt_anew_to_equal_shares() -> None:
    (batch, *_) = formed([MIXED] * 12)
    assert dealt(batch.trained, 2, seed=99, step=1) is batch.trained
    for world_size in (1, 4):
        again = dealt(batch.trained, world_size, seed=0, step=1)
        assert Counter(record.rank for record in again) == dict.fromkeys(range(world_size), 8 // world_size)
        assert [record.model_copy(update={"rank": None}) for record in again] == [
            record.model_copy(update={"rank": None}) for record in batch.trained]
