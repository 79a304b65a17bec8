"""Who may report progress: one ServiceAccount, allowed to touch exactly one ConfigMap."""

from magistral_api.names import child, progress_config_map
from magistral_operator.build.metadata import owned
from magistral_operator.case import Case
from magistral_operator.plan import Manifest


def service_account(case: Case) -> Manifest:
    return owned(case, "ServiceAccount", "worker") | {"automountServiceAccountToken": False}


def role(case: Case) -> Manifest:
    return owned(case, "Role", "progress") | {"rules": [{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [progress_config_map(case.name)],
        "verbs": ["patch"],
    }]}


def role_binding(case: Case) -> Manifest:
    return owned(case, "RoleBinding", "progress") | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": child(case.name, "progress")},
        "subjects": [{"kind": "ServiceAccount", "name": child(case.name, "worker"),
                      "namespace": case.run.metadata.namespace}],
    }


def progress(case: Case) -> Manifest:
    """The ConfigMap that stages report into. Its data is theirs, so the operator applies none."""
    return owned(case, "ConfigMap", "progress")


def token(case: Case) -> Manifest:
    """The Secret with the bearer token of the run's own HTTP routes. Its value is drawn when it is created."""
    return owned(case, "Secret", "token") | {"type": "Opaque", "immutable": True}
