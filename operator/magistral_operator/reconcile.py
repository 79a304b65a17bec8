"""The operator's decision, whole and pure: what was observed and the time in, what to write out."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from magistral_api.status import RunStatus
from magistral_operator import build, compare, conditions, constants
from magistral_operator.build.checkpoint import checkpoint
from magistral_operator.build.config import MissingOutputError
from magistral_operator.case import Case, Observed, Verdict, describe, read_status, stamp
from magistral_operator.diff import merge_patch
from magistral_operator.plan import Manifest, Plan, key_of
from magistral_operator.policies import (
    checkpoints,
    completion,
    deadline,
    failure,
    nodes,
    pod_problems,
    preconditions,
    queue,
    roles,
    stages,
    suspend,
    ttl,
)


def reconcile(observed: Observed, now: datetime) -> Plan:
    """Decide what one run needs now. Applying the plan and deciding again gives an empty plan."""
    if "deletionTimestamp" in observed.run["metadata"]:
        return Plan()
    try:
        case = Case.parse(observed, now)
    except ValidationError as error:
        return _invalid(observed, now, describe(error))
    if case.finished:
        return _at_rest(case)
    case.hold = queue.hold(case)
    if not case.suspended:
        case.status.start_time = case.status.start_time or case.timestamp

    stages.read_reports(case)
    roles.report(case)
    nodes.report(case)
    checkpoints.report(case)
    if end := deadline.check(case) or failure.check(case) or completion.check(case):
        return _end(case, end)
    return _go_on(case)


def _go_on(case: Case) -> Plan:
    verdict = suspend.check(case)
    # Before a run waits for quota it is told what it could not start with.
    if (verdict is None or queue.asks(case)) and (unmet := preconditions.check(case)):
        return _plan(case, unmet)
    verdict = verdict or stages.start(case)
    roles.report(case)
    try:
        wanted = build.children(case)
    except MissingOutputError as error:
        return _plan(case, Verdict(constants.MISSING_OUTPUT, str(error), "stalled"))
    return _plan(case, _weigh(case, verdict), wanted, prune=True)


def _weigh(case: Case, verdict: Verdict) -> Verdict:
    """What to tell first: refused objects, then pods that cannot run, then what the stage itself says."""
    if case.suspended:
        return verdict
    if case.observed.refusal:
        return Verdict(constants.APPLY_REFUSED, case.observed.refusal, "stalled")
    problem = pod_problems.check(case)
    if problem is not None and (problem.mode == "stalled" or verdict.mode != "stalled"):
        return problem
    if case.current and (fault := case.unreadable.get(case.current.name)):
        return Verdict(constants.UNREADABLE_REPORT,
                       f"ConfigMap {case.name}-progress, key {case.current.name}: {fault}; do operator and workload "
                       "images have the same version?", "stalled")
    if case.observed.leftovers:
        return Verdict(constants.REPLACING_LEFTOVERS, f"objects of an earlier run {case.name!r} are being removed: "
                                                      f"{len(case.observed.leftovers)} left")
    return verdict


def _plan(case: Case, verdict: Verdict, wanted: list[Manifest] | None = None, *, prune: bool = False) -> Plan:
    """The plan for a verdict. `prune`: workloads that are not wanted go."""
    conditions.write(case.status, verdict, case.run.metadata.generation, case.timestamp)
    plan = Plan(events=case.events)
    compare.children(case, plan, wanted or [])
    if prune:
        compare.idle(case, plan, {key_of(manifest) for manifest in wanted or []})
    nodes.force_delete(case, plan)
    _give_quota_back(case, plan)
    plan.status, plan.requeue_after = _changed(case.observed, case.status), case.requeue_after
    return plan


def _give_quota_back(case: Case, plan: Plan) -> None:
    live, patch = queue.workload(case), queue.give_back(case)
    if live is not None and patch is not None and suspend.released(case):
        plan.patch_status.append((live, patch))


def _end(case: Case, verdict: Verdict) -> Plan:
    case.status.phase = "Succeeded" if verdict.mode == "ready" else "Failed"
    case.status.completion_time = case.timestamp
    if failure.keeps_pods(case, verdict.reason):
        ttl_after = case.run.spec.ttl_after_finished
        verdict = replace(verdict, message=f"{verdict.message}; its pods are kept (failurePolicy.onFailure KeepPods) until "
                                           + (f"{ttl_after} after its end" if ttl_after else "the run is deleted"))
    case.note(verdict.reason, verdict.message, warning=verdict.mode != "ready")
    conditions.write(case.status, verdict, case.run.metadata.generation, case.timestamp)
    return _at_rest(case)


def _at_rest(case: Case) -> Plan:
    """A finished run: commits as objects, no pods, and deleted when its time has come."""
    roles.report(case)
    for condition in case.status.conditions:
        condition.observed_generation = case.run.metadata.generation
    plan = Plan(events=case.events)
    compare.children(case, plan, [checkpoint(case, spec) for spec in checkpoints.reported(case)])
    if not failure.keeps_pods(case, case.status.conditions[0].reason):
        compare.idle(case, plan, set())
    nodes.force_delete(case, plan)
    plan.token = None
    _give_quota_back(case, plan)
    if expired := ttl.check(case):
        plan.delete.append(expired)
    plan.status, plan.requeue_after = _changed(case.observed, case.status), case.requeue_after
    return plan


def _invalid(observed: Observed, now: datetime, faults: str) -> Plan:
    generation = observed.run["metadata"].get("generation", 0)
    status = read_status(observed.run.get("status") or {})
    status.observed_generation = generation
    verdict = Verdict(constants.INVALID_SPEC,
                      f"spec: {faults}; correct the field, or delete the run and apply it again", "stalled")
    conditions.write(status, verdict, generation, stamp(now))
    return Plan(status=_changed(observed, status))


def _changed(observed: Observed, status: RunStatus) -> dict[str, Any] | None:
    after = _without_empty(status.wire())
    return after if merge_patch(observed.run.get("status") or {}, after) else None


def _without_empty(value: Any) -> Any:
    """Lists and maps with nothing in them say nothing to a reader of `kubectl describe`."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in ({}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
