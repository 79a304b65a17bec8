"""A completion that several generators sample one after the other."""

from magistral_workloads.conductor.completion import Completion, joined
from magistral_workloads.contracts import GenerateChunk, GenerateRequest

REQUEST = GenerateRequest(request_id="r", prompt_tokens=[1], max_tokens=9, temperature=1, seed=100, cache_salt="s")


def piece(tokens: list[int], versions: list[tuple[int, int]], reason: str | None = None) -> GenerateChunk:
    return GenerateChunk(tokens=tokens, logprobs=[-float(token) for token in tokens], versions=versions, finish_reason=reason)


def test_the_first_generator_gets_the_request_as_it_is() -> None:
    assert Completion().rest(REQUEST) == REQUEST


def test_the_exact_versions_at_the_end_replace_those_told_on_the_way() -> None:
    made = Completion()
    made.rest(REQUEST)
    made.add(piece([4, 5], [(1, 2)]))
    made.add(piece([6], [(2, 1)]))
    assert (made.versions, made.finish_reason) == ([(1, 2), (2, 1)], "")
    made.add(piece([7], [(1, 1), (2, 3)], "stop"))
    assert (list(made.tokens), made.versions, made.finish_reason) == ([4, 5, 6, 7], [(1, 1), (2, 3)], "stop")


def test_another_generator_goes_on_from_the_tokens_and_their_old_logprobs_stay() -> None:
    made = Completion()
    made.rest(REQUEST)
    made.add(piece([4, 5], [(1, 2)]))
    rest = made.rest(REQUEST)
    assert (rest.prefix_tokens, rest.seed, rest.max_tokens) == ([4, 5], 102, 9)
    made.add(piece([6], [(1, 1)]))
    assert rest.prefix_tokens == [4, 5]
    made.add(piece([7], [(1, 1), (3, 1)], "length"))
    assert (list(made.tokens), list(made.logprobs)) == ([4, 5, 6, 7], [-4, -5, -6, -7])
    assert made.versions == [(1, 3), (3, 1)]


def test_neighbouring_spans_of_one_version_are_one() -> None:
    assert joined([(1, 2), (1, 3), (2, 0), (1, 1), (2, 4)]) == [(1, 6), (2, 4)]
