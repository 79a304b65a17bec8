"""Builders: pure functions from a case to manifests with deterministic names.

`children` is all that a run should have.
"""

from magistral_operator.build import access, checkpoint, config, jobs, network, services, serving, training
from magistral_operator.case import Case
from magistral_operator.plan import Manifest
from magistral_operator.policies import checkpoints, roles


def children(case: Case) -> list[Manifest]:
    """Every object that should exist now, in the order in which to apply it. Raises MissingOutputError."""
    built = [
        access.service_account(case), access.role(case), access.role_binding(case), access.progress(case),
        *services.services(case), *network.policies(case),
        *(checkpoint.checkpoint(case, spec) for spec in checkpoints.reported(case)),
    ]
    wanted, stage = roles.wanted(case), case.current
    if wanted["generator"]:
        built += [config.serving(case), serving.generator(case, wanted["generator"]),
                  serving.verifier(case, wanted["verifier"])]
    if stage is None or stage.state != "Running" or case.run.spec.suspend:
        return built
    built.append(config.stage(case, stage.name, stage.attempt))
    if stage.name == "rl":
        return [*built, training.conductor(case, wanted["conductor"], stage.attempt),
                training.trainer(case, wanted["trainer"], stage.attempt)]
    return [*built, jobs.job(case, stage.name, stage.attempt)]
