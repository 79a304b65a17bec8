"""An RL run of processes on loopback: started, killed with SIGKILL and started again, added and removed.

with minio() as server, running(Path(folder), bucket(server, "bench"), model, problems, rl) as run:
    run.kill("generator-0")
    run.wait()
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minio import Minio

from dev.cluster.control_plane import LOOPBACK, free_ports
from dev.cluster.errors import ClusterError
from dev.cluster.minio import Store
from dev.kubectl import ROOT
from dev.roles import services
from dev.roles.member import CONFIG, GENERATORS, PROGRESS, Pod
from magistral_api.config import ModelAt, Services, StageConfig
from magistral_api.problems import Problem
from magistral_api.progress import StageProgress
from magistral_api.run import MagistralRunSpec
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.checkpoints.writer import files_below
from magistral_workloads.storage import ObjectStore

VLLM = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "64")
"""Arguments of a small generator on CPU."""
RESTARTS = 200
"""Of one process. More are no kills but a fault."""
STOP_SECONDS = 20.0
LOG_BYTES = 4000
_CONTAINER = ("setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--mount-proc", "--fork",
              "--kill-child=KILL", "--")
"""A PID namespace: when its first process is killed the kernel ends the rest, and all die with this process."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server."""

    server: Store
    name: str

    @classmethod
    def make(cls, server: Store, name: str) -> Bucket:
        Minio(server.address, server.access_key, server.secret_key, secure=False).make_bucket(name)
        return cls(server, name)

    @property
    def storage(self) -> Storage:
        return Storage(endpoint=self.server.url, bucket=self.name, credentials_secret_ref=SecretRef(name="store"))

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(self.storage, self.server.access_key, self.server.secret_key)


