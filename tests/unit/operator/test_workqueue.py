"""The queue: one look for many wake-ups, back-off by key, nobody works twice on one key."""

import asyncio
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from magistral_operator.workqueue import BACKOFF_S, Schedule, WorkQueue


def test_many_wake_ups_of_a_key_are_one_look() -> None:
    schedule: Schedule[str] = Schedule()
    for due in (3.0, 1.0, 2.0):
        schedule.add("a", due)
    assert schedule.take(0.9) is None
    assert schedule.take(1.0) == "a"
    schedule.done("a")
    assert schedule.take(10) is None


def test_keys_come_in_the_order_in_which_they_are_due() -> None:
    schedule: Schedule[str] = Schedule()
    for key, due in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        schedule.add(key, due)
    assert [schedule.take(9) for _ in range(4)] == ["a", "b", "c", None]


def test_a_key_that_is_worked_on_waits_for_its_turn() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 0)
    assert schedule.take(0) == "a"
    schedule.add("a", 0)
    schedule.add("b", 0)
    assert schedule.take(0) == "b"
    assert schedule.take(0) is None
    schedule.done("a")
    assert schedule.take(0) == "a"


def test_failures_double_the_wait_up_to_a_limit_and_success_forgets_them() -> None:
    schedule: Schedule[str] = Schedule()
    waits, now = [], 0.0
    for _ in range(10):
        schedule.add("a", now)
        assert schedule.take(now) == "a"
        waits.append(schedule.failed("a", now))
        now += waits[-1]
    assert waits[:4] == [BACKOFF_S[0], BACKOFF_S[0] * 2, BACKOFF_S[0] * 4, BACKOFF_S[0] * 8]
    assert max(waits) == BACKOFF_S[1]
    assert schedule.take(now) == "a"
    schedule.done("a")
    schedule.add("a", now)
    assert schedule.take(now) == "a"
    assert schedule.failed("a", now) == BACKOFF_S[0]


def test_one_failing_key_does_not_hold_up_the_others() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("bad", 0)
    assert schedule.take(0) == "bad"
    schedule.failed("bad", 0)
    schedule.add("good", 0.1)
    assert schedule.take(0.1) == "good"


def test_the_wait_is_the_time_to_the_next_free_key() -> None:
    schedule: Schedule[str] = Schedule()
    assert schedule.wait(0) is None
    schedule.add("a", 0)
    schedule.take(0)
    schedule.add("a", 1)
    schedule.add("b", 5)
    assert schedule.wait(2) == 3


@given(st.lists(st.tuples(st.sampled_from(("add", "take", "done")), st.sampled_from("abc"), st.integers(0, 5)), max_size=40))
def test_what_is_taken_is_always_the_earliest_due_key_that_nobody_works_on(steps: list[tuple[str, str, int]]) -> None:
    schedule: Schedule[str] = Schedule()
    due: dict[str, float] = {}
    working: set[str] = set()
    for what, key, now in steps:
        if what == "add":
            schedule.add(key, now)
            due[key] = min(now, due.get(key, inf))
        elif what == "done" and key in working:
            schedule.done(key)
            working.remove(key)
        elif what == "take":
            free = {one: when for one, when in due.items() if one not in working}
            first = min(free.values(), default=inf)
            assert schedule.wait(now) == (max(first - now, 0) if free else None)
            taken = schedule.take(now)
            assert (taken is None) == (first > now)
            if taken is not None:
                assert free[taken] == first
                del due[taken]
                working.add(taken)
        assert len(schedule) == len(due)


async def test_work_is_done_by_several_workers_and_once_a_key_at_a_time() -> None:
    running: set[str] = set()
    seen: list[str] = []
    both, finished = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        assert key not in running
        running.add(key)
        if len(running) == 2:
            both.set()
        await both.wait()
        running.discard(key)
        seen.append(key)
        if len(seen) == 2:
            finished.set()

    queue: WorkQueue[str] = WorkQueue(work)
    for key in ("a", "b", "a", "b"):
        queue.add(key, 0)
    task = asyncio.create_task(queue.run(2))
    await asyncio.wait_for(finished.wait(), 10)
    task.cancel()
    assert sorted(seen) == ["a", "b"]


async def test_a_key_comes_back_when_its_work_asks_for_it_and_after_a_failure() -> None:
    looks: list[int] = []
    done = asyncio.Event()

    async def work(_: str) -> float | None:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("the API server is away")
        if len(looks) == 2:
            return 0.0
        done.set()
        return None

    queue: WorkQueue[str] = WorkQueue(work)
    queue.add("a", 0)
    task = asyncio.create_task(queue.run(1))
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert len(looks) == 3


async def test_nothing_is_worked_on_behind_a_closed_gate() -> None:
    gate, looks = asyncio.Event(), asyncio.Queue[str]()
    queue: WorkQueue[str] = WorkQueue(looks.put, gate=gate)
    queue.add("a", 0)
    task = asyncio.create_task(queue.run(1))
    for _ in range(100):
        await asyncio.sleep(0)
    assert looks.empty()
    gate.set()
    assert await asyncio.wait_for(looks.get(), 10) == "a"
    task.cancel()


async def test_a_closed_queue_lets_what_is_in_hand_end_and_begins_nothing_more() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def work(key: str) -> None:
        begun.set()
        await go_on.wait()
        ended.append(key)

    queue: WorkQueue[str] = WorkQueue(work)
    for key in ("a", "b"):
        queue.add(key, 0)
    task = asyncio.create_task(queue.run(1))
    await asyncio.wait_for(begun.wait(), 10)
    closing = asyncio.create_task(queue.close(10))
    await asyncio.sleep(0)
    go_on.set()
    assert await closing is True
    task.cancel()
    assert ended == ["a"]


async def test_a_closed_queue_tells_of_work_that_does_not_end_in_time() -> None:
    begun = asyncio.Event()

    async def work(_: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    queue: WorkQueue[str] = WorkQueue(work)
    queue.add("a", 0)
    task = asyncio.create_task(queue.run(1))
    await asyncio.wait_for(begun.wait(), 10)
    assert await queue.close(0.01) is False
    task.cancel()
