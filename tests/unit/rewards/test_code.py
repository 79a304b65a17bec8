"""Code answers: which tests are drawn, when two outputs are the same, how a HumanEval program is put together."""


from magistral_api.problems import CodeTest, Problem
from magistral_workloads.rewards import code


def problem(tests: int, name: str = "p") -> Problem:
    return Problem(id=name, kind="code", prompt="", tests=[CodeTest(stdin=str(i), stdout=str(i)) for i in range(tests)])


def test_a_group_draws_the_same_twenty_tests_and_another_group_others() -> None:
    many = problem(1000)
    first = code.drawn(many, 1)
    assert first == code.drawn(many, 1)
    assert len({test.stdin for test in first}) == code.TESTS_DRAWN
    assert first != code.drawn(many, 2)
    assert first != code.drawn(problem(1000, "q"), 1)


def test_all_tests_are_drawn_when_there_are_few() -> None:
    assert sorted(test.stdin for test in code.drawn(problem(3), 7)) == ["0", "1", "2"]


PREFIX = 'import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    """Twice."""\n'


def run(source: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(source, names)
    return names


def test_a_body_continues_the_prefix() -> None:
    names = run(code.candidate("    return helper(2 * x)\n", "f", PREFIX))
    assert names["f"](4) == 8  # type: ignore[operator]


def test_a_whole_function_stands_after_the_prefix_and_may_use_its_helpers() -> None:
    names = run(code.candidate("def f(x):\n    return math.floor(helper(2 * x))\n", "f", PREFIX))
    assert names["f"](4) == 8  # type: ignore[operator]


def test_a_function_of_a_like_name_is_not_taken_for_the_answer() -> None:
    assert code.candidate("def f2(x): pass", "f", PREFIX).startswith(PREFIX)
