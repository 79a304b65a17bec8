"""A leader that slept through the end of its lease, or is stopped in the middle of a write: what still leaves it."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from aiohttp import web

from dev.cluster import control_plane as planes
from magistral_operator.controller import THREADS
from magistral_operator.kinds import CHILDREN, LEASE
from magistral_operator.leader import DURATION_S, NAME, RENEW_S
from tests.control_plane.cluster import TIMEOUT_S, Api, Manifest, Namespace, Operator, Tell, eventually
from tests.control_plane.conftest import USER, credentials
from tests.control_plane.faults import Call, Exchange, Fault, Network, Proxy

OK, CONFLICT = 200, 409
REFUSED = 'magistral_api_errors_total{kind="MagistralRun",method="PATCH",status="409"}'
FENCED = 'magistral_reconcile_duration_seconds_count{outcome="not_leading"}'


def lease(api: Api) -> Manifest:
    spec: Manifest = (api.get(LEASE, "default", NAME) or {})["spec"]
    return spec


class Hold:
    """Keeps the next write of one resource on its way until it is let go; `code` is how it was answered."""

    def __init__(self, resource: str, subresource: str = "") -> None:
        self._held = "patch", resource, subresource
        self.arrived, self.let_go, self.answered, self.code = Event(), Event(), Event(), 0

    def choose(self, call: Call) -> Fault | None:
        held = (call.verb, call.resource, call.subresource) == self._held
        return self.delay if held and not self.arrived.is_set() else None

    async def delay(self, exchange: Exchange) -> web.StreamResponse:
        self.arrived.set()
        await asyncio.to_thread(self.let_go.wait, TIMEOUT_S)
        answer = await exchange.forward()
        self.code = answer.status
        self.answered.set()
        return answer


@pytest.fixture
def network(plane: planes.ControlPlane) -> Iterator[Network]:
    opened = Network(plane.server, credentials(plane, USER))
    yield opened
    opened.close()


@pytest.fixture
def sleeper(operator: Operator, network: Network, tmp_path: Path) -> Iterator[tuple[Operator, Proxy]]:
    """A replica behind a proxy, the only one at first. The usual operator is stopped meanwhile."""
    assert operator.terminate() == 0
    proxy = network.proxy()
    (port,) = planes.free_ports(1)
    alone = Operator(proxy.kubeconfig(tmp_path / "kubeconfig"), port, tmp_path / "sleeper")
    alone.start()
    alone.until_leading()
    yield alone, proxy
    assert alone.terminate() == 0
    operator.start()
    operator.until_leading()


def children(ns: Namespace) -> dict[str, tuple[str, int]]:
    """UID and generation of all that the run owns."""
    return {f"{kind.name}/{one['metadata']['name']}": (one["metadata"]["uid"], one["metadata"].get("generation", 0))
            for kind in CHILDREN for one in ns.api.list(kind, ns.name)}


def test_a_stop_lets_a_write_on_its_way_end_before_it_hands_over(
        ns: Namespace, api: Api, sleeper: tuple[Operator, Proxy]) -> None:
    stopping, proxy = sleeper
    ns.run("Evaluate")
    ns.until_there("Job", "one-preflight")
    hold = Hold("magistralruns", "status")
    proxy.choose = hold.choose
    ns.succeed("preflight")
    assert hold.arrived.wait(TIMEOUT_S)
    stopping.signal(signal.SIGTERM)
    eventually(lambda: "stopping: " in stopping.log.read_text() or None, "the stop to begin")
    assert lease(api)["holderIdentity"] != ""
    hold.let_go.set()
    assert stopping.terminate() == 0
    assert hold.code == OK
    assert lease(api)["holderIdentity"] == ""
    # The whole decision was carried out, not the status alone.
    ns.until_there("Job", "one-evaluate")


def put_to_sleep(ns: Namespace, asleep: Operator, proxy: Proxy, hold: Hold, standby: Operator) -> None:
    """The leader decides that the next stage begins, and falls asleep while this write is on its way. The standby goes on."""
    ns.run("Evaluate")
    ns.until_there("Job", "one-preflight")
    proxy.choose = hold.choose
    ns.succeed("preflight")
    assert hold.arrived.wait(TIMEOUT_S)
    asleep.signal(signal.SIGSTOP)
    standby.until_leading()
    ns.until_there("Job", "one-evaluate")
    ns.report("evaluate", "Running", step=7, totalSteps=9)
    ns.until_run(lambda status: status.get("progress") == "evaluate 7/9")


def wake_up(ns: Namespace, asleep: Operator, hold: Hold) -> None:
    """The write arrives, the sleeper goes on, and finds out."""
    hold.let_go.set()
    assert hold.answered.wait(TIMEOUT_S)
    asleep.signal(signal.SIGCONT)
    eventually(lambda: not asleep.leading() or None, "the sleeper to know that it leads no more")
    ns.report("evaluate", "Running", step=8, totalSteps=9)
    ns.until_run(lambda status: status.get("progress") == "evaluate 8/9")


def attempts(ns: Namespace) -> list[int]:
    return [stage["attempt"] for stage in ns.until_run(lambda _: True)["status"]["stages"]]


def test_a_decision_of_a_leader_that_slept_through_its_end_is_refused(
        ns: Namespace, sleeper: tuple[Operator, Proxy], standby: Operator, tell: Tell) -> None:
    asleep, proxy = sleeper
    hold = Hold("magistralruns", "status")
    put_to_sleep(ns, asleep, proxy, hold, standby)
    before, written, tried = children(ns), proxy.writes(), attempts(ns)
    wake_up(ns, asleep, hold)
    assert hold.code == CONFLICT
    refused = asleep.metrics()[REFUSED]
    assert refused == 1
    assert proxy.writes() == written
    assert (children(ns), attempts(ns)) == (before, tried)
    tell(f"leader asleep for longer than its lease, its status write on the way: {refused:.0f} refused by resourceVersion, "
         f"{proxy.writes() - written} further writes")


def test_a_leader_that_slept_between_two_writes_does_not_make_the_second(
        ns: Namespace, sleeper: tuple[Operator, Proxy], standby: Operator, tell: Tell) -> None:
    asleep, proxy = sleeper
    # Its status write is done, its Job is still to come.
    hold = Hold("configmaps")
    put_to_sleep(ns, asleep, proxy, hold, standby)
    before, written, tried = children(ns), proxy.writes(), attempts(ns)
    wake_up(ns, asleep, hold)
    fenced = asleep.metrics()[FENCED]
    assert fenced >= 1
    assert proxy.writes() == written
    assert (children(ns), attempts(ns)) == (before, tried)
    tell(f"leader asleep for longer than its lease, between two writes: {fenced:.0f} look ended by the clock, "
         f"{proxy.writes() - written} further writes")


def test_a_leader_whose_other_calls_all_hang_keeps_its_lease(ns: Namespace, api: Api, sleeper: tuple[Operator, Proxy]) -> None:
    _, proxy = sleeper
    stuck: list[Call] = []
    let_go = Event()

    async def delay(exchange: Exchange) -> web.StreamResponse:
        await asyncio.to_thread(let_go.wait, TIMEOUT_S)
        return await exchange.forward()

    def choose(call: Call) -> Fault | None:
        # Written side by side by each worker, so that they take all threads.
        if call.verb != "patch" or call.resource not in ("configmaps", "rolebindings"):
            return None
        stuck.append(call)
        return delay

    proxy.choose = choose
    for number in range(2 * THREADS):
        ns.run("Evaluate", f"run-{number}")
    eventually(lambda: len(stuck) >= THREADS or None, "every thread to hang")
    before, renewed = lease(api), set[str]()

    def renewals() -> int | None:
        renewed.add(lease(api)["renewTime"])
        # Longer than it would last without.
        return len(renewed) if len(renewed) > DURATION_S / RENEW_S else None

    eventually(renewals, "renewals of the lease")
    after = lease(api)
    assert [after[key] for key in ("holderIdentity", "leaseTransitions")] == [
        before[key] for key in ("holderIdentity", "leaseTransitions")]
    let_go.set()
