"""The main of a training process: a pod's processes, SIGTERM, exit codes.

A process that ends for any reason ends at once: threads of torch and DeepSpeed that still wait for a lost peer do not
hold it back.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from magistral_api.config import SCRATCH_PATH, StageConfig
from magistral_workloads.progress import EXIT_INFRASTRUCTURE, EXIT_USER_FAULT, Reporter, UserFault, run_stage
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.world import LOCAL_RANK, Place

EXIT_STOPPED: Final = 128 + signal.SIGTERM
"""Told to end before the work was done. Not 0: a Job would count that as done."""
POLL_SECONDS: Final = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Process:
    """What one training process has. `stopping` is set when it is told to end. `reporter`: only on rank 0 of SFT."""

    config: StageConfig
    place: Place
    stopping: threading.Event
    store: ObjectStore
    scratch: Path
    reporter: Reporter | None = None


Body = Callable[[Process], None]


class StoppedEarly(SystemExit):
    """Told to end, and everything is safe."""

    def __init__(self) -> None:
        super().__init__(EXIT_STOPPED)


def run_process(module: str, body: Body, *, reports: bool) -> NoReturn:
    """Run `body` as this pod's process, or start one process a GPU and wait for them.

    `module`: what `python -m` runs. `reports`: rank 0 reports progress to the operator.
    Never returns: exit code 0, 64 (user's fault), 143 (told to end), else 1.
    """
    code: object = EXIT_INFRASTRUCTURE
    try:
        config = StageConfig.load()
        if config.processes_per_pod > 1 and LOCAL_RANK not in os.environ:
            code = launch([sys.executable, "-m", module], config.processes_per_pod)
        else:
            _run(config, body, reports)
            code = 0
    except SystemExit as stopped:
        code = stopped.code
    except Exception:
        log.exception("stopped; it will be started again")
    finally:
        end(code if isinstance(code, int) else EXIT_INFRASTRUCTURE)


def end(code: int) -> NoReturn:
    """End now. Python's own way waits for threads, and aborts in those of gloo when the group was not left."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def launch(command: Sequence[str], processes: int) -> int:
    """One process a GPU of the pod. When one fails the others are ended; returns the first failure's code, else 0."""
    running = [subprocess.Popen(command, env=os.environ | {LOCAL_RANK: str(local)}) for local in range(processes)]
    stopping, told, code = stop_event(), False, 0
    while alive := [process for process in running if process.poll() is None]:
        failed = [process.returncode for process in running if process.returncode]
        if failed and not code:
            code = failed[0]
            for process in alive:
                process.kill()
        if stopping.is_set() and not told:
            told = True
            for process in alive:
                process.terminate()
        try:
            alive[0].wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return code or next((process.returncode for process in running if process.returncode), 0)


def stop_event() -> threading.Event:
    """Set by SIGTERM. Without a handler the first process of a container ignores that signal altogether."""
    stopping = threading.Event()

    def told(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, told)
    return stopping


def said(metrics: Mapping[str, float]) -> str:
    """Metrics in a log line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))


def _run(config: StageConfig, body: Body, reports: bool) -> None:
    place, stopping, scratch = Place.of(config), stop_event(), SCRATCH_PATH / "training"
    if reports and place.rank == 0:
        run_stage(lambda config, reporter: body(
            Process(config, place, stopping, ObjectStore.of(config), scratch, reporter)))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        body(Process(config, place, stopping, ObjectStore.of(config), scratch))
    except UserFault as fault:
        log.error("%s", fault)
        raise SystemExit(EXIT_USER_FAULT) from None
