"""Tables for people: the objects of a run, and what its pods ask for, by role."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity

from magistral_api.names import LABEL_ROLE
from magistral_operator.kinds import WORKLOAD_NAMES
from magistral_operator.plan import Manifest
from magistral_operator.preview import StagePreview

_GIB = Decimal(2**30)


@dataclass(frozen=True)
class Load:
    """Pods and the resources that they request, whole numbers of the resource's unit."""

    pods: int = 0
    resources: dict[str, Decimal] = field(default_factory=dict)

    def __add__(self, other: "Load") -> "Load":
        return Load(self.pods + other.pods, self._with(other, operator.add))

    def most(self, other: "Load") -> "Load":
        """The larger of the two, each resource for itself."""
        return Load(max(self.pods, other.pods), self._with(other, max))

    def _with(self, other: "Load", both: Callable[[Decimal, Decimal], Decimal]) -> dict[str, Decimal]:
        zero = Decimal(0)
        return {name: both(self.resources.get(name, zero), other.resources.get(name, zero))
                for name in self.resources | other.resources}


def objects(stages: Sequence[StagePreview]) -> str:
    """One line an object, at the stage that it first belongs to."""
    rows = [["STAGE", "OBJECT", "ROLE", "PODS"]]
    for stage in stages:
        for one in stage.new:
            workload = one["kind"] in WORKLOAD_NAMES
            rows.append([stage.name, f"{one['kind']}/{one['metadata']['name']}", _role(one) if workload else "",
                         str(_pods(one)) if workload else ""])
    return _table(rows)


def loads(stages: Sequence[StagePreview]) -> str:
    """What each role asks for at most, and all of them in the stage that asks for most. GPUs are `<vendor>/gpu`."""
    by_role: dict[str, Load] = {}
    together = Load()
    for stage in stages:
        now: dict[str, Load] = {}
        for one in stage.objects:
            if one["kind"] in WORKLOAD_NAMES:
                now[_role(one)] = now.get(_role(one), Load()) + _load(one)
        for role, load in now.items():
            by_role[role] = by_role.get(role, Load()).most(load)
        together = together.most(sum(now.values(), Load()))
    names = sorted(together.resources, key=lambda name: ("/" in name, name))
    rows = [["ROLE", "PODS", *names]]
    for role, load in [*by_role.items(), ("at once", together)]:
        rows.append([role, str(load.pods), *(_amount(name, load.resources.get(name)) for name in names)])
    return _table(rows)


def _load(workload: Manifest) -> Load:
    pods = _pods(workload)
    total: dict[str, Decimal] = {}
    for container in workload["spec"]["template"]["spec"]["containers"]:
        resources = container.get("resources", {})
        # A limit without a request is a request of as much.
        for name, quantity in (resources.get("limits", {}) | resources.get("requests", {})).items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(quantity) * pods
    return Load(pods, total)


def _pods(workload: Manifest) -> int:
    spec = workload["spec"]
    return int(spec["parallelism"] if workload["kind"] == "Job" else spec["replicas"])


def _role(workload: Manifest) -> str:
    return str(workload["spec"]["template"]["metadata"]["labels"][LABEL_ROLE])


def _amount(name: str, value: Decimal | None) -> str:
    if value is None:
        return "0"
    if name in ("memory", "ephemeral-storage"):
        return f"{(value / _GIB).quantize(Decimal('0.1')).normalize():f}Gi"
    return f"{value.normalize():f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join(map(line, rows))
