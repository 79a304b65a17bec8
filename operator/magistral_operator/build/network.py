"""NetworkPolicies: who may talk to generators and verifiers. The second lock beside the bearer token."""

from magistral_api.names import GENERATOR_PORT, LABEL_ROLE, LABEL_RUN, LABEL_RUN_UID, VERIFIER_PORT
from magistral_operator.build.metadata import owned, selector
from magistral_operator.case import Case
from magistral_operator.plan import Manifest


def policies(case: Case) -> list[Manifest]:
    """Generators answer only the run's conductor and workers; so do verifiers, which may call nobody."""
    return [
        _policy(case, "generator", GENERATOR_PORT),
        # A verifier runs what a model wrote. No egress rule at all: every connection out is refused.
        _policy(case, "verifier", VERIFIER_PORT, egress=[]),
    ]


def _policy(case: Case, role: str, port: int, *, egress: list[Manifest] | None = None) -> Manifest:
    callers = {
        "matchLabels": {LABEL_RUN: case.name, LABEL_RUN_UID: case.run.metadata.uid},
        "matchExpressions": [{"key": LABEL_ROLE, "operator": "In", "values": ["conductor", "worker"]}],
    }
    return owned(case, "NetworkPolicy", role) | {"spec": {
        "podSelector": {"matchLabels": selector(case, role=role)},
        "policyTypes": ["Ingress"] if egress is None else ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": callers}], "ports": [{"protocol": "TCP", "port": port}]}],
        **({} if egress is None else {"egress": egress}),
    }}
