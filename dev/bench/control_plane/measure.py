"""The measurements, in the order in which they are made on one arena. Times are the API server's own."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dev.bench.control_plane.arena import USER, Arena, BenchError, Usage
from dev.bench.control_plane.contender import Contender
from dev.bench.control_plane.figures import Figures
from dev.cluster import audit
from dev.cluster.audit import Request
from dev.cluster.progress import duration, say, step

QUIET_S = 5.0
"""Nobody has written for so long: steady."""
POLL_S = 0.25
PROGRESS_S = 10.0
LIMIT_S = 1800.0
REPAIRS = 10


@dataclass(frozen=True)
class Plan:
    """How much to measure. Once `runs` are live, `more` follow, one every `every_s` seconds."""

    runs: int
    more: int
    every_s: float
    rest_s: float


class Bench:
    """All measurements of one contender."""

    def __init__(self, arena: Arena, contender: Contender, plan: Plan) -> None:
        self._arena, self._contender, self._plan, self._figures = arena, contender, plan, Figures()
        self._made: Counter[str] = Counter()
        self._last_write = 0.0

    def all(self) -> Figures:
        """Raises BenchError when the contender does not get there."""
        self._contender.install()
        self._contender.start()
        self._contender.equip()
        runs = [f"run-{number:05d}" for number in range(self._plan.runs)]
        self._warm_up("run-warmu")
        with step(f"{len(runs)} objects applied at once"):
            self._load(runs)
        with step(f"{self._plan.more} more, one every {self._plan.every_s:g} s"):
            self._latency([f"run-m{number:04d}" for number in range(self._plan.more)])
        with step(f"at rest for {duration(self._plan.rest_s)}"):
            self._rest()
        with step("controllers restarted"):
            self._restart(runs)
        return self._figures

    def _warm_up(self, run: str) -> None:
        """Connections are opened, code is loaded, and one settled run tells how many children each has."""
        self._submit([run])
        self._settle([run], 1)
        made = [request for request in self._arena.log.requests if request.created and _run(request.name) == run
                and request.user in self._contender.users]
        self._figures.children_per_run = len(made)
        self._figures.children = dict(sorted(Counter(request.resource for request in made).items()))
        say(f"  {len(made)} children a run: {self._figures.children}")

    def _load(self, runs: Sequence[str]) -> None:
        figures, start, before = self._figures, len(self._arena.log.requests), self._usage()
        others, clock = self._arena.cpu_of_others(), time.monotonic()
        self._submit(runs)
        self._settle(runs, figures.children_per_run)
        began = min(self._applied(start).values())
        requests = self._by_contender(start)
        writes = [request for request in requests if request.write]
        figures.children_s = max(request.answered for request in writes if request.created) - began
        figures.steady_s = max(request.answered for request in writes) - began
        figures.runs_per_s = len(runs) / figures.steady_s
        figures.writes_per_run = len(writes) / len(runs)
        figures.reads_per_run = sum(request.read for request in requests) / len(runs)
        figures.writes = {call: count / len(runs) for call, count in audit.calls(writes).most_common()}
        figures.refused = sum(request.write and request.status >= 400 for request in requests)
        after = self._usage()
        figures.resident_mb, figures.resident_peak_mb = sum(after.resident.values()), after.largest
        figures.cpu_ms_per_run = (after.cpu - before.cpu) / len(runs) * 1000
        # The clocks of processes and of the machine differ by a tick or two.
        figures.cores_taken_by_others = max(self._arena.cpu_of_others() - others, 0) / (time.monotonic() - clock)
        figures.pods = self._arena.pods()

    def _latency(self, runs: Sequence[str]) -> None:
        """From a user's request to the answer of the last child's; children that wait for a pod's report left out."""
        start, began = len(self._arena.log.requests), time.monotonic()
        for number, run in enumerate(runs):
            while (wait := began + number * self._plan.every_s - time.monotonic()) > 0:
                self._take_in()
                time.sleep(min(wait, POLL_S))
            self._submit([run])
        self._settle(runs, self._figures.children_per_run)
        applied = self._applied(start)
        reported = {_run(request.name): request.received for request in self._arena.log.requests[start:]
                    if (request.user, request.verb) == (USER, "patch")}
        there: dict[str, float] = {}
        for request in self._by_contender(start):
            run = _run(request.name)
            if request.created and run in applied and request.answered <= reported.get(run, math.inf):
                there[run] = request.answered - applied[run]
        cuts = statistics.quantiles(there.values(), n=100, method="inclusive")
        self._figures.latency_p50_s, self._figures.latency_p99_s = cuts[49], cuts[98]
        self._figures.latency_max_s = max(there.values())

    def _rest(self) -> None:
        figures, start, before, began = self._figures, len(self._arena.log.requests), self._usage(), time.monotonic()
        while (wait := began + self._plan.rest_s - time.monotonic()) > 0:
            time.sleep(min(wait, PROGRESS_S))
        self._take_in()
        requests, after = self._by_contender(start), self._usage()
        figures.rest_s = time.monotonic() - began
        figures.rest_writes = sum(request.write for request in requests)
        figures.rest_reads = sum(request.read for request in requests)
        figures.rest_lease_renewals = sum(request.resource == "leases" and request.verb == "update" for request in requests)
        figures.rest_cpu_s_per_min = (after.cpu - before.cpu) / figures.rest_s * 60
        figures.rest_resident_mb = after.resident

    def _restart(self, runs: Sequence[str]) -> None:
        """Some children are deleted while nobody looks; they are there again once their runs were looked at."""
        figures = self._figures
        figures.restart_pods = self._arena.pods()
        broken = runs[::max(len(runs) // REPAIRS, 1)][:REPAIRS]
        self._contender.stop()
        self._arena.all([partial(self._arena.call, "DELETE", self._contender.child(run)) for run in broken])
        self._take_in()
        start, began = len(self._arena.log.requests), time.time()
        self._contender.start()
        figures.restart_ready_s = time.time() - began

        def repaired() -> set[str]:
            return {_run(request.name) for request in self._by_contender(start) if request.created}

        self._wait(lambda: repaired() >= set(broken), lambda: f"{len(repaired())} of {len(broken)} children made again")
        self._wait(self._quiet, lambda: "children made again, still writing")
        requests = self._by_contender(start)
        times = [request.answered - began for request in requests if request.created]
        figures.restart_first_repair_s, figures.restart_last_repair_s = min(times), max(times)
        figures.restart_other_writes = sum(request.write and _run(request.name) not in broken for request in requests)
        figures.restart_reads = sum(request.read for request in requests)

    def _submit(self, runs: Sequence[str]) -> None:
        self._arena.all([partial(self._arena.call, "POST", self._contender.collection, self._contender.run(run))
                         for run in runs])

    def _settle(self, runs: Sequence[str], children: int) -> None:
        """Until every run has its children, every pod runs, and nothing was written for a while."""
        def complete() -> int:
            return sum(self._made[run] >= children for run in runs)

        self._wait(lambda: complete() == len(runs), lambda: f"{complete()} of {len(runs)} runs have all their children")
        self._wait(lambda: self._quiet() and not self._arena.pods_waiting(),
                   lambda: "all children are there; statuses are still written, or pods do not run yet")

    def _wait(self, holds: Callable[[], bool], state: Callable[[], str]) -> None:
        began = said = time.monotonic()
        while self._take_in() or not holds():
            now = time.monotonic()
            if now - began > LIMIT_S:
                raise BenchError(f"{self._contender.title}: not steady after {duration(LIMIT_S)}: {state()}; "
                                 f"logs are in {self._arena.plane.directory}/logs")
            if now - said > PROGRESS_S:
                said = now
                say(f"    {state()}")
            time.sleep(POLL_S)

    def _take_in(self) -> bool:
        """Read what is new in the log and let pods react to it. True when there was something."""
        fresh = self._arena.log.read()
        for request in fresh:
            if request.user in self._contender.users and request.write:
                self._last_write = max(self._last_write, request.answered)
                self._made[_run(request.name)] += request.created
        self._contender.react(fresh)
        return bool(fresh)

    def _quiet(self) -> bool:
        return time.time() - self._last_write > QUIET_S

    def _by_contender(self, start: int) -> list[Request]:
        return [request for request in self._arena.log.requests[start:] if request.user in self._contender.users]

    def _applied(self, start: int) -> dict[str, float]:
        """When the user's request for each run came in."""
        return {_run(request.name): request.received for request in self._arena.log.requests[start:]
                if (request.user, request.verb) == (USER, "create")}

    def _usage(self) -> Usage:
        return self._arena.usage(self._contender.processes)


def _run(name: str) -> str:
    """Children's names begin with their run's, and every run's name has nine letters."""
    return name[:9]
