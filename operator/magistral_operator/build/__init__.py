"""Builders: pure functions from a case to manifests with deterministic names.

`children` is all that a run should have.
"""

from magistral_api.status import StageName
from magistral_operator.build import access, checkpoint, config, disruption, jobs, network, quota, services, serving, training
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import checkpoints, roles


def children(case: Case) -> list[Manifest]:
    """Every object that should exist now, in the order in which to apply it. Raises MissingOutputError."""
    built = [
        access.service_account(case), access.role(case), access.role_binding(case), access.progress(case),
        *(checkpoint.checkpoint(case, spec) for spec in checkpoints.reported(case)),
    ]
    if ask := quota.workload(case):
        built.append(ask)
    wanted, stage = roles.wanted(case), case.current
    if wanted["verifier"]:
        built += [*services.serving(case), *network.policies(case), config.serving(case)]
        if wanted["generator"]:
            built.append(serving.generator(case, wanted["generator"]))
        built.append(serving.verifier(case, wanted["verifier"]))
    if stage is not None and stage.state == "Running" and not case.suspended:
        built += _stage(case, stage.name, stage.attempt, wanted)
    return [*built, *disruption.budgets(case, built)]


def _stage(case: Case, name: StageName, attempt: int, wanted: dict[str, int]) -> list[Manifest]:
    built = [*services.training(case, name), config.stage(case, name, attempt)]
    if name == "rl":
        return [*built, training.conductor(case, wanted["conductor"], attempt),
                training.trainer(case, wanted["trainer"], attempt)]
    return [*built, jobs.job(case, name, attempt)]
