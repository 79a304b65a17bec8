"""Operators that die often: forked from a parent that has imported everything, and followed by the next, as by a kubelet."""

import multiprocessing
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubernetes.config import kube_config

from magistral_operator.kinds import LEASE
from magistral_operator.leader import NAME
from magistral_operator.main import main
from tests.control_plane.cluster import TIMEOUT_S, Api, Operator

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.crash.operators"])
_PORT = re.compile(r"health on port (\d+)\n")
MOST_DEATHS = 5
"""An operator that ends more often than that in one life would do so for ever."""


class Forked(Operator):
    """The operator's own `main` in a process of its own that starts in a moment. `log`: of the present one."""

    def __init__(self, kubeconfig: Path, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(kubeconfig, 0, folder / "0.log", environment)
        self._folder, self._started = folder, 0

    def start(self) -> None:
        """Does not wait until it works."""
        self._started += 1
        self.port, self.log = 0, self._folder / f"{self._started}.log"
        self._child = _FORKS.Process(target=_operate, args=(self.environment() | {"MAGISTRAL_METRICS_PORT": "0"}, self.log),
                                     daemon=True)
        self._child.start()

    def metrics(self) -> dict[str, float]:
        """As of Operator. Which port is free is known to nobody before it is taken, so the operator says it."""
        said = _PORT.search(self.log.read_text()) if self.log.exists() and not self.port else None
        self.port = int(said[1]) if said else self.port
        return super().metrics() if self.port else {}

    def kill(self) -> None:
        """SIGKILL. Does not wait for the end."""
        self._child.kill()

    def until_ended(self) -> None:
        self._child.join()


class Keeper:
    """Starts the next operator when one has ended, as a kubelet does. `deaths`: how many have."""

    def __init__(self, operator: Forked, api: Api, namespace: str) -> None:
        self._operator, self._api, self._namespace = operator, api, namespace
        self._over, self._lock = False, threading.Lock()
        self.deaths = 0

    @contextmanager
    def keep(self) -> Iterator[None]:
        """An operator runs until the block ends."""
        self._operator.start()
        thread = threading.Thread(target=self._follow, name=f"keeper of {self._namespace}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._over = True
                self._operator.kill()
            thread.join(TIMEOUT_S)

    def _follow(self) -> None:
        while True:
            self._operator.until_ended()
            with self._lock:
                if self._over or self.deaths == MOST_DEATHS:
                    return
                self.deaths += 1
                # The dead one's lease would last 15 s more. That it is waited for is proved elsewhere (test_availability.py).
                self._api.http.delete(LEASE.path(self._namespace, NAME))
                self._operator.start()


def _operate(environment: dict[str, str], log: Path) -> None:
    # None outlives the tests, however they end.
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    # Read from the environment when the module was imported, which was in the parent.
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]
    main()


def _end_with_the_tests() -> None:
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os._exit(1)
