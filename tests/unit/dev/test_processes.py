"""Processes by pid file."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dev.cluster.errors import ClusterError
from dev.cluster.processes import Processes, clean_environment, identify, terminate


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes.within(tmp_path)


def test_a_started_process_is_found_again_and_stopped_once(processes: Processes) -> None:
    processes.start("sleeper", ["sleep", "600"])
    who = Processes(processes.pids, processes.logs).find("sleeper")
    assert who is not None
    assert processes.stop("sleeper")
    assert identify(who.pid) is None
    assert not processes.stop("sleeper")


def test_a_process_that_got_a_dead_ones_pid_is_left_alone(processes: Processes) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        true = identify(bystander.pid)
        assert true is not None
        earlier = replace(true, started=true.started - 1)
        processes.start("ours", ["sleep", "600"])
        processes.stop("ours")
        processes.adopt("ours", earlier)
        assert processes.find("ours") is None
        assert not processes.stop("ours")
        terminate(earlier)
        assert identify(bystander.pid) == true
        terminate(true)


def test_a_process_that_ignores_sigterm_is_killed(processes: Processes, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); signal.pause()"
    )
    processes.start("stubborn", [sys.executable, "-c", program, str(ready)])
    processes.wait_ready("stubborn", lambda: None if ready.exists() else "not yet", 30)
    who = processes.find("stubborn")
    assert who is not None
    assert processes.stop("stubborn", grace_s=0.1)
    assert identify(who.pid) is None


def test_all_are_stopped_the_last_first(processes: Processes) -> None:
    for name in ("one", "two", "three"):
        processes.start(name, ["sleep", "600"])
    assert processes.stop_all() == ["three", "two", "one"]
    assert processes.names() == []


def test_a_part_that_dies_is_reported_with_its_logs_last_lines(processes: Processes) -> None:
    # It may be gone before `start` looks, or after; both are told the same way.
    told = r"part ended (at once|before it was ready)(?s:.)*part\.log(?s:.)*the port is taken"
    with pytest.raises(ClusterError, match=told):
        processes.start("part", ["sh", "-c", "echo the port is taken >&2; exit 1"])
        processes.wait_ready("part", lambda: "not yet", 30)


def test_a_part_that_never_gets_ready_is_reported_with_what_is_missing(processes: Processes) -> None:
    processes.start("part", ["sleep", "600"])
    with pytest.raises(ClusterError, match="part is not ready after 0 s: no answer"):
        processes.wait_ready("part", lambda: "no answer", 0)
    processes.stop("part")


def test_a_broken_record_counts_as_no_process(processes: Processes) -> None:
    processes.pids.mkdir()
    (processes.pids / "part.json").write_text(json.dumps({"pid": os.getpid()}))
    assert processes.find("part") is None
    assert not processes.stop("part")


def test_cluster_parts_see_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert not [name for name in clean_environment({"A": "b"}) if "proxy" in name.lower()]
