"""Published tests of programs and functions, as our graders take them (rewards/code.py)."""

import json
import keyword
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from magistral_api.problems import CodeTest
from magistral_workloads.rewards.code import TESTS_DRAWN

MAX_TESTS_SIZE: Final = 8 << 20
"""Characters, of one problem: it travels whole with each answer, and all problems of a suite are held in memory."""
MAX_CALLS_SIZE: Final = 2 << 20
"""Characters, of one problem. Arguments grow on their way between the two boxes, where one message may have 8 MiB."""
ENTRY_POINT: Final = "magistral_entry"

T = TypeVar("T")

# The names that LeetCode, and so every solution written for it, takes for granted.
_PREFIX = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, json, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
from builtins import *
sys.setrecursionlimit(50_000)

def {entry_point}(*arguments):
    function = Solution().{name} if "Solution" in globals() else {name}
    return function(*arguments)
"""
_CHECK = """\
import json

CALLS = json.loads({calls})

def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {{str(key): plain(item) for key, item in value.items()}}
    return value

def check(candidate):
    for arguments, accepted in CALLS:
        assert plain(candidate(*arguments)) in accepted
"""


@dataclass(frozen=True)
class Call:
    """Arguments of a function and the results that are right, all as JSON has them."""

    arguments: list[Any]
    accepted: list[Any]


@dataclass(frozen=True)
class Checked:
    """`check`, `entry_point` and `prefix` of a Problem."""

    check: str
    entry_point: str
    prefix: str


def fitting(tests: Sequence[CodeTest], seed: str) -> list[CodeTest]:
    """The tests, or as many as MAX_TESTS_SIZE holds: taken in an order drawn by the seed, those too large passed over."""
    return _within(tests, [len(test.stdin) + len(test.stdout) for test in tests], MAX_TESTS_SIZE, seed)


def checked(name: str, calls: Sequence[Call], seed: str) -> Checked | None:
    """The calls of function `name`, or method `name` of a class Solution, as one check. None when nothing is left.

    A check is one execution under the limits of one test, so it has as many calls as a program has tests (20), drawn by
    the seed. A tuple is as good as a list: JSON has no tuples.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        return None
    texts = [json.dumps([call.arguments, call.accepted]) for call in calls]
    fit = _within(texts, [len(text) for text in texts], MAX_CALLS_SIZE, seed)
    drawn = random.Random(seed).sample(fit, min(TESTS_DRAWN, len(fit)))
    if not drawn:
        return None
    return Checked(_CHECK.format(calls=repr(f"[{','.join(drawn)}]")), ENTRY_POINT,
                   _PREFIX.format(entry_point=ENTRY_POINT, name=name))


def _within(items: Sequence[T], sizes: Sequence[int], limit: int, seed: str) -> list[T]:
    """What is taken, in order. The same seed takes the same."""
    if sum(sizes) <= limit:
        return list(items)
    places = random.Random(seed).sample(range(len(items)), len(items))
    taken: set[int] = set()
    for place in places:
        if sizes[place] <= limit:
            taken.add(place)
            limit -= sizes[place]
    return [items[place] for place in sorted(taken)]
