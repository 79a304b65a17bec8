"""Reports of a stage, against a real API server."""

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from dev.cluster.control_plane import ControlPlane
from magistral_api.progress import CheckpointRecord, StageProgress
from magistral_api.runtime import SecretRef, Storage
from magistral_api.status import RLStatus
from magistral_workloads.progress import Reporter, UserFault, in_cluster, reporting
from magistral_workloads.storage import StorageError
from tests.unit.config import stage_config
from tests.unit.operator.world import World

STORAGE = Storage(endpoint="http://store:9000", bucket="bucket", credentials_secret_ref=SecretRef(name="store"))
CONFIG_MAP = "/api/v1/namespaces/default/configmaps/student-progress"


class Recorder(httpx.HTTPTransport):
    """The real transport: remembers the reports that arrived, and loses the first `lost` ones."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self.arrived: list[StageProgress] = []
        self.lost = 0
        self._came = threading.Condition()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PATCH":
            return super().handle_request(request)
        with self._came:
            if self.lost:
                self.lost -= 1
                raise httpx.ConnectError("the network is down", request=request)
        response = super().handle_request(request)
        (report,) = json.loads(request.content)["data"].values()
        with self._came:
            self.arrived.append(StageProgress.model_validate_json(report))
            self._came.notify_all()
        return response

    def wait_for(self, step: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: any(report.step == step for report in self.arrived), timeout=20)


@pytest.fixture
def recorder(control_plane: ControlPlane) -> Recorder:
    admin = control_plane.authority.issue("reporter", user="reporter", groups=("system:masters",))
    context = ssl.create_default_context(cafile=str(control_plane.authority.pair.certificate))
    context.load_cert_chain(admin.certificate, admin.key)
    return Recorder(context)


@pytest.fixture
def api(control_plane: ControlPlane, recorder: Recorder) -> Iterator[httpx.Client]:
    """A client of the API server, and an empty progress ConfigMap."""
    with httpx.Client(base_url=control_plane.server, transport=recorder) as client:
        client.delete(CONFIG_MAP)
        create(client, "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "student-progress"}})
        yield client


def create(api: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    response = api.post(path, json=body)
    response.raise_for_status()
    return response.json()


def stored(api: httpx.Client, stage: str = "rl") -> StageProgress:
    return StageProgress.model_validate_json(api.get(CONFIG_MAP).json()["data"][stage])


def reporter(api: httpx.Client, stage: str = "rl", interval_seconds: float = 0.01, **fields: Any) -> Reporter:
    return Reporter(stage_config(stage, STORAGE, attempt=3), api, interval_seconds=interval_seconds, **fields)


def record(step: int, loss: float = 0.0) -> CheckpointRecord:
    return CheckpointRecord(step=step, digest=f"sha256:{step:064x}", uri=f"s3://bucket/{step}", size_bytes=1,
                            metrics={"loss": loss})


def test_a_stage_says_that_it_runs_before_it_has_anything_to_tell(api: httpx.Client, recorder: Recorder) -> None:
    said = reporter(api)
    recorder.wait_for(0)
    assert stored(api) == StageProgress(stage="rl", attempt=3, state="Running")
    said.finish()


def test_an_update_arrives_without_another_call(api: httpx.Client, recorder: Recorder) -> None:
    said = reporter(api)
    said.update(step=1, total_steps=9)
    said.update(step=2)
    recorder.wait_for(2)
    assert (stored(api).step, stored(api).total_steps) == (2, 9)
    said.finish()


def test_a_flood_of_updates_becomes_few_requests_and_the_last_one_arrives(
        api: httpx.Client, recorder: Recorder) -> None:
    said = reporter(api, interval_seconds=3600)
    for step in range(500):
        said.update(step=step)
    said.finish(state="Succeeded")
    assert (stored(api).step, stored(api).state) == (499, "Succeeded")
    assert len(recorder.arrived) <= 2


def test_metrics_and_outputs_add_up_and_a_field_that_does_not_exist_is_refused(api: httpx.Client) -> None:
    said = reporter(api)
    said.update(metrics={"loss": 2.0, "reward": 0.1}, outputs={"a": "1"})
    said.update(metrics={"loss": 1.0}, outputs={"b": "2"}, rl=RLStatus(policy_version=7))
    with pytest.raises(ValidationError):
        said.update(stepp=3)
    said.finish()
    assert stored(api).metrics == {"loss": 1.0, "reward": 0.1}
    assert stored(api).outputs == {"a": "1", "b": "2"}
    assert stored(api).rl == RLStatus(policy_version=7)


def test_the_newest_twenty_checkpoints_stay_and_one_said_twice_is_there_once(api: httpx.Client) -> None:
    said = reporter(api)
    said.checkpoint(*[record(step) for step in range(30)])
    said.checkpoint(record(29, loss=0.5))
    said.finish()
    assert [found.step for found in stored(api).checkpoints] == list(range(10, 30))
    assert stored(api).checkpoints[-1].metrics == {"loss": 0.5}


def test_stages_do_not_overwrite_each_other(api: httpx.Client) -> None:
    first, second = reporter(api, "sft"), reporter(api, "rl")
    first.update(step=1)
    second.update(step=2)
    second.finish(state="Succeeded")
    first.finish(state="Succeeded")
    assert (stored(api, "sft").step, stored(api, "rl").step) == (1, 2)


def test_a_report_that_is_lost_is_said_again(api: httpx.Client, recorder: Recorder) -> None:
    recorder.lost = 3
    said = reporter(api)
    said.update(step=1)
    recorder.wait_for(1)
    assert not recorder.lost
    said.finish()


def test_the_last_report_is_tried_until_it_arrives(api: httpx.Client, recorder: Recorder) -> None:
    said = reporter(api)
    recorder.lost = 3
    said.finish(state="Succeeded", step=5)
    assert stored(api).state == "Succeeded"


def test_a_last_report_that_never_arrives_is_an_error(api: httpx.Client, recorder: Recorder) -> None:
    said = reporter(api, final_seconds=0)
    recorder.wait_for(0)
    recorder.lost = 1
    with pytest.raises(httpx.ConnectError):
        said.finish(state="Succeeded")


def test_a_stage_that_ends_has_succeeded(api: httpx.Client) -> None:
    with reporting(stage_config("rl", STORAGE), api) as said:
        said.update(outputs={"modelUri": "s3://bucket/model"})
    assert stored(api).state == "Succeeded"
    assert stored(api).outputs == {"modelUri": "s3://bucket/model"}


def test_a_fault_of_the_user_is_a_failure_with_exit_code_64(api: httpx.Client) -> None:
    with pytest.raises(SystemExit) as left, reporting(stage_config("curate", STORAGE), api):
        raise UserFault("NoTraces", "spec.curation: found none")
    assert left.value.code == 64
    report = stored(api, "curate")
    assert (report.state, report.reason, report.message) == ("Failed", "NoTraces", "spec.curation: found none")


def test_a_stage_that_is_told_to_end_has_said_its_last_checkpoint(api: httpx.Client, recorder: Recorder) -> None:
    recorder.lost = 2
    with pytest.raises(SystemExit) as left, reporting(stage_config("sft", STORAGE), api) as said:
        said.checkpoint(record(7))
        raise SystemExit(143)
    assert left.value.code == 143
    assert (stored(api, "sft").state, stored(api, "sft").checkpoints) == ("Running", [record(7)])


def test_any_other_error_leaves_the_stage_running_for_the_next_try(api: httpx.Client) -> None:
    with pytest.raises(StorageError), reporting(stage_config("rl", STORAGE), api):
        raise StorageError("StoreUnreachable", "the store is away")
    assert stored(api).state == "Running"
    assert "will be tried again: StorageError: StoreUnreachable: the store is away" in str(stored(api).message)


def test_the_role_that_the_operator_gives_a_runs_pods_is_enough_to_report_and_no_more(
        api: httpx.Client, control_plane: ControlPlane, tmp_path: Path) -> None:
    account = f"worker-{tmp_path.name.replace('_', '-')}"[:63].strip("-")
    namespace, rbac = "/api/v1/namespaces/default", "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    create(api, f"{namespace}/serviceaccounts", {"metadata": {"name": account}})
    rules = [rule | {"resourceNames": ["student-progress"]} for rule in World().settle().child("Role", "progress")["rules"]]
    create(api, f"{rbac}/roles", {"metadata": {"name": account}, "rules": rules})
    create(api, f"{rbac}/rolebindings", {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "default"}]})
    token = create(api, f"{namespace}/serviceaccounts/{account}/token", {"spec": {}})["status"]["token"]
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_bytes(control_plane.authority.pair.certificate.read_bytes())
    host, _, port = control_plane.server.removeprefix("https://").partition(":")
    pod = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    with in_cluster(pod, tmp_path) as client, reporting(stage_config("rl", STORAGE), client):
        assert client.get(CONFIG_MAP).status_code == 403
    assert stored(api).state == "Succeeded"
