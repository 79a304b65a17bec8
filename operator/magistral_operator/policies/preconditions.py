"""What must hold between a run and its runtime before anything is created. The schema cannot see both."""

from collections.abc import Iterator

from magistral_operator import constants
from magistral_operator.case import Case, Verdict
from magistral_operator.policies import queue


def check(case: Case) -> Verdict | None:
    """The first thing that does not hold, with its remedy."""
    name = case.run.spec.runtime_ref.name
    if case.runtime_error:
        return _stalled(constants.INVALID_RUNTIME, f"MagistralRuntime {name} cannot be used: {case.runtime_error}")
    if case.runtime is None:
        return _stalled(constants.RUNTIME_NOT_FOUND,
                        f"spec.runtimeRef.name: there is no MagistralRuntime {name!r}; create it, or delete this run "
                        "and apply it with the name of one that `kubectl get magistralruntimes` shows")
    return next(_no_queue(case), None) or next(_too_many(case), None) or next(_uneven(case), None)


def _no_queue(case: Case) -> Iterator[Verdict]:
    labels = case.run.metadata.labels
    if queue.queue(case) is None:
        return
    if not case.observed.kueue:
        yield _stalled(constants.KUEUE_NOT_ENABLED,
                       f"metadata.labels: found {queue.LABEL_QUEUE}={queue.queue(case)}, but this operator does not work "
                       "with Kueue; install its chart with kueue.enabled=true, or remove the label")
    elif (wanted := labels.get(queue.LABEL_PRIORITY)) and case.observed.priority_class is None:
        case.wake_in(constants.RELOOK_S)
        yield _stalled(constants.PRIORITY_CLASS_NOT_FOUND,
                       f"metadata.labels: found {queue.LABEL_PRIORITY}={wanted}, but there is no such "
                       "WorkloadPriorityClass; create it, or remove the label")


def _too_many(case: Case) -> Iterator[Verdict]:
    assert case.runtime is not None
    spec, roles = case.run.spec, case.runtime.spec.roles
    asked = []
    if spec.rl:
        asked += [("spec.rl.trainers", "trainer", spec.rl.trainers, roles.trainer),
                  ("spec.rl.generators", "generator", spec.rl.generators, roles.generator),
                  ("spec.rl.verifiers", "verifier", spec.rl.verifiers, roles.verifier)]
    if spec.sft:
        asked.append(("spec.sft.workers", "trainer", spec.sft.workers, roles.trainer))
    for field, role, wanted, template in asked:
        if wanted > template.max_replicas:
            yield _stalled(constants.TOO_MANY_REPLICAS,
                           f"{field}: {wanted} pods asked, at most {template.max_replicas} allowed by "
                           f"spec.roles.{role}.maxReplicas of MagistralRuntime {case.runtime.metadata.name}; "
                           "ask for fewer, or have the limit raised")


def _uneven(case: Case) -> Iterator[Verdict]:
    assert case.runtime is not None
    spec, processes = case.run.spec, case.runtime.spec.processes_per_pod
    batches = []
    if spec.sft:
        batches.append(("spec.sft.batchSize", spec.sft.batch_size, "sft.workers", spec.sft.workers))
    if spec.rl:
        batches += [(f"spec.rl.{field}", size, "rl.trainers", spec.rl.trainers)
                    for field, size in spec.rl.batch_sizes.items()]
    for field, batch, pods_field, pods in batches:
        world = pods * processes
        if batch % world:
            yield _stalled(constants.WORLD_SIZE_MISMATCH,
                           f"{field}: {batch} sequences cannot be divided among {world} processes ({pods_field} {pods} "
                           f"x processesPerPod {processes} of MagistralRuntime {case.runtime.metadata.name}); delete "
                           f"the run and apply it with a multiple of {world}")


def _stalled(reason: str, message: str) -> Verdict:
    return Verdict(reason, message, "stalled")
