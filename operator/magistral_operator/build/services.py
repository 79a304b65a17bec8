"""Services: how the run's pods find each other."""

from magistral_api.names import CONDUCTOR_PORT, GENERATOR_PORT, RENDEZVOUS_PORT, VERIFIER_PORT
from magistral_api.status import StageName
from magistral_operator.build.metadata import owned, selector
from magistral_operator.case import Case
from magistral_operator.plan import Manifest


def serving(case: Case) -> list[Manifest]:
    """To generators and verifiers."""
    return [
        # One address a ready pod: the conductor spreads requests itself.
        _service(case, "generator", selector(case, role="generator"), GENERATOR_PORT, headless=True),
        _service(case, "verifier", selector(case, role="verifier"), VERIFIER_PORT),
    ]


def training(case: Case, stage: StageName) -> list[Manifest]:
    """Those that the pods of a training stage need; none for other stages."""
    if stage == "sft":
        return [_rendezvous(case, "sft", "sft")]
    if stage == "rl":
        return [_service(case, "conductor", selector(case, role="conductor", stage="rl"), CONDUCTOR_PORT),
                _rendezvous(case, "trainer", "rl")]
    return []


def _rendezvous(case: Case, part: str, stage: str) -> Manifest:
    # A rank is ready only when all ranks have met, so names must resolve before.
    service = _service(case, part, selector(case, role="trainer", stage=stage), RENDEZVOUS_PORT, headless=True)
    service["spec"]["publishNotReadyAddresses"] = True
    return service


def _service(case: Case, part: str, pods: dict[str, str], port: int, *, headless: bool = False) -> Manifest:
    return owned(case, "Service", part) | {"spec": {
        **({"clusterIP": "None"} if headless else {}),
        "selector": pods,
        "ports": [{"name": "rendezvous" if port == RENDEZVOUS_PORT else "http", "port": port, "targetPort": port}],
    }}
