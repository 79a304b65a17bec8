"""Processes that meet, lose each other, and meet again."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest
from torch._C._distributed_c10d import TCPStore

from tests.training.processes import SECONDS, Ranks, ranks


def joined(group: Ranks, rank: int) -> None:
    """Return when the rank has joined the generation that is meeting."""
    store = TCPStore("127.0.0.1", group.port, is_master=False, timeout=timedelta(seconds=SECONDS))
    name = store.get("generation").decode()
    store.wait([f"{name}/joined/{rank}"], timedelta(seconds=SECONDS))


def test_ranks_agree_however_late_one_of_them_comes(tmp_path: Path) -> None:
    with ranks(tmp_path, 3, "member.meeting", start=False) as group:
        for rank in (0, 2):
            group.start(rank)
        joined(group, 0)
        joined(group, 2)
        group.start(1)
        assert group.results() == [{"word": "from 0", "ranks": 3.0, "largest": 20}] * 3


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_waits_for_a_batch_ends_when_its_peer_is_lost(tmp_path: Path, lost: int) -> None:
    with ranks(tmp_path, 2, "member.waiting") as group:
        group.marked("met")
        group.kill(lost)
        assert group.code(1 - lost, 30) == 1
        assert "a peer is gone" in group.log(1 - lost).read_text()


def test_a_restarted_rank_does_not_get_into_the_group_of_its_predecessor(tmp_path: Path) -> None:
    with ranks(tmp_path, 2, "member.waiting") as group:
        group.marked("met")
        first = group.running[0]
        group.kill(1)
        group.unmark("met")
        group.start(1)
        assert first.wait(30) == 1
        group.start(0)
        group.marked("met")


def test_a_rank_restarted_while_the_group_meets_is_waited_for(tmp_path: Path) -> None:
    with ranks(tmp_path, 3, "member.meeting", start=False) as group:
        for rank in (0, 1):
            group.start(rank)
        joined(group, 1)
        group.kill(1)
        group.start(1)
        group.start(2)
        assert [found["ranks"] for found in group.results()] == [3.0] * 3


def test_an_error_of_one_rank_ends_the_others_with_it(tmp_path: Path) -> None:
    with ranks(tmp_path, 2, "member.failing") as group:
        first, second = group.results()
    assert second == ["OSError", "the disk of rank 1 is full"]
    assert first[0] == "GroupBrokenError"
    assert "another rank failed" in first[1]


def test_when_one_rank_is_told_to_end_all_end_together(tmp_path: Path) -> None:
    with ranks(tmp_path, 2, "member.waiting") as group:
        group.marked("met")
        group.running[1].send_signal(signal.SIGTERM)
        for rank in (0, 1):
            assert group.code(rank, 30) == 1
            assert "told to end during: wait" in group.log(rank).read_text()


def test_a_rank_told_to_end_before_the_group_has_met_ends(tmp_path: Path) -> None:
    with ranks(tmp_path, 2, "member.waiting", start=False) as group:
        group.start(0)
        joined(group, 0)
        group.running[0].send_signal(signal.SIGTERM)
        assert group.code(0, 30) == 1
        assert "told to end before the group had met" in group.log(0).read_text()
