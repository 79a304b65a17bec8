"""How often the pods of a role came back, and through whose fault. The status remembers what was counted.

Each container restart and each lost pod is counted once, when it is first seen: the same pods seen again, or seen first
by an operator that has just started, change nothing.
"""

from dataclasses import dataclass

from magistral_api.status import FaultKind, PodRestarts, RoleStatus


@dataclass(frozen=True)
class Seen:
    """One pod of the role. `fault`: whose its last container restart was, None for nobody's.

    `lost`: the pod is gone or going for this kind of reason.
    """

    name: str
    uid: str
    restarts: int = 0
    fault: FaultKind | None = "application"
    lost: FaultKind | None = None


@dataclass(frozen=True)
class _News:
    """`after`: the pod's count with this news."""

    count: int
    kind: FaultKind | None
    after: int


def count(role: RoleStatus, found: list[Seen], *, group: bool) -> None:
    """Add what is new to the role's counters. Pods that are gone beyond `role.desired` were let go on purpose.

    group: one pod that comes back takes the others along. The group then came back as often as its most restarted pod,
    through the infrastructure's fault when that is known of any pod, even if it becomes known only after the others have
    broken off; and while a pod is lost, what the others do is the consequence of it.
    """
    if group:
        _as_group(role, _compare(role, found, _level(role)))
    else:
        for one in _compare(role, found, 0):
            _add(role, one.count, one.kind)


def _compare(role: RoleStatus, found: list[Seen], level: int) -> list[_News]:
    """Bring role.pods up to date and say what is new. `level`: the count of a pod that replaces none."""
    seen, news = role.pods, []
    here = {pod.name: pod for pod in found if pod.lost is None}
    going = {pod.uid: pod for pod in found if pod.lost is not None}
    gone = sorted(name for name in seen if name not in here)
    now: dict[str, PodRestarts] = {}
    for name, pod in sorted(here.items()):
        old = seen.get(name)
        replaced = None
        if old is None or old.uid != pod.uid:
            replaced = old or (seen[gone.pop(0)] if gone else None)
        if replaced is not None:
            lost = 0 if replaced.lost else 1
            now[name] = PodRestarts(uid=pod.uid, inherited=replaced.total + lost, own=pod.restarts)
            if lost:
                kind = going[replaced.uid].lost if replaced.uid in going else "infrastructure"
                news.append(_News(1, kind, now[name].inherited))
            fresh = pod.restarts
        elif old is not None:
            now[name] = PodRestarts(uid=pod.uid, inherited=old.inherited, own=max(old.own, pod.restarts))
            fresh = now[name].own - old.own
        else:
            now[name] = PodRestarts(uid=pod.uid, inherited=level, own=pod.restarts)
            fresh = pod.restarts
        if fresh:
            news.append(_News(fresh, pod.fault, now[name].total))
    for name in gone[:max(role.desired - len(now), 0)]:
        now[name] = old = seen[name]
        if old.lost is None:
            kind = going[old.uid].lost if old.uid in going else "infrastructure"
            now[name] = PodRestarts(uid=old.uid, inherited=old.inherited + 1, own=old.own, lost=kind)
            news.append(_News(1, kind, now[name].total))
    role.pods = now
    return news


def _as_group(role: RoleStatus, news: list[_News]) -> None:
    before = level = _level(role)
    reached = max((one.after for one in news if one.kind == "infrastructure"), default=0)
    if reached > level:
        _add(role, reached - level, "infrastructure")
    elif reached == level and role.last_restart == "application" and role.restarts:
        role.restarts -= 1
        _add(role, 1, "infrastructure")
    level = _level(role)
    reached = max((one.after for one in news if one.kind == "application"), default=0)
    if reached > level and not any(pod.lost == "infrastructure" for pod in role.pods.values()):
        _add(role, reached - level, "application")
    level = _level(role)
    for pod in role.pods.values():
        # Who is ahead was forgiven something. Who is behind may still follow into what is new, not into what was before.
        behind = before - pod.total if level > before else 0
        pod.inherited += max(behind, 0) - max(pod.total - level, 0)


def _level(role: RoleStatus) -> int:
    """How often a group came back."""
    return role.restarts + role.infrastructure_restarts


def _add(role: RoleStatus, times: int, kind: FaultKind | None) -> None:
    if kind is None:
        return
    if kind == "infrastructure":
        role.infrastructure_restarts += times
    else:
        role.restarts += times
    role.last_restart = kind
