"""Whole lives on an API server that refuses, hangs, is slow or forgets: each ends as the undisturbed one."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from aiohttp import web

from magistral_operator.kinds import SERVICE
from tests.control_plane.cluster import TIMEOUT_S, Tell
from tests.control_plane.faults import Call, Exchange, Fault, Proxy
from tests.crash.lives import Life, World, drawn_seed
from tests.crash.sweep import SIDE_BY_SIDE, undisturbed

PARADIGM = "RL"
SLOW_S = 1.0


class Faults:
    """A share of the calls that `meant` picks meets the fault, until so many have."""

    def __init__(self, draw: random.Random, fault: Fault, meant: Callable[[Call], bool], share: float, most: int) -> None:
        self._draw = draw
        self._fault, self._meant, self._share, self._most = fault, meant, share, most
        self.met: Counter[str] = Counter()

    def choose(self, call: Call) -> Fault | None:
        if self.met.total() == self._most or not self._meant(call) or self._draw.random() >= self._share:
            return None
        self.met[call.kind] += 1
        return self._fault


async def conflict(exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(409, "Conflict")


async def too_many(exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(429, "TooManyRequests", retry_after=1)


async def broken(exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(500, "InternalError")


async def unavailable(exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(503, "ServiceUnavailable")


async def done_without_an_answer(exchange: Exchange) -> web.StreamResponse:
    await exchange.reach()
    return await exchange.never()


async def no_answer(exchange: Exchange) -> web.StreamResponse:
    return await exchange.never()


async def cut_short(exchange: Exchange) -> web.StreamResponse:
    return await exchange.cut(await exchange.reach())


async def closed(exchange: Exchange) -> web.StreamResponse:
    return await exchange.cut()


async def slow(exchange: Exchange) -> web.StreamResponse:
    # Not a wait for something: slowness is the fault.
    await asyncio.sleep(SLOW_S)
    return await exchange.forward()


def patched(call: Call) -> bool:
    # A 409 to a delete says that the object is another one, and to a create that it is there: neither would be true.
    return call.verb == "patch"


def written(call: Call) -> bool:
    return call.write


def any_call(call: Call) -> bool:
    # Lists are nearly all made at the start, and would meet all the faults.
    return call.verb not in ("watch", "list")


def listed(call: Call) -> bool:
    return call.verb == "list"


def status_written(call: Call) -> bool:
    return call.kind == "patch magistralruns/status"


def child_written(call: Call) -> bool:
    return call.verb == "patch" and call.subresource == ""


CASES: dict[str, tuple[Fault, Callable[[Call], bool], float, int]] = {
    "409 on patches": (conflict, patched, 0.3, 15),
    "429 with Retry-After": (too_many, any_call, 0.2, 20),
    "500": (broken, any_call, 0.2, 20),
    "503": (unavailable, any_call, 0.2, 20),
    "connections closed": (closed, any_call, 0.2, 20),
    "answers to writes cut short": (cut_short, written, 0.3, 15),
    # The operator tries to begin five times before it ends and is started again.
    "503 to lists": (unavailable, listed, 0.3, 3),
    "slow lists": (slow, listed, 0.5, 15),
    # Each costs the operator's patience with a call, 30 s.
    "a status written, its answer never given": (done_without_an_answer, status_written, 0.7, 1),
    "a child never written, no answer": (no_answer, child_written, 0.5, 1),
}
"""The fault, the calls that it is for, the share of them that meet it, and how many do at the most."""
Lived = tuple[Faults, Life]


@pytest.fixture(scope="module")
def reference(lives: World) -> Life:
    return undisturbed(lives, PARADIGM)


@pytest.fixture(scope="module")
def seed() -> int:
    return drawn_seed()


@pytest.fixture(scope="module")
def faulty(lives: World, reference: Life, seed: int) -> Iterator[dict[str, "Future[Lived]"]]:
    """All cases, side by side: most of a life is waiting."""
    def live(case: str) -> Lived:
        faults = Faults(random.Random(f"{seed} {case}"), *CASES[case])
        return faults, lives.live(PARADIGM, lambda _: faults.choose)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {case: pool.submit(live, case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_a_life_on_a_faulty_api_server_ends_as_an_undisturbed_one(
        faulty: dict[str, "Future[Lived]"], reference: Life, seed: int, tell: Tell, case: str) -> None:
    faults, life = faulty[case].result()
    tell(f"{case}: {faults.met.total()} faults of {len(faults.met)} kinds of calls, {life.deaths} operators ended "
         f"(MAGISTRAL_SEED={seed})")
    assert faults.met
    assert life.differs(reference) == ""


def test_a_life_whose_watches_lose_the_end_of_every_stage_ends_as_an_undisturbed_one(
        lives: World, reference: Life, tell: Tell) -> None:
    life = lives.live(PARADIGM, telling=Proxy.gap)
    tell(f"410 at the end of each of {len(life.states) - 1} stages, and what happened in the gap told to nobody")
    assert life.differs(reference) == ""


def test_a_child_deleted_in_a_gap_of_the_watches_is_noticed(lives: World, tell: Tell) -> None:
    with lives.course() as course:
        ns = course.ns
        ns.run("Evaluate")
        course.until_runs("preflight")
        course.succeed("preflight")
        course.until_runs("evaluate")
        course.rest()
        before = ns.until_there("Service", "one-verifier")["metadata"]["uid"]
        with course.proxy.gap():
            began = time.monotonic()
            ns.api.delete(SERVICE, ns.name, "one-verifier")
            ns.until_gone("Service", "one-verifier")
        ns.until("Service", "one-verifier", lambda found: found is not None and found["metadata"]["uid"] != before)
        tell(f"a child deleted in a watch gap is back after {time.monotonic() - began:.1f} s (limit {TIMEOUT_S} s)")
