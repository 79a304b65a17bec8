"""Restarts are counted once each, as what they are: by a table for a group, and for any history by properties."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from magistral_api.status import RoleStatus
from magistral_operator.policies.restarts import Seen, count

Group = list[Seen]


def a(restarts: int = 0, uid: str = "a", **fields: str) -> Seen:
    return Seen("a", uid, restarts, **fields)  # type: ignore[arg-type]


def b(restarts: int = 0, uid: str = "b", **fields: str) -> Seen:
    return Seen("b", uid, restarts, **fields)  # type: ignore[arg-type]


GOING = {"lost": "infrastructure"}
GROUPS: dict[str, tuple[list[Group], tuple[int, int]]] = {
    "a group that comes up": ([[a(), b()]], (0, 0)),
    "one process crashes and takes the other along": ([[a(), b()], [a(1), b()], [a(1), b(1)]], (1, 0)),
    "both are seen at once": ([[a(), b()], [a(1), b(1)]], (1, 0)),
    "two crashes": ([[a(), b()], [a(1), b(1)], [a(2), b(1)], [a(2), b(2)]], (2, 0)),
    "three crashes while the operator was away": ([[a(), b()], [a(3), b(3)]], (3, 0)),
    "a pod is lost, its peer breaks off, another takes its name":
        ([[a(), b()], [a(), b(**GOING)], [a(1), b(**GOING)], [a(1)], [a(1), b(uid="c")]], (0, 1)),
    "a pod is lost and replaced between two looks": ([[a(), b()], [a(1), b(uid="c")]], (0, 1)),
    "the peer breaks off before the loss is seen":
        ([[a(), b()], [a(1), b()], [a(1), b(**GOING)], [a(1), b(uid="c")]], (0, 1)),
    "the peer breaks off again and again while a pod is lost":
        ([[a(), b()], [a(), b(**GOING)], [a(1), b(**GOING)], [a(2)], [a(3)], [a(3), b(uid="c")]], (0, 1)),
    "what was forgiven stays forgiven, and the next crash counts":
        ([[a(), b()], [a(), b(**GOING)], [a(3)], [a(3), b(uid="c")], [a(4), b(uid="c")], [a(4), b(1, uid="c")]], (1, 1)),
    "a node with both is lost": ([[a(), b()], [a(**GOING), b(**GOING)], [], [a(uid="c"), b(uid="d")]], (0, 1)),
    "one after the other is lost": ([[a(), b()], [a(**GOING), b()], [a(uid="c"), b()], [a(uid="c"), b(**GOING)],
                                     [a(uid="c"), b(uid="d")], [a(1, uid="c"), b(uid="d")]], (1, 1)),
    "a node that is lost and comes back with its pod": ([[a(), b()], [a(), b(**GOING)], [a(1), b(**GOING)], [a(1), b()]],
                                                        (0, 1)),
    "one crashes again and again before the other has met it, then both":
        ([[a(), b()], [a(1), b()], [a(2), b()], [a(2), b(1)], [a(2), b(2)]], (3, 0)),
    "a process that ended well": ([[a(), b()], [a(1, fault=None), b()]], (0, 0)),
    "a process that a sick node ended": ([[a(), b()], [a(1, fault="infrastructure"), b()], [a(1), b(1)]], (0, 1)),
    "a crash after a lost node": ([[a(), b()], [a(), b(uid="c")], [a(1), b(uid="c")], [a(2), b(1, uid="c")]], (1, 1)),
}
"""`fault` is the application's unless it says otherwise."""


def look(role: RoleStatus, found: list[Seen], *, group: bool) -> RoleStatus:
    """By an operator that has just started: all it knows is the status."""
    again = RoleStatus.model_validate(role.wire())
    count(again, found, group=group)
    return again


@pytest.mark.parametrize("sentence", list(GROUPS))
def test_group(sentence: str) -> None:
    looks, expected = GROUPS[sentence]
    role = RoleStatus(name="trainer", desired=2)
    for found in looks:
        role = look(role, found, group=True)
        assert look(role, found, group=True) == role
    assert (role.restarts, role.infrastructure_restarts) == expected


EVENTS = some.tuples(some.sampled_from(["crash", "sick", "end well", "evict", "lose", "return"]), some.integers(0, 2))


class Pods:
    """Three pods to which anything happens, and what should be counted of it."""

    def __init__(self) -> None:
        self.pods = {name: Seen(name, name) for name in ("p0", "p1", "p2")}
        self.replaced = 0
        self.application = self.infrastructure = 0

    def happen(self, event: str, which: int) -> None:
        name = f"p{which}"
        old = self.pods.get(name)
        if event == "return":
            if old is None or old.lost:
                self.replaced += 1
                self.pods[name] = Seen(name, f"{name}-{self.replaced}")
        elif old is None or old.lost:
            return
        elif event in ("evict", "lose"):
            self.infrastructure += 1
            self.pods.pop(name)
            if event == "evict":
                self.pods[name] = Seen(name, old.uid, old.restarts, lost="infrastructure")
        else:
            self.application += event == "crash"
            self.infrastructure += event == "sick"
            fault = {"crash": "application", "sick": "infrastructure", "end well": None}[event]
            self.pods[name] = Seen(name, old.uid, old.restarts + 1, fault)  # type: ignore[arg-type]


@given(some.lists(some.tuples(EVENTS, some.integers(1, 3)), max_size=40))
def test_every_event_of_servers_is_counted_once_however_often_it_is_looked_at(
        history: list[tuple[tuple[str, int], int]]) -> None:
    pods, role = Pods(), RoleStatus(name="generator", desired=3)
    role = look(role, list(pods.pods.values()), group=False)
    for (event, which), looks in history:
        pods.happen(event, which)
        for _ in range(looks):
            role = look(role, list(pods.pods.values()), group=False)
        assert (role.restarts, role.infrastructure_restarts) == (pods.application, pods.infrastructure)


@given(some.lists(some.tuples(EVENTS, some.booleans()), max_size=40))
@example([(("end well", 2), False), (("crash", 2), False)])
def test_a_group_never_counts_more_than_happened_and_never_the_same_again(
        history: list[tuple[tuple[str, int], bool]]) -> None:
    pods, role = Pods(), RoleStatus(name="trainer", desired=3)
    role = look(role, list(pods.pods.values()), group=True)
    for (event, which), looked in history:
        pods.happen(event, which)
        if not looked:
            continue
        before, role = role.restarts + role.infrastructure_restarts, look(role, list(pods.pods.values()), group=True)
        assert role.restarts + role.infrastructure_restarts >= before
        assert look(role, list(pods.pods.values()), group=True) == role
    role = look(role, list(pods.pods.values()), group=True)
    # Of two restarts between two looks only the last one's end can be seen, and it speaks for both.
    unseen = sum(event == "end well" and not looked for (event, _), looked in history)
    assert role.restarts + role.infrastructure_restarts <= pods.application + pods.infrastructure + unseen
    assert all(pod.total <= role.restarts + role.infrastructure_restarts for pod in role.pods.values())
