"""Ten kinds of bad input: each is refused by the API or told in a condition, with what to do."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dev.demo.watch import condition
from dev.kubectl import Cluster, CommandFailed
from tests.cluster.conftest import NAMESPACE, runtime
from tests.cluster.teacher import teacher

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Refused:
    """The API server refuses the object; its message has these words."""

    change: Change
    words: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """The object is taken; a condition gives this reason and these words. `storage` changes the runtime's."""

    reason: str
    words: tuple[str, ...]
    change: Change = lambda _: None
    storage: dict[str, Any] | None = None


def put(*path: str, value: Any) -> Change:
    """A change that sets one field."""

    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


REFUSED = {
    "a misspelt field": Refused(put("spec", "rl", "batchsize", value=64), ("batchsize",)),
    "a batch that is no multiple of the group size": Refused(
        put("spec", "rl", "batchSize", value=60), ("rl.batchSize", "multiple of rl.groupSize")),
    "a world size that does not fit": Refused(
        put("spec", "rl", "trainers", value=3), ("rl.batchSize", "world size does not fit")),
    "SFT without its data": Refused(put("spec", "paradigm", value="SFTThenRL"), ("spec.curation is required",)),
    "a base model that is no URI": Refused(put("spec", "baseModel", "uri", value="models/tiny"), ("spec.baseModel.uri",)),
}

TOLD = {
    "a runtime that does not exist": Told(
        "RuntimeNotFound", ("nowhere",), put("spec", "runtimeRef", "name", value="nowhere")),
    "a missing Secret": Told("SecretNotFound", ("no-such-secret",), storage={
        "credentialsSecretRef": {"name": "no-such-secret"}}),
    "an unreachable store": Told("StoreUnreachable", ("endpoint",), storage={
        "endpoint": f"http://store.{NAMESPACE}.svc.cluster.local:9999"}),
    "a bucket that does not exist": Told("BucketNotFound", ("no-such-bucket",), storage={"bucket": "no-such-bucket"}),
    "a bucket without permission": Told("AccessDenied", ("bucket",), storage={
        "credentialsSecretRef": {"name": "no-rights"}}),
    "a base model that is not there": Told(
        "BaseModelNotFound", ("s3://magistral/models/none",),
        put("spec", "baseModel", "uri", value="s3://magistral/models/none")),
    "prompts that are not there": Told(
        "PromptsNotFound", ("s3://magistral/data/none.jsonl",),
        put("spec", "rl", "prompts", value=[{"uri": "s3://magistral/data/none.jsonl"}])),
    "more replicas than the platform allows": Told(
        "TooManyReplicas", ("spec.rl.generators", "maxReplicas"), put("spec", "rl", "generators", value=99)),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_the_api_server_refuses_it_and_says_why(cluster: Cluster, case: Refused) -> None:
    document = teacher("refused")
    case.change(document)
    with pytest.raises(CommandFailed) as error:
        cluster.apply(json.dumps(document), NAMESPACE)
    print(f"\n  {error.value}")
    for word in case.words:
        assert word in str(error.value)
    assert cluster.get("magistralrun", "refused", NAMESPACE) is None


@pytest.mark.parametrize("number, case", list(enumerate(TOLD.values())), ids=list(TOLD.keys()))
def test_a_condition_tells_it_and_nothing_is_left_after_delete(cluster: Cluster, number: int, case: Told) -> None:
    name = f"told-{number}"
    document = teacher(name)
    if case.storage is not None:
        cluster.apply(json.dumps(runtime(name, **case.storage)), NAMESPACE)
        document["spec"]["runtimeRef"]["name"] = name
    case.change(document)
    start = time.monotonic()
    cluster.apply(json.dumps(document), NAMESPACE)
    cluster.kubectl("-n", NAMESPACE, "wait", f"magistralrun/{name}", "--for=condition=Stalled", "--timeout=60s")
    stalled = condition(cluster.get("magistralrun", name, NAMESPACE) or {}, "Stalled")
    print(f"\n  {time.monotonic() - start:.1f} s  {stalled['reason']}: {stalled['message']}")
    assert stalled["reason"] == case.reason
    for word in case.words:
        assert word in stalled["message"]

    cluster.kubectl("-n", NAMESPACE, "delete", "magistralrun", name, "--cascade=foreground", "--timeout=60s")
    if case.storage is not None:
        cluster.kubectl("delete", "magistralruntime", name)
    kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies"
    left = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-l", f"training.magistral.dev/run={name}", "-o", "name")
    assert left.strip() == ""
