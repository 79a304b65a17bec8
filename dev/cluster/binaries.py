"""Programs built from the pinned Go modules in `dev/go/`, verified by `go.sum`, built once, then cached."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.errors import ClusterError
from dev.cluster.paths import GO_MODULES, cache
from dev.cluster.progress import duration, say, step

KUBERNETES_VERSION = "v1.37.2"
MINOR = KUBERNETES_VERSION.split(".")[1]
# Without the stamp every client sees v0.0.0.
STAMP = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (("gitVersion", KUBERNETES_VERSION), ("gitMajor", "1"), ("gitMinor", MINOR))
)
CONTAINERD_TAGS = "no_btrfs,no_zfs,no_devmapper"


@dataclass(frozen=True)
class Program:
    """How one binary is built. `seconds`: a first build on two cores, to tell the user what to expect."""

    module: str
    package: str
    seconds: int
    tags: str = ""
    cgo: bool = False
    stamp: str = ""

    def flags(self) -> list[str]:
        tags = [f"-tags={self.tags}"] if self.tags else []
        return [
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            *tags,
            f"-ldflags=-s -w {self.stamp}".rstrip(),
        ]

    def version(self) -> str:
        """Hash of everything that decides the result: go.mod, go.sum, flags, cgo, processor."""
        directory = GO_MODULES / self.module
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((directory / name).read_bytes())
        digest.update(repr([self.flags(), self.cgo, platform.machine()]).encode())
        return digest.hexdigest()[:16]


def _kubernetes(name: str, seconds: int) -> Program:
    return Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}", seconds, stamp=STAMP)


def _containerd(name: str, seconds: int) -> Program:
    return Program("containerd", f"github.com/containerd/containerd/v2/cmd/{name}", seconds, tags=CONTAINERD_TAGS)


PROGRAMS: dict[str, Program] = {
    "etcd": Program("etcd", "go.etcd.io/etcd/server/v3", 45),
    "kube-apiserver": _kubernetes("kube-apiserver", 270),
    "kube-controller-manager": _kubernetes("kube-controller-manager", 45),
    "kube-scheduler": _kubernetes("kube-scheduler", 50),
    "kubelet": _kubernetes("kubelet", 30),
    "kube-proxy": _kubernetes("kube-proxy", 15),
    "containerd": _containerd("containerd", 60),
    "containerd-shim-runc-v2": _containerd("containerd-shim-runc-v2", 5),
    "ctr": _containerd("ctr", 10),
    "runc": Program("runc", "github.com/opencontainers/runc", 15, tags="seccomp", cgo=True),
    "crictl": Program("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", 30),
    "coredns": Program("coredns", "github.com/coredns/coredns", 100),
    "minio": Program("minio", "github.com/minio/minio", 130),
    "kwok": Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", 90),
    "jobset": Program("jobset", "sigs.k8s.io/jobset", 60),
    "kubeflow-trainer": Program("trainer", "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager", 60),
    "kueue": Program("kueue", "sigs.k8s.io/kueue/cmd/kueue", 120),
}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE = ("kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "crictl")
CLUSTER = (*CONTROL_PLANE, "kube-scheduler", *NODE, "coredns")


def path(name: str) -> Path:
    """Where the binary of `name` is once built."""
    return cache() / "bin" / PROGRAMS[name].version() / name


def ensure(names: Sequence[str]) -> dict[str, Path]:
    """Build what is missing, one after the other, and return every path.

    Raises ClusterError when Go is missing or a build fails.
    """
    if any(not path(name).exists() for name in names):
        with _one_builder():
            missing = [name for name in names if not path(name).exists()]
            for number, name in enumerate(missing, start=1):
                _build(name, number, len(missing))
    return {name: path(name) for name in names}


def _build(name: str, number: int, total: int) -> None:
    program, target = PROGRAMS[name], path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, log = target.with_suffix(".new"), target.with_suffix(".build.log")
    command = [_go(), "build", *program.flags(), "-o", str(fresh), program.package]
    environment = {**os.environ, "CGO_ENABLED": str(int(program.cgo)), "GOFLAGS": "", "GOWORK": "off"}
    about = duration(program.seconds)
    with (
        step(f"building {name} ({number} of {total}), first time about {about} on two cores"),
        log.open("wb") as output,
    ):
        result = subprocess.run(
            command,
            cwd=GO_MODULES / program.module,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if result.returncode != 0:
            tail = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])
            raise ClusterError(
                f"{name}: `go build` in dev/go/{program.module} ended with {result.returncode}.\n"
                f"  Its output is {log}; the last lines:\n{tail}\n"
                "  When a download failed, check the network and GOPROXY, then run the same command again."
            )
    fresh.replace(target)
    log.unlink()


def source(name: str, module: str) -> Path:
    """The folder of a Go module that `name` is built from, for the files beside its code. Raises ClusterError."""
    command = [_go(), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]
    found = subprocess.run(command, cwd=GO_MODULES / PROGRAMS[name].module, check=False, capture_output=True, text=True,
                           env={**os.environ, "GOFLAGS": "", "GOWORK": "off"})
    if found.returncode != 0 or not found.stdout.strip():
        raise ClusterError(f"{module} is not in the module cache: {found.stderr.strip() or 'build ' + name + ' first'}")
    return Path(found.stdout.strip())


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        raise ClusterError(
            "the local cluster is built from Go modules, but `go` is not on PATH: install Go 1.26 or newer"
        )
    return found


@contextmanager
def _one_builder() -> Iterator[None]:
    """Two builders at once would compile everything twice on the same cores."""
    directory = cache() / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        began = time.monotonic()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building the same programs; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
            say(f"  it was done after {duration(time.monotonic() - began)}")
        yield
