"""The level is found by trying, is published, and a verifier below it does not start."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from magistral_workloads import sandbox
from magistral_workloads.sandbox import seccomp
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.limits import BoxError
from magistral_workloads.sandbox.reaper import descendants
from magistral_workloads.sandbox.selftest import SelfTest, self_test

SYSTEM_PYTHON = "/usr/bin/python3.11"
UNPRIVILEGED = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--no-new-privs",
                "--bounding-set", "-all", "--inh-caps", "-all"]
PROGRAM = """
import asyncio, sys
from pathlib import Path
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.limits import BoxError
from magistral_workloads.sandbox.reaper import descendants
from magistral_workloads.sandbox.selftest import self_test

async def main():
    async with Box(1, scratch=Path(sys.argv[1])) as box:
        print((await self_test(box)).describe())

asyncio.run(main())
"""


async def test_the_self_test_finds_the_level_landlock_here(tmp_path: Path) -> None:
    async with Box(1, scratch=tmp_path) as box:
        tested = await self_test(box)
    assert (tested.level, tested.faults) == ("landlock", ())


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter, with the sandbox package in it and a place to write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    package = Path(sandbox.__file__).parent
    shutil.copytree(package, folder / "magistral_workloads" / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(package.parent / "__init__.py", folder / "magistral_workloads" / "__init__.py")
    (folder / "scratch").mkdir()
    (folder / "scratch").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0 or not Path(SYSTEM_PYTHON).exists() or shutil.which("setpriv") is None,
                    reason=f"needs root, setpriv and {SYSTEM_PYTHON}, which every user can run")
def test_the_level_holds_for_a_user_without_any_capability(public: Path) -> None:
    done = subprocess.run([*UNPRIVILEGED, SYSTEM_PYTHON, "-B", "-c", PROGRAM, str(public / "scratch")],
                          env={"PYTHONPATH": str(public), "PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.stdout.startswith("isolation landlock"), done.stderr


def test_a_level_below_the_minimum_does_not_reach_it() -> None:
    weak = SelfTest("none", 0, ("open a socket",))
    assert weak.reaches("none")
    assert not weak.reaches("landlock")
    assert "open a socket" in weak.describe()


def test_a_machine_without_a_system_call_table_is_refused_by_name() -> None:
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program(processes=False, pid=1, machine="riscv64")


def test_both_machine_types_get_a_filter_that_differs() -> None:
    programs = {machine: seccomp.program(processes=False, pid=1, machine=machine) for machine in ("x86_64", "aarch64")}
    assert len(set(programs.values())) == 2


async def test_a_warden_that_dies_costs_one_job_only(tmp_path: Path) -> None:
    async with Box(1, scratch=tmp_path) as box, box.program("python", "print(1)") as program:
        os.kill(descendants()[0], signal.SIGKILL)
        with pytest.raises(BoxError):
            await program.run(b"")
        assert (await program.run(b"")).output == b"1\n"


async def test_a_warden_is_replaced_after_its_share_of_jobs(tmp_path: Path) -> None:
    async with Box(1, recycle_after=2, scratch=tmp_path) as box, box.program("python", "print(1)") as program:
        seen = set()
        for _ in range(5):
            seen.update(descendants())
            assert (await program.run(b"")).ok
    assert len(seen) == 3
