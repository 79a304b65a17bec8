"""Prometheus metrics and the health route, on one port. docs/metrics.md explains each, and a test keeps it true."""

import threading
from collections import Counter as Count
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from magistral_api.names import STAGES
from magistral_api.status import Phase, RoleStatus, RunStatus, StageStatus
from magistral_operator.case import moment_of, read_status
from magistral_operator.kinds import BY_NAME
from magistral_operator.plan import Manifest

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

RECONCILE_SECONDS = Histogram(
    "magistral_reconcile_duration_seconds", "One look at a run: snapshot, decision and writes.", ["outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30))
QUEUE_DEPTH = Gauge("magistral_queue_depth", "Runs that wait to be looked at.")
API_ERRORS = Counter("magistral_api_errors_total", "Calls that the API server refused or did not answer.",
                     ["method", "kind", "status"])
API_WRITES = Counter("magistral_api_writes_total", "Writes that the operator made.", ["verb", "kind"])
LEADER = Gauge("magistral_leader", "1 while this replica works the queue.")
RUNS = Gauge("magistral_runs", "Runs by phase.", ["phase"])
LIVE_RUNS = Gauge("magistral_live_runs", "Runs that have not ended, by the stage they are at.", ["stage"])
STAGE_SECONDS = Histogram(
    "magistral_stage_duration_seconds", "From a stage's first start to its end, all attempts and waits between.",
    ["stage", "outcome"], buckets=(10, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR,
                                   4 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY))
RESTARTS = Counter("magistral_restarts_total", "Pods or attempts that had to come back.", ["role", "cause"])

_COUNTED = {"application": "restarts", "infrastructure": "infrastructure_restarts"}
"""Cause to the counter in the status of a stage or role."""
LABEL_VALUES: dict[str, tuple[str, ...]] = {
    "outcome": ("changed", "unchanged", "refused", "gone", "not_leading", "error", "succeeded", "failed"),
    "method": ("GET", "POST", "PUT", "PATCH", "DELETE"),
    "verb": ("create", "patch", "delete"),
    "kind": tuple(BY_NAME),
    "phase": get_args(Phase),
    "stage": STAGES,
    "role": ("worker", "trainer", "generator", "verifier", "conductor"),
    "cause": tuple(_COUNTED),
}
"""All values that a label can have. Nothing that a user names is among them. `status`: of HTTP, or unreachable."""


def count_runs(runs: Iterable[Manifest]) -> None:
    """Set the gauges of runs."""
    phases: Count[str] = Count()
    stages: Count[str] = Count()
    for run in runs:
        status = run.get("status") or {}
        phases[status.get("phase", "Pending")] += 1
        if status.get("phase") not in ("Succeeded", "Failed"):
            stages[status.get("stage", "")] += 1
    for phase in get_args(Phase):
        RUNS.labels(phase).set(phases[phase])
    for stage in STAGES:
        LIVE_RUNS.labels(stage).set(stages[stage])


def count_changes(before: Manifest, after: Manifest) -> None:
    """Count what is new in a run's status, once the API server has taken it.

    It takes each change once, so an operator that starts anew or takes over counts nothing twice.
    """
    old, new = read_status(before), read_status(after)
    stages = {stage.name: stage for stage in old.stages}
    for stage in new.stages:
        was = stages.get(stage.name) or StageStatus(name=stage.name)
        outcome = _outcome(stage, new)
        if outcome and not _outcome(was, old) and stage.start_time and stage.completion_time:
            took = moment_of(stage.completion_time) - moment_of(stage.start_time)
            STAGE_SECONDS.labels(stage.name, outcome).observe(took.total_seconds())
        if stage.name != "rl":
            # Restarts in rl are those of its roles.
            _count_restarts("trainer" if stage.name == "sft" else "worker", was, stage)
    roles = {role.name: role for role in old.roles}
    for role in new.roles:
        _count_restarts(role.name, roles.get(role.name) or RoleStatus(name=role.name), role)


def _outcome(stage: StageStatus, run: RunStatus) -> str | None:
    """How the stage ended, or None: a failed attempt that is followed by another is no end."""
    if stage.state == "Succeeded":
        return "succeeded"
    return "failed" if stage.state == "Failed" and run.phase == "Failed" else None


def _count_restarts(role: str, was: StageStatus | RoleStatus, now: StageStatus | RoleStatus) -> None:
    for cause, field in _COUNTED.items():
        # A counter in the status goes down when a cause turns out to be another.
        if (more := getattr(now, field) - getattr(was, field)) > 0:
            RESTARTS.labels(role, cause).inc(more)


class _Handler(BaseHTTPRequestHandler):
    healthy: Callable[[], str | None]

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif self.path == "/healthz":
            problem = type(self).healthy()
            self._answer(503 if problem else 200, (problem or "ok").encode(), "text/plain")
        else:
            self._answer(404, b"routes: /metrics, /healthz", "text/plain")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes come every two seconds; the log is for what happens."""


def serve(port: int, healthy: Callable[[], str | None]) -> ThreadingHTTPServer:
    """Answer on `port` (0: any free one) from a thread. `healthy` returns what is wrong, or None. Raises OSError."""
    handler = type("Handler", (_Handler,), {"healthy": staticmethod(healthy)})
    server = ThreadingHTTPServer(("", port), handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
