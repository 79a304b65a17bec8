"""One snapshot of a run from the store: itself, its runtime, the runs that it names, its children and pods."""

from magistral_api.names import LABEL_MANAGED_BY, LABEL_RUN_UID, MANAGER
from magistral_operator.case import Observed
from magistral_operator.kinds import NODE, PRIORITY_CLASS, RESOURCE_FLAVOR, RUN, RUNTIME
from magistral_operator.plan import Manifest, key_of
from magistral_operator.policies.queue import LABEL_PRIORITY
from magistral_operator.store import RunKey, Store, named_by, runtime_of


def observe(store: Store, key: RunKey, refusal: str | None = None, *, kueue: bool = False) -> Observed | None:
    """What is known now; None when there is no such run."""
    namespace, name = key
    run = store.get(RUN, namespace, name)
    if run is None:
        return None
    uid, found, priority = run["metadata"]["uid"], store.of_run(key), _label(run, LABEL_PRIORITY)
    ours = [item for item in found if _made_for(item) == uid]
    pods = [item for item in ours if item["kind"] == "Pod"]
    used = {pod["spec"].get("nodeName") for pod in pods} - {None}
    return Observed(
        run=run, runtime=store.get(RUNTIME, None, runtime_of(run)), refusal=refusal, kueue=kueue,
        named_runs={name: named for name in sorted(named_by(run)) if (named := store.get(RUN, namespace, name))},
        nodes={name: node for name in sorted(used) if (node := store.get(NODE, None, name))},
        children={key_of(item): item for item in ours if item["kind"] != "Pod"},
        # Only what the operator itself made for an earlier run of this name; a user's object is never a leftover.
        leftovers=tuple(item for item in found if item["kind"] != "Pod" and _made_for(item) not in (None, uid)
                        and _label(item, LABEL_MANAGED_BY) == MANAGER),
        pods=tuple(pods),
        flavors={item["metadata"]["name"]: item for item in store.all(RESOURCE_FLAVOR)} if kueue else {},
        priority_class=store.get(PRIORITY_CLASS, None, priority) if priority else None)


def _made_for(manifest: Manifest) -> str | None:
    """UID of the run. A label alone is soon changed, and what belongs to another run would be deleted."""
    owners = manifest["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner["kind"] == RUN.name), _label(manifest, LABEL_RUN_UID))


def _label(manifest: Manifest, label: str) -> str | None:
    value = manifest["metadata"].get("labels", {}).get(label)
    return None if value is None else str(value)
