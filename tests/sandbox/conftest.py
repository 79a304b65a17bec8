"""The real box, and the proof that an execution left nothing behind."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from magistral_api.problems import CodeTest, Language, Problem
from magistral_workloads.rewards import code
from magistral_workloads.rewards.format import Block
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.reaper import descendants

HONEST = "print(sum(map(int, input().split())))"
SUMS = Problem(id="sums", kind="code", prompt="Print the sum.", tests=[
    CodeTest(stdin=f"{a} {b}\n", stdout=f"{a + b}\n") for a, b in ((1, 2), (30, 12), (-5, 5))])


def inhabitants(scratch: Path) -> list[str]:
    """Processes anywhere on this machine that live in a directory of the box."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(scratch):
                found.append(process.name)
        except OSError:
            continue
    return found


def descriptors() -> dict[int, int]:
    """Open files of each process below this one."""
    return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in descendants()}


class Judged:
    """The box with one warden, so that what one program leaves would meet the next."""

    def __init__(self, box: Box, scratch: Path) -> None:
        self.box, self.scratch = box, scratch

    async def verdict(self, language: Language, source: str, problem: Problem = SUMS) -> tuple[str, str]:
        """The grade of `source`. Fails when a process, file or descriptor is left, or an honest program fails after it."""
        before = descriptors()
        given = await code.grade(Block(language, source), problem, 0, self.box)
        assert inhabitants(self.scratch) == []
        assert list(self.scratch.iterdir()) == []
        assert descriptors() == before, "the same warden, with the same descriptors"
        assert await code.grade(Block("python", HONEST), SUMS, 0, self.box) == ("pass", "")
        return given


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_box(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Box, Path]]:
    """One warden for all programs of a module: what any of them broke, a later one would meet."""
    scratch = tmp_path_factory.mktemp("scratch")
    async with Box(1, recycle_after=1_000_000, scratch=scratch) as box:
        yield box, scratch


@pytest_asyncio.fixture(loop_scope="module")
async def judged(module_box: tuple[Box, Path]) -> Judged:
    box, scratch = module_box
    assert await code.grade(Block("python", HONEST), SUMS, 0, box) == ("pass", "")
    return Judged(box, scratch)


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that this process can read, with the expected outputs in it."""
    path = tmp_path_factory.mktemp("secret") / "expected"
    path.write_text("3\n")
    yield path
