"""Several processes in one pod, and how they end."""

import sys

from magistral_workloads.training.process import launch


def script(body: str) -> list[str]:
    return [sys.executable, "-c", f"import os, time\nrank = int(os.environ['LOCAL_RANK'])\n{body}"]


def test_every_process_gets_a_local_rank_and_all_must_end_well() -> None:
    assert launch(script("assert rank in (0, 1, 2)"), 3) == 0


def test_when_one_process_fails_the_others_are_ended_and_its_code_is_the_pods() -> None:
    assert launch(script("os._exit(64) if rank == 1 else time.sleep(600)"), 3) == 64
