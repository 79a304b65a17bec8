"""From what is there to what should be: the fewest applies and deletes, none when nothing differs."""

from collections.abc import Iterable

from magistral_api.names import LABEL_ATTEMPT, LABEL_STAGE, child
from magistral_operator import constants, pods
from magistral_operator.build.access import token
from magistral_operator.build.checkpoint import ready as checkpoint_ready
from magistral_operator.case import Case
from magistral_operator.diff import ANNOTATION_APPLIED, annotated, annotation, digest, holds, stamped
from magistral_operator.kinds import DISRUPTION_BUDGET, QUOTA, WORKLOAD_NAMES
from magistral_operator.plan import Deletion, Key, Manifest, Plan, key_of
from magistral_operator.policies import pod_problems, queue, suspend

_PASSING = WORKLOAD_NAMES | {DISRUPTION_BUDGET.name, QUOTA.name}
_RETRY_S = 5.0
"""Deletions end with a watch event; this is for the event that never comes."""


def children(case: Case, plan: Plan, wanted: list[Manifest]) -> None:
    """Add to the plan what turns the observed children into the wanted ones."""
    taken = {key_of(manifest) for manifest in case.observed.leftovers}
    plan.delete += [_deletion(manifest) for manifest in case.observed.leftovers if not _ending(manifest)]
    if taken:
        case.wake_in(_RETRY_S)
    for manifest in wanted:
        if key_of(manifest) not in taken:
            _one(case, plan, manifest)
    # Made with the first workload that mounts it. Whether it is still there cannot be read; pods that wait for it tell.
    first = _mount_token(case, plan.apply) and not _mount_token(case, case.observed.children.values())
    if first or pod_problems.volume_may_be_missing(case):
        plan.token = token(case)


def idle(case: Case, plan: Plan, wanted: set[Key]) -> None:
    """Delete workloads, budgets and claims to quota that nothing needs any more. Ended Jobs stay with their logs."""
    plan.delete += [_deletion(live) for key, live in case.observed.children.items()
                    if key[0] in _PASSING and key not in wanted
                    and not _ending(live) and not _still_needed(case, live)]


def _mount_token(case: Case, manifests: Iterable[Manifest]) -> bool:
    """Whether some workload among them does."""
    secret = child(case.name, "token")
    return any(volume.get("secret", {}).get("secretName") == secret
               for manifest in manifests if manifest["kind"] in WORKLOAD_NAMES
               for volume in manifest["spec"]["template"]["spec"].get("volumes", []))


def _one(case: Case, plan: Plan, manifest: Manifest) -> None:
    live, kind = case.observed.children.get(key_of(manifest)), manifest["kind"]
    if kind in WORKLOAD_NAMES:
        manifest = annotated(manifest, constants.ANNOTATION_TEMPLATE, _made_from(manifest))
    in_the_way = live is not None and _must_go_first(case, live, manifest)
    if live is None:
        plan.apply.append(stamped(manifest))
    elif _ending(live):
        case.wake_in(_RETRY_S)
    elif in_the_way:
        plan.delete.append(_deletion(live))
        case.wake_in(_RETRY_S)
    elif kind != "Job" or not _template_differs(live, manifest):
        _update(case, plan, live, manifest)
    if kind == "Checkpoint" and not in_the_way:
        _ready(case, plan, live or {}, manifest)


def _ready(case: Case, plan: Plan, live: Manifest, manifest: Manifest) -> None:
    before = pods.condition(live, "Ready")
    wanted = checkpoint_ready(manifest, before["lastTransitionTime"] if before.get("status") == "True" else case.timestamp)
    if not holds(wanted["status"], live.get("status")):
        plan.apply_status.append(wanted)


def _update(case: Case, plan: Plan, live: Manifest, manifest: Manifest) -> None:
    if manifest["kind"] in WORKLOAD_NAMES and _template_differs(live, manifest) and not _stuck(case, live):
        # Runtime or operator changed since these pods were made: pods that run are never restarted for it.
        manifest = {**manifest, "spec": {**manifest["spec"], "template": live["spec"]["template"]}}
        made_from = annotation(live, constants.ANNOTATION_TEMPLATE) or ""
        manifest = annotated(manifest, constants.ANNOTATION_TEMPLATE, made_from)
        # As long as nothing else is to change it keeps its stamp too: a new one would count as a generation of a Deployment.
        if holds(annotated(manifest, ANNOTATION_APPLIED, annotation(live, ANNOTATION_APPLIED) or ""), live):
            return
    manifest = stamped(manifest)
    if holds(manifest, live):
        return
    if annotation(live, ANNOTATION_APPLIED) == annotation(manifest, ANNOTATION_APPLIED):
        name = manifest["metadata"]["name"]
        case.note(constants.DRIFT_CORRECTED, f"{manifest['kind']} {name} was changed by others; set back")
    plan.apply.append(manifest)


