"""Long-lived processes by pid file: started once, found again, stopped only when they are ours.

A pid alone can belong to somebody else after a crash, so a record holds the boot id and the start time too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.cluster.errors import ClusterError

POLL_S = 0.05
LOG_LINES = 15


@dataclass(frozen=True)
class Identity:
    """One process for all time: pid, start in clock ticks since boot, boot id."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """Who runs under `pid` now; None when nobody does or only a zombie is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Identity(pid=pid, started=int(fields[19]), boot=boot)


def terminate(who: Identity, grace_s: float = 10.0) -> None:
    """SIGTERM, then SIGKILL after `grace_s`. Does nothing when `who` is gone, whoever has its pid now."""
    try:
        handle = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return
    try:
        if identify(who.pid) != who:
            return
        for sign, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, sign)
            except ProcessLookupError:
                break
            if select.select([handle], [], [], patience)[0]:
                break
        else:
            raise ClusterError(f"process {who.pid} is still there after SIGKILL; see `ps -o stat,wchan {who.pid}`")
    finally:
        os.close(handle)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(who.pid, os.WNOHANG)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without proxies: cluster parts talk to pod and loopback addresses only."""
    kept = {key: os.environ[key] for key in ("HOME", "PATH", "LANG", "TZ") if key in os.environ}
    return {**kept, **(extra or {})}


class Processes:
    """Processes recorded as `NAME.json` in `pids`, with their output in `NAME.log` in `logs`."""

    def __init__(self, pids: Path, logs: Path) -> None:
        self.pids = pids
        self.logs = logs

    @classmethod
    def within(cls, directory: Path) -> Processes:
        """Records and logs in one directory."""
        return cls(directory / "pids", directory / "logs")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def names(self) -> list[str]:
        """Recorded processes, oldest first, dead or alive."""
        return [file.stem for file in sorted(self.pids.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)]

    def find(self, name: str) -> Identity | None:
        """The recorded process if it still runs."""
        try:
            recorded = Identity(**json.loads((self.pids / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return recorded if identify(recorded.pid) == recorded else None

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        with_parent: bool = False,
    ) -> None:
        """Start `command` in its own session, output to its log. `with_parent`: killed when the starter dies."""
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if with_parent else []
        with self.log(name).open("wb") as log:
            child = subprocess.Popen(
                [*prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(environment),
                start_new_session=True,
            )
        # The pid file is what stops it later; the object's own bookkeeping would only warn at exit.
        child.returncode = 0
        who = identify(child.pid)
        if who is None:
            raise self.failure(name, "ended at once")
        self.adopt(name, who)

    def adopt(self, name: str, who: Identity) -> None:
        """Record `who` as the process called `name`."""
        record = self.pids / f"{name}.json"
        record.with_suffix(".new").write_text(json.dumps(asdict(who)))
        record.with_suffix(".new").replace(record)

    def stop(self, name: str, grace_s: float = 10.0) -> bool:
        """Stop the recorded process and forget it. True when it was running."""
        who = self.find(name)
        if who is not None:
            terminate(who, grace_s)
        (self.pids / f"{name}.json").unlink(missing_ok=True)
        return who is not None

    def stop_all(self) -> list[str]:
        """Stop every recorded process, the last first. Returns the names of those that ran."""
        return [name for name in reversed(self.names()) if self.stop(name)]

    def wait_ready(self, name: str, probe: Callable[[], str | None], timeout_s: float) -> None:
        """Ask `probe` until it returns None (ready); else its text says what is missing.

        Raises ClusterError with the end of the log when the process dies or `timeout_s` has passed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self.find(name) is None:
                raise self.failure(name, "ended before it was ready")
            missing = probe()
            if missing is None:
                return
            if time.monotonic() > deadline:
                raise self.failure(name, f"is not ready after {timeout_s:.0f} s: {missing}")
            time.sleep(POLL_S)

    def failure(self, name: str, what: str) -> ClusterError:
        """An error that carries the log's path and its last lines."""
        log = self.log(name)
        tail: deque[str] = deque(maxlen=LOG_LINES)
        if log.exists():
            with log.open(errors="replace") as lines:
                tail.extend(line.rstrip()[:400] for line in lines)
        shown = "\n".join(f"    {line}" for line in tail) or "    (empty)"
        return ClusterError(f"{name} {what}.\n  Its log is {log}; the last lines:\n{shown}")
