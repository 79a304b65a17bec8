"""Two replicas: who works on when the leader is killed or stopped, and how soon."""

import time
from collections.abc import Callable, Iterator

import pytest

from magistral_operator.leader import DURATION_S
from tests.control_plane.cluster import Namespace, Operator, Tell


@pytest.fixture
def leader(ns: Namespace, operator: Operator, standby: Operator) -> Iterator[Operator]:
    """The usual operator, which leads; `standby` waits. It leads again afterwards."""
    operator.until_leading()
    assert not standby.leading()
    yield operator
    if not operator.metrics():
        operator.start()


def go_on_without(ns: Namespace, end: Callable[[], object]) -> float:
    """Seconds from the leader's end to the next decision about a run. `end`: the leader is ended, or told to end."""
    ns.run("Evaluate")
    ns.until_stage("preflight")
    began = time.monotonic()
    end()
    # Told after the end, so that only the other replica can have seen it.
    ns.succeed("preflight")
    ns.until_stage("evaluate")
    return time.monotonic() - began


def test_when_the_leader_is_killed_the_standby_works_on(ns: Namespace, leader: Operator, standby: Operator, tell: Tell) -> None:
    seconds = go_on_without(ns, leader.kill)
    assert standby.leading()
    tell(f"leader killed: first decision of the standby after {seconds:.1f} s (the lease lasts {DURATION_S} s)")


def test_when_the_leader_is_stopped_it_hands_over_at_once(ns: Namespace, leader: Operator, standby: Operator,
                                                          tell: Tell) -> None:
    codes: list[int] = []
    seconds = go_on_without(ns, lambda: codes.append(leader.terminate()))
    assert codes == [0]
    assert standby.leading()
    tell(f"leader stopped: first decision of the standby {seconds:.1f} s after SIGTERM")