def _must_go_first(case: Case, live: Manifest, manifest: Manifest) -> bool:
    """The object cannot become the wanted one: it is of another attempt, or immutable and wrong."""
    if manifest["kind"] == "Checkpoint":
        # A later attempt committed the same step again; a Checkpoint never changes, so another takes its name.
        return bool(live["spec"]["digest"] != manifest["spec"]["digest"])
    if manifest["kind"] == "Service":
        return _port_in_the_way(live, manifest)
    if manifest["kind"] not in WORKLOAD_NAMES:
        return False
    if live["metadata"].get("labels", {}).get(LABEL_ATTEMPT) != manifest["metadata"]["labels"].get(LABEL_ATTEMPT):
        return not _applied_last(live, manifest)
    return manifest["kind"] == "Job" and _template_differs(live, manifest) and _stuck(case, live)


def _port_in_the_way(live: Manifest, manifest: Manifest) -> bool:
    """Whether others gave a port another number: ours beside it would be refused, and no apply takes theirs away."""
    ours = {(port["port"], "TCP"): port["name"] for port in manifest["spec"]["ports"]}
    return any((port["port"], port.get("protocol", "TCP")) not in ours and port.get("name") in (None, *ours.values())
               for port in live["spec"].get("ports", []))


def _template_differs(live: Manifest, manifest: Manifest) -> bool:
    """Whether the operator wants other pods now than when it made the workload. Drift by others is not meant."""
    template = constants.ANNOTATION_TEMPLATE
    return (manifest["kind"] in WORKLOAD_NAMES and annotation(live, template) != annotation(manifest, template)
            and not _applied_last(live, manifest))


def _applied_last(live: Manifest, manifest: Manifest) -> bool:
    """Whether just this manifest was applied last. What differs from it was then changed by others."""
    return annotation(live, ANNOTATION_APPLIED) == annotation(stamped(manifest), ANNOTATION_APPLIED)


def _made_from(manifest: Manifest) -> str:
    # Hardly anything of a Job may change once it is there, so a release that wants another Job leaves the one that runs.
    spec = manifest["spec"]
    return digest(spec if manifest["kind"] == "Job" else spec["template"])


def _stuck(case: Case, live: Manifest) -> bool:
    """Some pod cannot run and none ever did: a corrected runtime may be what it waits for."""
    labels = live["spec"]["template"]["metadata"]["labels"]
    own = [pod for pod in case.observed.pods if labels.items() <= pod["metadata"].get("labels", {}).items()]
    return any(pod_problems.of(case, pod) for pod in own) and not any(pods.started(pod) for pod in own)


def _still_needed(case: Case, live: Manifest) -> bool:
    if live["kind"] == QUOTA.name:
        # Of a run that has ended it stays, as Kueue's record of it.
        return queue.queue(case) is not None
    return live["kind"] in WORKLOAD_NAMES and (_kept_for_its_log(case, live) or suspend.stays(case, live))


def _kept_for_its_log(case: Case, live: Manifest) -> bool:
    if live["kind"] != "Job":
        return False
    known = case.stage(live["metadata"]["labels"].get(LABEL_STAGE))
    ended = pods.job_ended(live)
    if ended or known is None or known.state != "Succeeded" or case.suspended:
        return ended
    # A Job that has just reported success winds down by itself, within reason.
    rest = constants.WIND_DOWN_S - case.age(known.completion_time)
    if rest > 0:
        case.wake_in(rest)
    return rest > 0


def _ending(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _deletion(manifest: Manifest) -> Deletion:
    # Foreground: a workload's name is free only when its pods are gone, so two attempts never run at once.
    return Deletion(manifest["kind"], manifest["metadata"]["name"], manifest["metadata"]["uid"],
                    "Foreground" if manifest["kind"] in WORKLOAD_NAMES else "Background")
