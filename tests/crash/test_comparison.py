"""Two lives compared: what is told, and what is not."""

from collections import Counter

import pytest

from tests.control_plane.faults import Call
from tests.crash.lives import Life, write
from tests.crash.sweep import points

RUN, JOB = "MagistralRun one", "Job one-sft"


def life(attempt: int = 1, restarts: int = 0, births: int = 1, started: int = 1) -> Life:
    return Life(states={"end": {RUN: {"status": {"stages": [{"attempt": attempt, "restarts": restarts}]}}, JOB: {"spec": {}}}},
                births=Counter({JOB: births}), events=Counter({"StageStarted": started}))


def test_equal_lives_do_not_differ() -> None:
    assert life().differs(life()) == ""


@pytest.mark.parametrize(("other", "told"), [
    (life(attempt=2), f"end: /{RUN}/status/stages is [{{'attempt': 2"),
    (life(restarts=1), "'restarts': 1"),
    (life(births=2), f"made 2 times, not 1: {JOB}"),
    (life(births=0), f"made 0 times, not 1: {JOB}"),
    (life(started=2), "Event told 2 times, not 1: StageStarted"),
    (Life(), f"end: /{RUN} is None"),
])
def test_another_attempt_or_count_and_an_object_or_event_too_many_is_told(other: Life, told: str) -> None:
    assert told in other.differs(life())


def test_an_object_that_only_the_other_life_has_is_told() -> None:
    other = life()
    other.states["end"]["Job one-rl"] = {}
    assert "/Job one-rl is {}, not None" in other.differs(life())


def test_an_event_that_died_with_its_operator_is_no_difference() -> None:
    assert life(started=0).differs(life()) == ""


def test_each_write_of_a_life_is_a_point_before_and_after_it() -> None:
    status = Call("patch", "training.magistral.dev", "magistralruns", "status", "ns", "one")
    made = Life(writes=[write(one) for one in (status, Call("create", "", "events", namespace="ns"), status)])
    assert [str(one) for one in points(made)] == [
        "before patch magistralruns/status one (1)", "after patch magistralruns/status one (1)",
        "before create events (1)", "after create events (1)",
        "before patch magistralruns/status one (2)", "after patch magistralruns/status one (2)"]
