"""What the local cluster needs of the machine, and what it leaves."""

import os
from dataclasses import replace
from pathlib import Path

from dev.cluster import binaries, host, local, network
from dev.cluster.network import BRIDGE, PODS
from dev.cluster.paths import GO_MODULES
from dev.cluster.processes import Processes, identify
from dev.cluster.progress import duration


def link(name: str, address: str, bits: int) -> dict[str, object]:
    return {"ifname": name, "addr_info": [{"local": address, "prefixlen": bits}]}


def test_a_range_that_another_interface_uses_is_named() -> None:
    links = [link("lo", "127.0.0.1", 8), link("vpn0", "10.244.7.9", 24)]
    assert network.overlapping(links, [PODS]) == f"interface vpn0 has 10.244.7.0/24, which overlaps {PODS}"


def test_free_ranges_and_our_own_bridge_are_no_conflict() -> None:
    links = [link("eth0", "192.168.1.5", 24), link("eth0", "fe80::1", 64), link(BRIDGE, "10.244.0.1", 16)]
    assert network.overlapping(links, [PODS]) == ""


def test_directories_made_for_mounts_go_and_those_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    record = tmp_path / "record.json"
    host.remember(record, [tmp_path / "there" / "a" / "b", tmp_path / "c"], ())
    assert (tmp_path / "there" / "a" / "b").is_dir()
    host.restore(record)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_the_record_that_a_crash_left_is_older_and_wins(tmp_path: Path) -> None:
    record, point = tmp_path / "record.json", tmp_path / "point"
    host.remember(record, [point], ())
    host.remember(record, [point], ())
    host.restore(record)
    assert not point.exists()
    host.restore(record)


def test_a_directory_that_somebody_filled_meanwhile_stays(tmp_path: Path) -> None:
    record, point = tmp_path / "record.json", tmp_path / "point"
    host.remember(record, [point], ())
    (point / "file").touch()
    host.restore(record)
    assert (point / "file").exists()


def test_programs_of_one_module_and_other_flags_do_not_share_a_cache_entry() -> None:
    kubelet = binaries.PROGRAMS["kubelet"]
    assert kubelet.version() == binaries.PROGRAMS["kube-proxy"].version()
    assert kubelet.version() != binaries.Program(kubelet.module, kubelet.package, 1, tags="other").version()


def test_every_program_has_a_pinned_module() -> None:
    for name, program in binaries.PROGRAMS.items():
        requirements = (GO_MODULES / program.module / "go.mod").read_text()
        assert program.package in requirements, name


def test_durations_read_like_speech() -> None:
    assert [duration(3.14), duration(59.6), duration(125)] == ["3.1 s", "1 min 0 s", "2 min 5 s"]


def test_a_cluster_of_another_clone_is_in_the_way_only_while_it_runs(tmp_path: Path) -> None:
    owner, processes, runs = tmp_path / "owner", Processes.within(tmp_path), identify(os.getpid())
    assert runs is not None
    processes.pids.mkdir()
    assert local.other_clone(owner, processes) is None
    owner.write_text(f"{tmp_path}\n")
    processes.adopt("etcd", replace(runs, boot="the boot before"))
    assert local.other_clone(owner, processes) is None
    processes.adopt("kubelet", runs)
    assert local.other_clone(owner, processes) == tmp_path
    owner.write_text(str(tmp_path / "removed"))
    assert local.other_clone(owner, processes) is None
