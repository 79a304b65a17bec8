"""Groups of real processes on loopback, each a `python -m` of its own, as pods have it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dev.cluster.control_plane import free_ports
from dev.kubectl import ROOT

SECONDS = 150
ENVIRONMENT = {
    # Of this checkout, also where another one is installed.
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "crds", ROOT / "workloads"))),
    "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # As in a pod: no compiler to be found, so nothing may want to build one of its own parts.
    "PATH": "/nonexistent"}


class Ranks:
    """Processes of one group by rank. A rank can be killed and started again, as the kubelet would."""

    def __init__(self, folder: Path, size: int, scenario: str, arguments: dict[str, Any]) -> None:
        self._folder, self._size, self._scenario, self._arguments = folder, size, scenario.split("."), arguments
        (self.port,) = free_ports(1)
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, rank: int) -> subprocess.Popen[bytes]:
        """A new process of this rank."""
        with self.log(rank).open("ab") as log:
            self.running[rank] = subprocess.Popen(
                [sys.executable, "-m", f"tests.training.{self._scenario[0]}", self._scenario[1],
                 json.dumps(self._arguments | {
                     "rank": rank, "size": self._size, "port": self.port, "out": str(self._out(rank)),
                     "scratch": str(self._folder / f"scratch-{rank}")})],
                cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT)
        return self.running[rank]

    def code(self, rank: int, seconds: float = SECONDS) -> int:
        """Exit code of a rank, once it has ended."""
        return self.running[rank].wait(seconds)

    def kill(self, rank: int) -> None:
        """SIGKILL, as when a pod is lost."""
        self.running[rank].send_signal(signal.SIGKILL)
        self.running[rank].wait(SECONDS)

    def log(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.log"

    def marked(self, name: str) -> None:
        """Return when every rank has touched a file of this name in its scratch space."""
        for rank, process in self.running.items():
            while not self._mark(rank, name).exists():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                assert process.poll() is None, self.log(rank).read_text()[-4000:]

    def unmark(self, name: str) -> None:
        """Forget the marks, to wait for new ones."""
        for rank in range(self._size):
            self._mark(rank, name).unlink(missing_ok=True)

    def results(self) -> list[Any]:
        """What each rank wrote, after all have ended well."""
        for rank in range(self._size):
            assert self.code(rank) == 0, self.log(rank).read_text()[-4000:]
        return [json.loads(self._out(rank).read_text()) for rank in range(self._size)]

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
                process.wait(SECONDS)

    def _mark(self, rank: int, name: str) -> Path:
        return self._folder / f"scratch-{rank}" / name

    def _out(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.json"


@contextmanager
def ranks(folder: Path, size: int, scenario: str, arguments: dict[str, Any] | None = None, *,
          start: bool = True) -> Iterator[Ranks]:
    """A group that is gone when the block is left. `scenario`: `worker.<function>` or `member.<function>`."""
    folder.mkdir(parents=True, exist_ok=True)
    group = Ranks(folder, size, scenario, arguments or {})
    try:
        if start:
            for rank in range(size):
                group.start(rank)
        yield group
    finally:
        group.stop()
