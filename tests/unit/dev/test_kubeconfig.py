"""Kubeconfig documents."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.cluster import kubeconfig
from dev.cluster.certificates import Authority
from dev.cluster.errors import ClusterError


def config(context: str, server: str, **user: str) -> dict[str, Any]:
    return {
        "clusters": [{"name": f"{context}-cluster", "cluster": {"server": server, "certificate-authority": "ca.pem"}}],
        "users": [{"name": f"{context}-user", "user": dict(user)}],
        "contexts": [{"name": context, "context": {"cluster": f"{context}-cluster", "user": f"{context}-user"}}],
        "current-context": context,
    }


def test_files_are_merged_and_the_first_to_name_a_thing_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump(config("a", "https://first")))
    both = config("b", "https://b")
    both["clusters"] += config("a", "https://second")["clusters"]
    second.write_text(yaml.safe_dump(both))
    merged = kubeconfig.load([first, second, tmp_path / "missing"])
    assert merged["current-context"] == "a"
    assert kubeconfig.server(kubeconfig.cut(merged, "a")) == "https://first"
    assert kubeconfig.server(kubeconfig.cut(merged, "b")) == "https://b"


def test_a_cut_holds_no_other_users_credentials(tmp_path: Path) -> None:
    file = tmp_path / "config"
    both = config("a", "https://a", token="of-a")
    for kind in ("clusters", "users", "contexts"):
        both[kind] += config("b", "https://b", token="of-b")[kind]
    file.write_text(yaml.safe_dump(both))
    text = yaml.safe_dump(kubeconfig.cut(kubeconfig.load([file]), "a"))
    assert "of-a" in text
    assert "of-b" not in text


def test_file_references_stay_valid_after_the_copy(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config("a", "https://a", **{"client-key": "keys/a.key"})))
    loaded = kubeconfig.load([file])
    assert loaded["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "ca.pem")
    assert loaded["users"][0]["user"]["client-key"] == str(tmp_path / "keys" / "a.key")


def test_an_unknown_context_is_answered_with_those_there_are() -> None:
    with pytest.raises(ClusterError, match="'prod'; found: a"):
        kubeconfig.cut(config("a", "https://a"), "prod")


def test_a_written_kubeconfig_is_for_its_owner_only(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "pki")
    client = authority.issue("client", user="someone", groups=("testers",))
    path = kubeconfig.write(tmp_path / "kubeconfig", kubeconfig.document("https://x", authority.pair, client))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    assert kubeconfig.server(yaml.safe_load(path.read_text())) == "https://x"
