"""Which cluster is used."""

import contextlib
import io
import os
from pathlib import Path

import pytest

from dev.cluster import existing, ways
from dev.cluster.errors import ClusterError
from dev.cluster.paths import KUBECONFIG
from dev.cluster.ways import Facts, Way

NOTHING = Facts(kubeconfig=(), context="", docker_answers=False, kind=False)


def test_without_docker_and_without_a_named_cluster_one_is_built_here() -> None:
    way, reason = ways.choose(NOTHING)
    assert way is Way.LOCAL
    assert "no Docker engine answers" in reason


def test_kind_needs_both_an_engine_that_answers_and_the_command() -> None:
    assert ways.choose(Facts((), "", docker_answers=True, kind=True))[0] is Way.KIND
    assert ways.choose(Facts((), "", docker_answers=True, kind=False))[0] is Way.LOCAL
    assert ways.choose(Facts((), "", docker_answers=False, kind=True))[0] is Way.LOCAL


def test_a_cluster_that_the_user_names_comes_before_everything_else() -> None:
    assert ways.choose(Facts((Path("/x"),), "", docker_answers=True, kind=True))[0] is Way.EXISTING
    assert ways.choose(Facts((), "production", docker_answers=True, kind=True))[0] is Way.EXISTING


def test_our_own_kubeconfig_in_the_environment_is_not_a_choice() -> None:
    assert ways.named({"KUBECONFIG": str(KUBECONFIG)}) == ()


def test_a_kubeconfig_list_is_split_like_a_path() -> None:
    assert ways.named({"KUBECONFIG": "/a:/b"}) == (Path("/a"), Path("/b"))


def test_a_users_cluster_is_refused_where_nobody_can_be_asked() -> None:
    with pytest.raises(ClusterError, match=r"'production' \(https://prod:6443\).*CONFIRM=1"):
        existing.agree("production", "https://prod:6443", {}, io.StringIO("production\n"))


def test_confirm_agrees_and_still_names_the_context(capsys: pytest.CaptureFixture[str]) -> None:
    existing.agree("staging", "https://staging:6443", {"CONFIRM": "1"}, io.StringIO())
    assert "'staging' (https://staging:6443)" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "agreed"), [("staging\n", True), ("yes\n", False), ("", False)])
def test_on_a_terminal_only_the_contexts_name_agrees(typed: str, agreed: bool) -> None:
    person, terminal = os.openpty()
    with os.fdopen(terminal) as answers, os.fdopen(person, "w") as keyboard:
        keyboard.write(typed or "\x04")
        keyboard.flush()
        with contextlib.nullcontext() if agreed else pytest.raises(ClusterError, match="not agreed"):
            existing.agree("staging", "https://staging:6443", {}, answers)
