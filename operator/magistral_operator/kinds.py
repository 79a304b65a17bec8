"""Every kind of the API that the operator touches, and what it may do with each: the source of its RBAC."""

from dataclasses import dataclass

from magistral_api import GROUP, VERSION


@dataclass(frozen=True)
class Kind:
    """A resource of the API server. `verbs` is what the operator asks of it, no more."""

    name: str
    group: str
    version: str
    plural: str
    verbs: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, the object or its subresource. `namespace` None: all namespaces."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])


_CHILD = ("list", "watch", "create", "patch", "delete")

RUN = Kind("MagistralRun", GROUP, VERSION, "magistralruns", ("list", "watch", "delete"))
RUNTIME = Kind("MagistralRuntime", GROUP, VERSION, "magistralruntimes", ("list", "watch"), namespaced=False)
CHECKPOINT = Kind("Checkpoint", GROUP, VERSION, "checkpoints", _CHILD)
POD = Kind("Pod", "", "v1", "pods", ("list", "watch", "delete"))
"""Delete: only those that hang on a lost node, where the runtime allows it."""
NODE = Kind("Node", "", "v1", "nodes", ("list", "watch"), namespaced=False)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", _CHILD)
SERVICE = Kind("Service", "", "v1", "services", _CHILD)
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts", _CHILD)
SECRET = Kind("Secret", "", "v1", "secrets", ("create",))
"""Create only: no verb that reads a Secret can leave its contents out, so the operator has none."""
EVENT = Kind("Event", "", "v1", "events", ("create",))
ROLE = Kind("Role", "rbac.authorization.k8s.io", "v1", "roles", _CHILD)
ROLE_BINDING = Kind("RoleBinding", "rbac.authorization.k8s.io", "v1", "rolebindings", _CHILD)
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", _CHILD)
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", _CHILD)
JOB = Kind("Job", "batch", "v1", "jobs", _CHILD)
STATEFUL_SET = Kind("StatefulSet", "apps", "v1", "statefulsets", _CHILD)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments", _CHILD)
KUEUE = "kueue.x-k8s.io"
QUOTA = Kind("Workload", KUEUE, "v1beta1", "workloads", _CHILD)
RESOURCE_FLAVOR = Kind("ResourceFlavor", KUEUE, "v1beta1", "resourceflavors", ("list", "watch"), namespaced=False)
PRIORITY_CLASS = Kind("WorkloadPriorityClass", KUEUE, "v1beta1", "workloadpriorityclasses", ("list", "watch"),
                      namespaced=False)
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases", ("get", "create", "update"))

WORKLOADS = (JOB, STATEFUL_SET, DEPLOYMENT)
"""Kinds that own pods."""
WORKLOAD_NAMES = frozenset(kind.name for kind in WORKLOADS)
CHILDREN = (SERVICE_ACCOUNT, ROLE, ROLE_BINDING, CONFIG_MAP, SERVICE, NETWORK_POLICY, DISRUPTION_BUDGET, CHECKPOINT,
            *WORKLOADS)
"""Kinds that are listed by label and applied, in the order in which they are applied."""
QUEUEING = (QUOTA, RESOURCE_FLAVOR, PRIORITY_CLASS)
"""Kueue's kinds. Only an operator that was told to work with Kueue may touch them: elsewhere they do not exist."""
BY_NAME = {kind.name: kind for kind in (*CHILDREN, RUN, RUNTIME, POD, NODE, SECRET, EVENT, LEASE, *QUEUEING)}

QUEUEING_SUBRESOURCES = {"workloads/status": ("patch",)}
SUBRESOURCES = {"magistralruns/status": ("patch",), "checkpoints/status": ("patch",),
                "magistralruns/finalizers": ("update",)}
"""Beside the verbs above. finalizers: where OwnerReferencesPermissionEnforcement guards blockOwnerDeletion."""
