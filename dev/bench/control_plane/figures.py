"""What came out, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Figures:
    """One contender. `_s` seconds, `_mb` megabytes; writes and reads are requests, lease renewals counted apart."""

    children_per_run: int = 0
    children: dict[str, int] = field(default_factory=dict)
    pods: int = 0
    children_s: float = 0
    steady_s: float = 0
    runs_per_s: float = 0
    writes_per_run: float = 0
    reads_per_run: float = 0
    writes: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    cpu_ms_per_run: float = 0
    cores_taken_by_others: float = 0
    resident_mb: float = 0
    resident_peak_mb: float = 0
    latency_p50_s: float = 0
    latency_p99_s: float = 0
    latency_max_s: float = 0
    rest_s: float = 0
    rest_writes: int = 0
    rest_reads: int = 0
    rest_lease_renewals: int = 0
    rest_cpu_s_per_min: float = 0
    rest_resident_mb: dict[str, float] = field(default_factory=dict)
    restart_pods: int = 0
    restart_ready_s: float = 0
    restart_first_repair_s: float = 0
    restart_last_repair_s: float = 0
    restart_other_writes: int = 0
    restart_reads: int = 0

    def wire(self) -> dict[str, Any]:
        return {key: _round(value) for key, value in asdict(self).items()}


ROWS = (
    ("children a run (objects that the controllers make)", "children_per_run"),
    ("pods, all runs", "pods"),
    ("applied at once → all children exist, s", "children_s"),
    ("applied at once → steady (last write), s", "steady_s"),
    ("runs a second", "runs_per_s"),
    ("API writes a run", "writes_per_run"),
    ("API reads a run", "reads_per_run"),
    ("writes that were refused (conflicts and the like)", "refused"),
    ("CPU a run, ms", "cpu_ms_per_run"),
    ("cores that others took meanwhile", "cores_taken_by_others"),
    ("memory once steady, MB", "resident_mb"),
    ("largest memory so far, MB", "resident_peak_mb"),
    ("one more applied → its children exist, p50, s", "latency_p50_s"),
    ("                                       p99, s", "latency_p99_s"),
    ("                                   largest, s", "latency_max_s"),
    ("at rest: seconds watched", "rest_s"),
    ("         writes", "rest_writes"),
    ("         lease renewals", "rest_lease_renewals"),
    ("         reads", "rest_reads"),
    ("         CPU seconds a minute", "rest_cpu_s_per_min"),
    ("         memory, MB", "rest_resident_mb"),
    ("restart: pods there", "restart_pods"),
    ("         ready, s", "restart_ready_s"),
    ("         first of ten deleted children made again, s", "restart_first_repair_s"),
    ("         last of ten, s", "restart_last_repair_s"),
    ("         writes to runs that need none", "restart_other_writes"),
    ("         reads", "restart_reads"),
)


def table(columns: Mapping[str, Figures]) -> list[str]:
    """Lines of text: one column a contender, and the ratio of the first to the second when there are two."""
    titles = [*columns, *(["ratio"] if len(columns) == 2 else [])]
    lines = [f"{'':52}" + "".join(f"{title:>28}" for title in titles)]
    for label, name in ROWS:
        values = [getattr(figures, name) for figures in columns.values()]
        values = [sum(value.values()) if isinstance(value, dict) else value for value in values]
        cells = [f"{_round(value)}" for value in values]
        if len(values) == 2:
            cells.append(f"{values[0] / values[1]:.2f}" if values[1] else "–")
        lines.append(f"{label:52}" + "".join(f"{cell:>28}" for cell in cells))
    return lines


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value