class Kubelet:
    """Keeps one pod's process running: started again at once whenever it ends, unless it is removed or done (code 0)."""

    def __init__(self, pod: Pod, environment: Mapping[str, str]) -> None:
        self.pod = pod
        self.starts = 0
        self.code: int | None = None
        self._environment, self._removed = environment, False
        self._process: subprocess.Popen[bytes] | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._keep, name=pod.name, daemon=True)

    def start(self) -> None:
        (self.pod.scratch / "tmp").mkdir(parents=True, exist_ok=True)
        self._thread.start()

    @property
    def log(self) -> Path:
        return Path(self.pod.folder) / f"{self.pod.name}.log"

    def kill(self) -> None:
        """SIGKILL, also to all that it has started. Returns when the next one has been started."""
        with self._changed:
            assert self._process is not None
            starts = self.starts
            self._process.kill()
            self._changed.wait_for(lambda: self.starts > starts or self.code is not None)

    def remove(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Told to end, killed when it does not in time, and not started again."""
        with self._changed:
            self._removed = True
            process = self._process
        if process is None:
            return
        if how is signal.SIGTERM:
            # unshare has no ear for signals while it waits for its child.
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        process.kill()
        self._thread.join()

    def _keep(self) -> None:
        code = None
        while code is None:
            with self._changed:
                if self._removed:
                    return
                self._process = self._begin()
                self.starts += 1
                self._changed.notify_all()
            ended = self._process.wait()
            if ended in (0, 64) or self.starts > RESTARTS or self._removed:
                code = ended
            else:
                # The kernel may take a moment to free what the namespace held.
                shutil.rmtree(self.pod.scratch / "tmp", ignore_errors=True)
                (self.pod.scratch / "tmp").mkdir(parents=True)
        with self._changed:
            self.code = code
            self._changed.notify_all()

    def _begin(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*_CONTAINER, sys.executable, "-m", "dev.roles.member", self.pod.to_json()], cwd=ROOT,
                env=dict(self._environment), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True)


class Run:
    """The processes of one run by their pods' names, as `generator-0`."""

    def __init__(self, folder: Path, config: StageConfig, bucket: Bucket, arguments: Sequence[str]) -> None:
        self.folder, self.config, self.bucket, self.store = folder, config, bucket, bucket.store
        self.token = secrets.token_hex(16)
        self.pods: dict[str, Kubelet] = {}
        self._arguments, self._generators = tuple(arguments), 0
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(config.model_dump_json(by_alias=True))
        services.publish(folder / GENERATORS, [])

    def start(self, name: str, port: int = 0, arguments: Sequence[str] = ()) -> Pod:
        """One more pod."""
        pod = Pod(name, str(self.folder), self.token, port, tuple(arguments))
        self.pods[name] = Kubelet(pod, self._environment(pod))
        self.pods[name].start()
        return pod

    def add_generator(self) -> Pod:
        """One more behind the headless Service."""
        (port,) = free_ports(1)
        pod = self.start(f"generator-{self._generators}", port, self._arguments)
        self._generators += 1
        self._publish()
        return pod

    def remove_generator(self, name: str) -> None:
        """As a Deployment that is scaled down: out of the Service, then told to end."""
        kubelet = self.pods.pop(name)
        self._publish()
        kubelet.remove()

    def kill(self, name: str) -> None:
        """SIGKILL. Returns when its successor has been started."""
        if name.startswith("conductor"):
            (self.folder / PROGRESS).unlink(missing_ok=True)
        self.pods[name].kill()

    def progress(self) -> StageProgress | None:
        """What the conductor said last; None before its first word since it was last killed."""
        with suppress(FileNotFoundError):
            return StageProgress.model_validate_json((self.folder / PROGRESS).read_text())
        return None

    def check(self) -> None:
        """Raises ClusterError when a pod has ended that should not have, with the end of its log."""
        for name, kubelet in self.pods.items():
            if kubelet.code not in (None, 0):
                text = kubelet.log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
                raise ClusterError(f"{name}: found exit code {kubelet.code} after {kubelet.starts} starts; expected it to "
                                   f"run. The end of {kubelet.log}:\n{text}")

    @property
    def ended(self) -> bool:
        """Whether the conductor is done. Raises ClusterError."""
        self.check()
        return self.pods["conductor-0"].code == 0

    def wait(self, seconds: float) -> None:
        """Return when the run is at its end. Raises ClusterError when it is not within that time."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            if time.monotonic() > deadline:
                found = self.progress()
                raise ClusterError(f"{self.folder}: found the run at step {found.step if found else None} after "
                                   f"{seconds:.0f} s; expected its end. The logs are in that folder")
            time.sleep(0.1)

    def stop(self) -> None:
        """Everything, at once."""
        for kubelet in self.pods.values():
            kubelet.remove(signal.SIGKILL)

    def _publish(self) -> None:
        services.publish(self.folder / GENERATORS, [
            kubelet.pod.url for kubelet in self.pods.values() if kubelet.pod.role == "generator"])

    def _environment(self, pod: Pod) -> dict[str, str]:
        path = [ROOT, ROOT / "crds", ROOT / "workloads"]
        server = self.bucket.server
        keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, path)), "POD_NAME": pod.name,
            "HOME": str(pod.scratch), "TMPDIR": str(pod.scratch / "tmp"), "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DS_BUILD_OPS": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            **({} if pod.role == "verifier" else keys)}


def put_inputs(store: ObjectStore, model: Path, problems: Sequence[Problem]) -> None:
    """The base model and the prompts, where `configured` looks for them."""
    for key, path in files_below(model, "models/base").items():
        store.put_file(key, path)
    store.put("prompts.jsonl", "\n".join(problem.model_dump_json(by_alias=True) for problem in problems).encode())


def configured(bucket: Bucket, rl: Mapping[str, Any], uid: str, seed: int = 0) -> StageConfig:
    """Config of stage rl. `rl`: fields of spec.rl, without prompts."""
    at, ports = f"s3://{bucket.name}", free_ports(3)
    spec = MagistralRunSpec.model_validate({
        "paradigm": "RL", "runtimeRef": {"name": "local"}, "baseModel": {"uri": f"{at}/models/base"}, "seed": seed,
        "rl": {**rl, "prompts": [{"uri": f"{at}/prompts.jsonl"}]}, "evaluation": {"suites": [{"name": "aime24"}]}})
    return StageConfig(
        run_name="local", run_namespace="default", run_uid=uid, run_generation=1, stage="rl", spec=spec,
        storage=bucket.storage, device="cpu", progress_config_map="local-progress",
        initial_model=ModelAt(uri=f"{at}/models/base"),
        services=Services(conductor=f"http://{LOOPBACK}:{ports[0]}", verifier=f"http://{LOOPBACK}:{ports[1]}",
                          generators=GENERATORS, generator_port=1, rendezvous=LOOPBACK, rendezvous_port=ports[2]))


@contextmanager
def running(folder: Path, bucket: Bucket, rl: Mapping[str, Any], *, uid: str = "local", seed: int = 0,
            arguments: Sequence[str] = VLLM, replay: bool = False) -> Iterator[Run]:
    """A run whose processes are gone when the block is left; its inputs are in the bucket (`put_inputs`).

    `replay`: the ledger has all batches already, so only conductor and trainers run.
    """
    config = configured(bucket, rl, uid, seed)
    spec = config.spec.rl
    assert spec is not None
    run = Run(folder, config, bucket, arguments)
    try:
        for number in range(spec.trainers):
            run.start(f"trainer-{number}")
        run.start("conductor-0", _port(config.services.conductor))
        if not replay:
            for number in range(spec.verifiers):
                run.start(f"verifier-{number}", _port(config.services.verifier))
            for _ in range(spec.generators):
                run.add_generator()
        yield run
    finally:
        run.stop()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
