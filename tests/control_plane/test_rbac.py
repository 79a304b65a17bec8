"""The operator's rights are the calls that it makes: none too many, none too few. Runs last, after every other test."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from kubernetes import client, config

from dev.cluster import audit
from dev.cluster import control_plane as planes
from magistral_api import GROUP
from magistral_operator import kinds
from magistral_operator.kube import ApiError, Kube
from tests.control_plane.cluster import Api, Namespace, Operator, Tell, eventually
from tests.control_plane.conftest import allow, rules

Right = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""
ASKED_BY_THE_SERVER: set[Right] = {(GROUP, "magistralruns/finalizers", "update")}
"""No call of the operator: the API server asks for it while it admits another one (see the second test)."""
ENDING_NAMESPACE = "because it is being terminated"
"""In the words of a 403 that no right can help."""


def granted() -> set[Right]:
    """What kinds.py lists. That the chart grants just this is a unit test's."""
    below = (GROUP, kinds.SUBRESOURCES), (kinds.KUEUE, kinds.QUEUEING_SUBRESOURCES)
    return ({(kind.group, kind.plural, verb) for kind in kinds.BY_NAME.values() for verb in kind.verbs}
            | {(group, name, verb) for group, resources in below for name, verbs in resources.items() for verb in verbs})


def used(requests: Iterable[audit.Request]) -> set[Right]:
    """What the answered requests needed. An apply that makes an object needs two verbs."""
    return {(request.group, "/".join(filter(None, (request.resource, request.subresource))), verb)
            for request in requests if request.resource and request.status != 403
            for verb in (request.verb, *(["create"] if (request.verb, request.status) == ("patch", 201) else []))}


def test_every_right_is_used_by_some_test_and_no_call_lacks_one(
        operator: Operator, recorded: tuple[list[str], audit.Log], tell: Tell) -> None:
    # A watch is recorded when it ends.
    assert operator.terminate() == 0
    _, log = recorded
    log.read()
    operator.start()
    unused = granted() - used(log.requests) - ASKED_BY_THE_SERVER
    assert not unused, (f"{sorted(unused)}: drop them from kinds.py, or write the test that needs them; "
                        f"only a run of all of {Path(__file__).parent} can tell")
    refused = {(request.user, request.verb, request.group, request.resource, request.subresource, request.message)
               for request in log.requests if request.status == 403 and ENDING_NAMESPACE not in request.message}
    assert not refused, sorted(refused)
    users = {request.user for request in log.requests}
    tell(f"{len(log.requests)} calls by {len(users)} operators used {len(granted() - ASKED_BY_THE_SERVER)} of "
         f"{len(granted())} rights; {len(ASKED_BY_THE_SERVER)} is asked for by the API server; no call lacked one")


def test_without_the_right_to_finalizers_a_child_is_refused(
        plane: planes.ControlPlane, api: Api, ns: Namespace) -> None:
    ns.run("Evaluate")
    child = ns.until_there("ServiceAccount", "one-worker")
    may = [rule for rule in rules(kinds.SERVICE_ACCOUNT) if rule["resources"] != ["magistralruns/finalizers"]]
    allow(api, "half", may)
    configuration = client.Configuration()
    config.load_kube_config(str(plane.client("half", user="half")), client_configuration=configuration)
    kube = Kube(client.ApiClient(configuration))
    owned = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "other", "namespace": ns.name, "ownerReferences": child["metadata"]["ownerReferences"]}}

    def refusal() -> str | None:
        with pytest.raises(ApiError) as error:
            kube.apply(kinds.SERVICE_ACCOUNT, owned)
        # The API server learns of a new right a moment later.
        return error.value.message if "blockOwnerDeletion" in error.value.message else None

    assert "set finalizers on" in eventually(refusal, "a refusal for the owner's sake")
