"""The ledger on a real object store."""

import pytest

from magistral_api.names import ledger_key
from magistral_workloads.conductor.batches import Batch
from magistral_workloads.conductor.ledger import Ledger, LedgerError, unused
from magistral_workloads.storage import ObjectStore
from tests.unit.conductor.records import group


def batch(step: int, first: int) -> Batch:
    trained = [record.model_copy(update={"trained_step": step, "rank": 0})
               for record in group(first, [1.0, 0.0], length=4, version=step - 2)]
    return Batch(step, trained, group(first + 1, [0.0, 0.0]))


def test_a_batch_reads_back_as_it_was_written(s3: ObjectStore) -> None:
    ledger, written = Ledger(s3, "u"), batch(1, 0)
    written.trained[0].logprobs[0] = float("nan")
    ledger.write(written)
    assert repr(ledger.read(1)) == repr(written.trained)


def test_a_step_is_written_once(s3: ObjectStore) -> None:
    Ledger(s3, "u").write(batch(1, 0))
    with pytest.raises(LedgerError, match="found another conductor's batch"):
        Ledger(s3, "u").write(batch(1, 2))
    assert {record.group for record in Ledger(s3, "u").read(1)} == {0}


def test_summaries_tell_groups_reward_staleness_and_length(s3: ObjectStore) -> None:
    ledger = Ledger(s3, "u")
    ledger.write(batch(1, 0))
    ledger.write(batch(2, 2))
    (_, found) = ledger.summaries()
    assert (found.step, found.groups, found.dropped_groups) == (2, [2, 3], 1)
    # Reward and pass rate are of all four completions, the dropped ones too.
    assert (found.reward, found.length, found.max_length, found.passed) == (0.25, 4, 4, 0.25)
    assert found.staleness == 1  # step 2 trains version 1; its tokens are of version 0


def test_a_summary_that_was_lost_is_made_again(s3: ObjectStore) -> None:
    ledger = Ledger(s3, "u")
    ledger.write(batch(1, 0))
    before = ledger.summaries()
    s3.delete_prefix("runs/u/rl/summaries")
    assert ledger.summaries() == before


def test_a_missing_step_is_named(s3: ObjectStore) -> None:
    ledger = Ledger(s3, "u")
    for step in (1, 2, 3):
        ledger.write(batch(step, 2 * step))
    s3.delete(ledger_key("u", 2))
    with pytest.raises(LedgerError, match="found steps 1, 3; expected 1 to 2"):
        ledger.summaries()


def test_after_a_restart_groups_in_flight_come_first_then_new_ones() -> None:
    assert unused([0, 1, 3, 6]) == ([2, 4, 5], 7)
    assert unused([]) == ([], 0)
