"""The store keeps the newest state of each object, knows whom it concerns, and a sweep repairs what watches lost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from magistral_api.names import LABEL_MANAGED_BY, LABEL_RUN, LABEL_RUN_UID, MANAGER
from magistral_operator.kinds import BY_NAME, CONFIG_MAP, NODE, POD, RUN, RUNTIME, Kind
from magistral_operator.kube import Page
from magistral_operator.observe import observe
from magistral_operator.plan import Manifest
from magistral_operator.store import Ref, Store, ref_of
from magistral_operator.sync import KINDS, Sync, kinds
from tests.unit.operator.world import run, runtime

KEY = ("ns", "one")


def made(kind: Kind, manifest: Manifest, version: int, uid: str = "u", run_name: str = "") -> Manifest:
    labels = {LABEL_RUN: run_name, LABEL_RUN_UID: f"uid-{run_name}"} if run_name else {}
    meta = {"uid": uid, "labels": labels} | manifest["metadata"] | {"resourceVersion": str(version)}
    if kind.namespaced:
        meta["namespace"] = "ns"
    return manifest | {"metadata": meta}


def config_map(version: int, uid: str = "u", **data: str) -> Manifest:
    return made(CONFIG_MAP, {"metadata": {"name": "one-progress"}, "data": data}, version, uid, "one")


def test_an_older_state_never_replaces_a_newer_one() -> None:
    store = Store()
    assert store.put(CONFIG_MAP, config_map(5, rl="new"))
    assert not store.put(CONFIG_MAP, config_map(4, rl="old"))
    assert not store.put(CONFIG_MAP, config_map(5, rl="echo"))
    assert [one["data"] for one in store.of_run(KEY)] == [{"rl": "new"}]


def test_the_deletion_of_an_object_does_not_touch_its_successor_of_the_same_name() -> None:
    store = Store()
    store.put(CONFIG_MAP, config_map(5, uid="first"))
    store.put(CONFIG_MAP, config_map(9, uid="second"))
    ref = ref_of(CONFIG_MAP, config_map(5))
    assert store.drop(ref, "first") is None
    assert store.drop(ref, "second") is not None
    assert store.of_run(KEY) == []
    assert len(store) == 0


def test_a_node_concerns_the_runs_that_have_pods_on_it_and_a_heartbeat_concerns_nobody() -> None:
    store = Store()
    for name, node in (("one", "a"), ("two", "b"), ("three", "a")):
        pod = {"metadata": {"name": name}, "spec": {"nodeName": node}}
        store.put(POD, made(POD, pod, 1, run_name=name))

    def beat(version: int, ready: str) -> Manifest:
        return made(NODE, {"metadata": {"name": "a"}, "status": {"images": ["many"], "conditions": [
            {"type": "Ready", "status": ready, "lastHeartbeatTime": str(version)}]}}, version)

    assert store.put(NODE, beat(1, "True"))
    assert not store.put(NODE, beat(2, "True"))
    assert store.put(NODE, beat(3, "Unknown"))
    assert store.concerned(NODE, beat(3, "Unknown")) == {("ns", "one"), ("ns", "three")}
    assert store.versions(NODE) == {Ref(NODE.name, "", "a"): (3, "u")}


def test_a_change_concerns_the_run_its_students_and_the_users_of_its_runtime() -> None:
    store = Store()
    for number, (paradigm, name) in enumerate((("RL", "teacher"), ("SFT", "student"), ("Evaluate", "other"))):
        store.put(RUN, made(RUN, run(paradigm, name=name), number + 1))
    assert store.concerned(RUN, made(RUN, run("RL", name="teacher"), 9)) == {("ns", "teacher"), ("ns", "student")}
    assert store.concerned(RUNTIME, runtime()) == {("ns", "teacher"), ("ns", "student"), ("ns", "other")}
    assert store.concerned(CONFIG_MAP, config_map(1)) == {KEY}
    store.drop(Ref(RUN.name, "ns", "student"), "uid-student")
    assert store.concerned(RUN, made(RUN, run("RL", name="teacher"), 9)) == {("ns", "teacher")}


def test_every_run_that_a_spec_names_concerns_it_and_is_seen_with_it() -> None:
    store = Store()
    curation = {"teacher": {"runRef": {"name": "teacher"}},
                "generations": [{"uri": "s3://magistral/a"}, {"runRef": {"name": "thoughts"}}, {"runRef": {"name": "later"}}]}
    student = run("SFT", curation=curation)
    for number, one in enumerate((student, run("RL", name="teacher"), run("Evaluate", name="thoughts"))):
        store.put(RUN, made(RUN, one, number + 1))
    for name in ("teacher", "thoughts", "later"):
        assert store.concerned(RUN, made(RUN, run("Evaluate", name=name), 9)) == {("ns", name), KEY}
    observed = observe(store, KEY)
    assert observed is not None
    assert {name: one["spec"]["paradigm"] for name, one in observed.named_runs.items()} == {
        "teacher": "RL", "thoughts": "Evaluate"}


def test_a_child_whose_label_was_changed_is_still_its_owners_and_makes_way_for_nobody() -> None:
    store = Store()
    store.put(RUN, made(RUN, run("RL"), 1, uid="uid-one"))
    child = config_map(2)
    child["metadata"]["labels"] |= {LABEL_RUN_UID: "another", LABEL_MANAGED_BY: MANAGER}
    store.put(CONFIG_MAP, child)
    orphan = observe(store, KEY)
    assert orphan is not None
    assert (len(orphan.children), len(orphan.leftovers)) == (0, 1)
    child["metadata"] |= {"resourceVersion": "3", "ownerReferences": [{"kind": RUN.name, "uid": "uid-one"}]}
    store.put(CONFIG_MAP, child)
    owned = observe(store, KEY)
    assert owned is not None
    assert (len(owned.children), len(owned.leftovers)) == (1, 0)
    assert store.owner(ref_of(CONFIG_MAP, child)) == KEY


def test_a_pod_is_kept_without_the_part_of_its_spec_that_no_policy_reads() -> None:
    store = Store()
    store.put(POD, made(POD, {"metadata": {"name": "one-trainer-0", "managedFields": [{"manager": "kubelet"}]},
                              "spec": {"nodeName": "node-0", "containers": [{"env": []}]},
                              "status": {"phase": "Running"}}, 1, run_name="one"))
    (pod,) = store.of_run(KEY)
    assert pod["spec"] == {"nodeName": "node-0"}
    assert pod["status"] == {"phase": "Running"}
    assert "managedFields" not in pod["metadata"]


class Server:
    """A list of everything there is, as the API server would give it; `asked` counts whole objects read."""

    def __init__(self, *objects: tuple[Kind, Manifest]) -> None:
        self.objects, self.version, self.asked = list(objects), 100, 0

    def page(self, kind: Kind, _namespace: str | None, *, label: str | None, following: str | None,
             metadata_only: bool) -> Page:
        items = [item for each, item in self.objects
                 if each == kind and (label is None or label in item["metadata"]["labels"])]
        at = int(following or 0)
        chosen = items[at:at + 1]
        self.asked += 0 if metadata_only else len(chosen)
        shown = [{"metadata": item["metadata"]} if metadata_only else item for item in chosen]
        return Page(shown, self.version, str(at + 1) if at + 1 < len(items) else None)


def synced(server: Any, store: Store) -> tuple[Sync, list[Ref]]:
    lost: list[Ref] = []

    def gone(_: Kind, ref: Ref, uid: str) -> None:
        assert store.drop(ref, uid)
        lost.append(ref)

    return Sync(server, ThreadPoolExecutor(1), store, (), KINDS, heard=store.put, gone=gone), lost


def everything() -> list[tuple[Kind, Manifest]]:
    return [(RUN, made(RUN, run("RL"), 3)), (RUNTIME, made(RUNTIME, runtime(), 4)), (CONFIG_MAP, config_map(5)),
            (POD, made(POD, {"metadata": {"name": "one-trainer-0"}}, 6, run_name="one")),
            (POD, made(POD, {"metadata": {"name": "one-trainer-1"}}, 7, run_name="one"))]


def test_filling_reads_every_page_and_makes_a_snapshot_possible() -> None:
    store = Store()
    sync, _ = synced(Server(*everything()), store)
    asyncio.run(sync.fill())
    observed = observe(store, KEY)
    assert observed is not None
    assert observed.runtime is not None
    assert len(observed.pods) == 2
    assert set(observed.children) == {("ConfigMap", "one-progress")}


def test_a_sweep_reads_no_object_while_nothing_differs() -> None:
    store, server = Store(), Server(*everything())
    sync, lost = synced(server, store)
    asyncio.run(sync.fill())
    server.asked = 0
    assert asyncio.run(sync.sweep()) == 0
    assert (server.asked, lost) == (0, [])


def test_a_sweep_finds_a_lost_deletion_a_lost_change_and_a_lost_creation() -> None:
    store, server = Store(), Server(*everything())
    sync, lost = synced(server, store)
    asyncio.run(sync.fill())
    server.objects = [*(one for one in everything() if one[0] not in (POD, CONFIG_MAP)), (CONFIG_MAP, config_map(50, rl="x")),
                      (POD, made(POD, {"metadata": {"name": "one-trainer-1"}}, 7, run_name="one")),
                      (POD, made(POD, {"metadata": {"name": "one-trainer-2"}}, 51, run_name="one"))]
    assert asyncio.run(sync.sweep()) == 3
    assert lost == [Ref("Pod", "ns", "one-trainer-0")]
    assert {one["metadata"]["name"] for one in store.of_run(KEY)} == {"one-progress", "one-trainer-1", "one-trainer-2"}
    assert next(one["data"] for one in store.of_run(KEY) if one["kind"] == "ConfigMap") == {"rl": "x"}


def test_a_sweep_keeps_what_was_made_after_its_list() -> None:
    store, server = Store(), Server(*everything())
    sync, lost = synced(server, store)
    asyncio.run(sync.fill())
    store.put(POD, made(POD, {"metadata": {"name": "one-generator-x"}}, server.version + 1, run_name="one"))
    asyncio.run(sync.sweep())
    assert lost == []


def test_every_kind_that_a_run_consists_of_is_swept() -> None:
    assert {kind.name for kind in kinds(kueue=True)} == set(BY_NAME) - {"Secret", "Event", "Lease"}
