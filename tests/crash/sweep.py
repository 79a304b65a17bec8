"""The sweep of crash points: one life for each write of the operator, in which it is killed at that write."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

from aiohttp import web

from magistral_operator.kinds import DISRUPTION_BUDGET, POD
from tests.control_plane.faults import Call, Exchange, Fault
from tests.crash.lives import Life, World, write
from tests.crash.operators import Forked

SIDE_BY_SIDE = 3
"""Lives at a time. Most of a life is waiting for controllers."""
Moment = Literal["before", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "after")
"""Killed before the write leaves; or after the API server has done it, before the operator hears of it."""
_SEVERAL = (POD.name, DISRUPTION_BUDGET.name)
MAY_BE_FEWER = ("patch magistralruns/status one", "create events")
"""Changes that come at the same time are one status write, so a life may have fewer of these than another."""


@dataclass(frozen=True)
class Point:
    """The n-th write of this kind to this object."""

    write: str
    nth: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.write} ({self.nth})"


@dataclass
class Result:
    """Of one paradigm. `writes`: of the undisturbed life. `not_reached`: points that a life ended without."""

    writes: int
    points: int = 0
    not_reached: int = 0
    failed: list[str] = field(default_factory=list)


class Crash:
    """Kills the operator of one life at one point."""

    def __init__(self, point: Point, operator: Forked) -> None:
        self._point, self._operator, self._seen = point, operator, 0

    def choose(self, call: Call) -> Fault | None:
        if not call.write or write(call) != self._point.write:
            return None
        self._seen += 1
        return self._kill if self._seen == self._point.nth else None

    async def _kill(self, exchange: Exchange) -> web.StreamResponse:
        if self._point.moment == "after":
            await exchange.reach()
        self._operator.kill()
        return await exchange.never()


def points(life: Life) -> list[Point]:
    """All at which the operator of such a life can be killed, in the order of its writes."""
    seen: Counter[str] = Counter()
    found = []
    for one in life.writes:
        seen[one] += 1
        found += [Point(one, seen[one], moment) for moment in MOMENTS]
    return found


def undisturbed(world: World, paradigm: str) -> Life:
    """The life that all others are compared with. Raises AssertionError when it is not what it should be."""
    life = world.live(paradigm)
    status = life.states["end"]["MagistralRun one"]["status"]
    assert [(one["name"], one["state"], one["attempt"]) for one in status["stages"]] == [
        (stage, "Succeeded", 1) for stage in life.states if stage != "end"], status["stages"]
    counted = {key: one[key] for one in [*status["stages"], *status.get("roles", [])]
               for key in ("restarts", "infrastructureRestarts", "stuckRestarts") if one.get(key)}
    assert counted == {}, status
    # Pods of one role are told apart by nothing but their number; trainers of each stage have a budget of the same name.
    many = {key: count for key, count in life.births.items() if count != 1 and key.split()[0] not in _SEVERAL}
    assert many == {}, many
    assert life.deaths == 0
    return life


def sweep(world: World, paradigm: str, choose: Callable[[list[Point]], Iterable[Point]] = iter,
          tell: Callable[[str], None] = lambda _: None) -> Result:
    """A life for each chosen point, several side by side. `tell` gets a line now and then."""
    reference = undisturbed(world, paradigm)
    result, chosen = Result(len(reference.writes)), list(choose(points(reference)))
    tell(f"{paradigm}: {result.writes} writes, {len(chosen)} points")
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="life") as lives:
        for done, (point, fault) in enumerate(lives.map(partial(_at, world, paradigm, reference), chosen), 1):
            if fault is None:
                result.not_reached += 1
            else:
                result.points += 1
            if fault:
                result.failed.append(f"{paradigm}, killed {point}: {fault}")
                tell(result.failed[-1])
            if done % 20 == 0:
                tell(f"{paradigm}: {done} of {len(chosen)} done, {len(result.failed)} failed")
    return result


def _at(world: World, paradigm: str, reference: Life, point: Point) -> tuple[Point, str | None]:
    """The point, and how the life differs: empty when it does not, None when it never came to the point."""
    try:
        life = world.live(paradigm, partial(_armed, point))
    except AssertionError as failure:
        return point, str(failure)
    differs = life.differs(reference)
    if life.deaths > 1:
        return point, f"{life.deaths} operators died\n{differs}"
    if life.deaths == 0 and not differs:
        return point, None if point.write in MAY_BE_FEWER else "this life made no such write"
    return point, differs


def _armed(point: Point, operator: Forked) -> Callable[[Call], Fault | None]:
    return Crash(point, operator).choose


def summary(results: dict[str, Result], seconds: float) -> str:
    """A table, and a last line of JSON."""
    lines = [f"\n{'paradigm':<12}{'writes':>8}{'points':>8}{'not reached':>13}{'failed':>8}"]
    lines += [f"{paradigm:<12}{one.writes:>8}{one.points:>8}{one.not_reached:>13}{len(one.failed):>8}"
              for paradigm, one in results.items()]
    return "\n".join([*lines, json.dumps({"seconds": round(seconds)} | {
        paradigm: asdict(one) | {"failed": len(one.failed)} for paradigm, one in results.items()})])
